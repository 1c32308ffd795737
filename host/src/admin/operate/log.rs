//! `GET /v1/events`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::limit;
use crate::admin::Admin;
use crate::admin::problem::{Denied, Problem};
use crate::event::TypePattern;
use crate::events::{EventPage, Wanted};

/// How long an answer may be waited for, in seconds.
const MAX_WAIT: u64 = 30;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// Those after this position; without it the newest.
    #[param(format = "uint64")]
    after: Option<u64>,
    /// So many at the most (100).
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Those whose type fits the pattern: `*` is one segment, `>` the rest.
    r#type: Option<String>,
    /// While there is none, wait for one for so many seconds (0); 503 where as many as
    /// half of the listener's connections wait or follow already.
    #[param(maximum = 30)]
    wait: Option<u64>,
}

/// The events on the bus, in their order. A page may be short, or empty, and not
/// the last: that has `next` at `last`.
#[utoipa::path(get, path = "/v1/events", operation_id = "list_events",
    tag = "events", params(Parameters), responses(
    (status = 200, description = "A page", body = EventPage),
    (status = 400, description = "A parameter is wrong", body = Problem,
     content_type = "application/problem+json"),
    (status = 503, description = "There is no event, and no place to wait for one; \
     `Retry-After` says when to come again", body = Problem,
     content_type = "application/problem+json"),
    Denied,
))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<EventPage>, Problem> {
    let Parameters { after, limit: asked, r#type, wait } = parameters;
    let pattern = r#type.map(|text| pattern(&text)).transpose()?;
    let wanted = Wanted { after, limit: limit(asked)?, pattern };
    let page = match wait.unwrap_or(0) {
        0 => admin.events.page(&wanted).await?,
        wait @ 1..=MAX_WAIT => {
            let _place = match admin.places.take() {
                Ok(place) => place,
                // What is there is had without a wait. Where that is nothing, a client that asks
                // again at once would do so all the time.
                Err(no_place) => {
                    let page = admin.events.page(&wanted).await?;
                    let goes_on = wanted.after.is_some_and(|after| page.next > after);
                    let has_some = goes_on || !page.events.is_empty();
                    return if has_some { Ok(Json(page)) } else { Err(no_place) };
                }
            };
            let deadline = Instant::now() + Duration::from_secs(wait);
            admin.events.page_once_there(&wanted, deadline, &admin.stopping).await?
        }
        wait => {
            let detail = format!("wait: must be 0 to {MAX_WAIT} seconds; found: {wait}");
            return Err(Problem::bad_request(detail));
        }
    };
    Ok(Json(page))
}

fn pattern(text: &str) -> Result<TypePattern, Problem> {
    text.parse().map_err(|error| {
        Problem::bad_request(format!("type: `{text}` is no pattern such as shop.order.*: {error}"))
    })
}
