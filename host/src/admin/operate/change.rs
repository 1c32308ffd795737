//! `POST /v1/subscriptions/{service}/{name}/skip`, `…/retry`, `…/resume`,
//! `…/replay`, and `DELETE /v1/subscriptions/{service}/{name}`.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use chrono::DateTime;
use serde::Deserialize;
use utoipa::ToSchema;

use super::subscriptions::Named;
use crate::admin::Admin;
use crate::admin::condition::asked;
use crate::admin::problem::{Denied, NotNow, Problem, of_body};
use crate::events::{Dropped, Replay, ReplayFrom, Resumed};

/// Which event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Its position on the bus.
    #[schema(minimum = 1)]
    position: u64,
}

/// What is delivered again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayRequest {
    /// Where it begins.
    from: Begin,
}

/// A position on the bus, or a time (RFC 3339).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a position or an RFC 3339 time is expected")]
enum Begin {
    Position(u64),
    Time(String),
}

/// Counts an event as finished that waits in the subscription; its key goes on.
#[utoipa::path(post, path = "/v1/subscriptions/{service}/{name}/skip", operation_id = "skip_held",
    tag = "events",
    params(Named), request_body = Which,
    responses(
        (status = 204, description = "Done, durably"),
        (status = 400, description = "The body is wrong", body = Problem,
         content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem,
         content_type = "application/problem+json"),
        (status = 415, description = "The body is not application/json", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such subscription", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "No event waits there, or its handler runs", body = Problem,
         content_type = "application/problem+json"),
        Denied, NotNow,
))]
pub(super) async fn skip(
    State(admin): State<Admin>,
    Path(named): Path<Named>,
    headers: HeaderMap,
    which: Result<Json<Which>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let (Which { position }, who) = (read(which)?, asked(&headers)?.who);
    admin.events.skip(&named.full(), position).await?;
    named.log(Some(position), who, "a held event is skipped");
    Ok(StatusCode::NO_CONTENT)
}

/// Delivers an event now that is held or parked, as if for the first time.
#[utoipa::path(post, path = "/v1/subscriptions/{service}/{name}/retry", operation_id = "retry_held",
    tag = "events",
    params(Named), request_body = Which,
    responses(
        (status = 204, description = "Done, durably"),
        (status = 400, description = "The body is wrong", body = Problem,
         content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem,
         content_type = "application/problem+json"),
        (status = 415, description = "The body is not application/json", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such subscription", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "No event is held there, or its handler runs", body = Problem,
         content_type = "application/problem+json"),
        Denied, NotNow,
))]
pub(super) async fn retry(
    State(admin): State<Admin>,
    Path(named): Path<Named>,
    headers: HeaderMap,
    which: Result<Json<Which>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let (Which { position }, who) = (read(which)?, asked(&headers)?.who);
    admin.events.retry_held(&named.full(), position).await?;
    named.log(Some(position), who, "a held event is retried");
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a pause: one that failures in a row began, or that of a webhook whose endpoint did not
/// consent, or wanted no more events. What waits for another attempt is delivered at once.
#[utoipa::path(post, path = "/v1/subscriptions/{service}/{name}/resume", operation_id = "resume_subscription",
    tag = "events",
    params(Named),
    responses(
        (status = 200, description = "It delivers", body = Resumed),
        (status = 400, description = "A header is wrong", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such subscription", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "No version that serves wants it", body = Problem,
         content_type = "application/problem+json"),
        Denied, NotNow,
))]
pub(super) async fn resume(
    State(admin): State<Admin>,
    Path(named): Path<Named>,
    headers: HeaderMap,
) -> Result<Json<Resumed>, Problem> {
    let who = asked(&headers)?.who;
    let resumed = admin.events.resume(&named.full()).await?;
    let what = if resumed.was_paused { "resumed" } else { "resumed, though it was not paused" };
    named.log(None, who, what);
    Ok(Json(resumed))
}

/// Delivers what the subscription wants again, up to the newest event there is
/// now, beside what is new. It is a subscription of its own while it lasts.
#[utoipa::path(post, path = "/v1/subscriptions/{service}/{name}/replay", operation_id = "replay_subscription",
    tag = "events",
    params(Named), request_body = ReplayRequest,
    responses(
        (status = 201, description = "It has begun", body = Replay),
        (status = 400, description = "The body is wrong", body = Problem,
         content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem,
         content_type = "application/problem+json"),
        (status = 415, description = "The body is not application/json", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such subscription", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "The bus has no such event", body = Problem,
         content_type = "application/problem+json"),
        Denied, NotNow,
))]
pub(super) async fn replay(
    State(admin): State<Admin>,
    Path(named): Path<Named>,
    headers: HeaderMap,
    request: Result<Json<ReplayRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Replay>), Problem> {
    let (ReplayRequest { from }, who) = (read(request)?, asked(&headers)?.who);
    let replay = admin.events.replay(&named.full(), begin(from)?).await?;
    let Replay { subscription, from, until } = &replay;
    named.log(Some(*from), who, &format!("{subscription} replays up to position {until}"));
    Ok((StatusCode::CREATED, Json(replay)))
}

/// Drops a subscription that no version wants any more, so that the bus doesn't
/// wait for it, with the events that it holds; ends a replay.
#[utoipa::path(delete, path = "/v1/subscriptions/{service}/{name}", operation_id = "drop_subscription",
    tag = "events",
    params(Named),
    responses(
        (status = 200, description = "It is gone", body = Dropped),
        (status = 400, description = "A header is wrong", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such subscription", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "A version that serves wants it", body = Problem,
         content_type = "application/problem+json"),
        Denied, NotNow,
))]
pub(super) async fn remove(
    State(admin): State<Admin>,
    Path(named): Path<Named>,
    headers: HeaderMap,
) -> Result<Json<Dropped>, Problem> {
    let who = asked(&headers)?.who;
    let dropped = admin.events.drop_subscription(&named.full()).await?;
    let with = dropped.held.filter(|held| *held > 0);
    let with = with.map(|held| format!(" with {held} held events")).unwrap_or_default();
    named.log(None, who, &format!("dropped{with}"));
    Ok(Json(dropped))
}

/// A body; one that is wrong is 400, whichever way it is.
fn read<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    body.map(|Json(body)| body).map_err(|rejection| match rejection.status() {
        StatusCode::UNPROCESSABLE_ENTITY => Problem::bad_request(of_body(&rejection.body_text())),
        status => Problem::new(status, of_body(&rejection.body_text())),
    })
}

fn begin(from: Begin) -> Result<ReplayFrom, Problem> {
    match from {
        Begin::Position(position) => Ok(ReplayFrom::Position(position)),
        Begin::Time(text) => {
            let time = DateTime::parse_from_rfc3339(&text).map_err(|error| {
                Problem::bad_request(format!(
                    "from: `{text}` is neither a position nor a time such as \
                     2026-01-31T08:00:00Z: {error}"
                ))
            })?;
            // Before 1970 there was no bus.
            Ok(ReplayFrom::Time(u64::try_from(time.timestamp_millis()).unwrap_or(0)))
        }
    }
}
