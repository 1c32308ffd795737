//! `GET /v1/logs`: what the host and its services logged, page by page, or as it
//! comes (server-sent events).

#![expect(unused_qualifications, reason = "utoipa's macro writes the parameters' types in full")]

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use chrono::DateTime;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use super::Admin;
use super::accept::weight;
use super::operate::limit;
use super::problem::{Denied, Problem};
use crate::telemetry::{LogLevel, LogLine, LogPage, Logs, WantedLines};

/// How many lines who follows is given at once.
const BATCH: usize = 100;

/// What a client that lost its stream says it had last (HTML, "Server-sent events").
const LAST_EVENT_ID: &str = "last-event-id";

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// Those after this position; without it and `since` the newest.
    #[param(format = "uint64")]
    after: Option<u64>,
    /// Those since then (RFC 3339).
    #[param(format = DateTime)]
    since: Option<String>,
    /// So many at the most (100).
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Those that a service says, or that are about it.
    service: Option<String>,
    /// Those that matter at least so much (all).
    #[param(inline)]
    level: Option<LogLevel>,
}

/// The lines of the log that are still in memory, in their order. A page may be
/// short, or empty, and not the last: that has `next` at `last`. With
/// `Accept: text/event-stream` it goes on with what comes, until the host stops: an
/// event `line` for each, whose id is its position and whose data is the line, and
/// `missed`, `{"missed":…}`, where lines were gone before they could be sent.
#[utoipa::path(get, path = "/v1/logs", operation_id = "list_logs",
    tag = "health", params(Parameters), responses(
    (status = 200, description = "A page, or the stream", content(
        (LogPage = "application/json"),
        (String = "text/event-stream"),
    )),
    (status = 400, description = "A parameter is wrong", body = Problem,
     content_type = "application/problem+json"),
    (status = 503, description = "There is no place for one more that follows; \
     `Retry-After` says when to come again", body = Problem,
     content_type = "application/problem+json"),
    Denied,
))]
pub(super) async fn list(
    State(admin): State<Admin>,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Problem> {
    let Parameters { mut after, since, limit: asked, service, level } = parameters;
    let limit = limit(asked)?;
    let from_the_oldest = since.is_some();
    let since = since.as_deref().map_or(Ok(0), time)?;
    let wanted = WantedLines { service, level: level.unwrap_or_default(), since };
    let follows = wants_stream(&headers);
    if follows {
        let had = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok());
        after = had.or(after);
    }
    let page = if after.is_some() || from_the_oldest {
        admin.logs.after(after, limit, &wanted)
    } else {
        admin.logs.newest(limit, &wanted)
    };
    if !follows {
        return Ok(Json(page).into_response());
    }
    let place = admin.places.take()?;
    let follower = Follower::new(admin.logs, wanted, page, (admin.stopping, place));
    Ok(Sse::new(follower.events()).keep_alive(KeepAlive::default()).into_response())
}

/// Who follows the log, and how far they are.
struct Follower {
    logs: Logs,
    wanted: WantedLines,
    after: u64,
    missed: u64,
    lines: VecDeque<LogLine>,
    stopping: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    /// One who gets the page first.
    fn new(
        logs: Logs,
        wanted: WantedLines,
        page: LogPage,
        (stopping, place): (CancellationToken, OwnedSemaphorePermit),
    ) -> Self {
        let LogPage { lines, next, missed, .. } = page;
        let lines = lines.into();
        Self { logs, wanted, after: next, missed, lines, stopping, _place: place }
    }

    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, async |mut follower| {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        })
    }

    /// What comes next; `None` once the host stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let missed = std::mem::take(&mut self.missed);
            if missed > 0 {
                self.logs.count_missed(missed);
                return Some(event("missed", &json!({ "missed": missed })));
            }
            if let Some(line) = self.lines.pop_front() {
                return Some(event("line", &line).id(line.position.to_string()));
            }
            tokio::select! {
                () = self.logs.grown(self.after) => {}
                // The listener waits for its last answer to end.
                () = self.stopping.cancelled() => return None,
            }
            let page = self.logs.after(Some(self.after), BATCH, &self.wanted);
            (self.after, self.missed, self.lines) = (page.next, page.missed, page.lines.into());
        }
    }
}

fn event(name: &str, data: &impl serde::Serialize) -> Event {
    Event::default().event(name).json_data(data).expect("lines have text keys only")
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let stream = weight(headers, "text/event-stream").unwrap_or_default();
    stream > weight(headers, "application/json").unwrap_or_default()
}

/// In milliseconds since 1970.
fn time(text: &str) -> Result<u64, Problem> {
    let time = DateTime::parse_from_rfc3339(text).map_err(|error| {
        Problem::bad_request(format!(
            "since: `{text}` is no time such as 2026-01-31T08:00:00Z: {error}"
        ))
    })?;
    // Before 1970 nothing was logged.
    Ok(u64::try_from(time.timestamp_millis()).unwrap_or(0))
}
