//! `GET /v1/notices`: what deployments do, as it happens (server-sent events).

use std::convert::Infallible;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use tokio::sync::broadcast::error::RecvError;

use super::Admin;
use super::problem::{Denied, Problem};

/// What happens from now on. Each event's name is its kind, and its data is JSON:
/// `{"<kind>": {…}}`. `missed` counts what a slow reader did not get.
#[utoipa::path(get, path = "/v1/notices", operation_id = "follow_notices",
    tag = "deployments", responses(
    (status = 200, description = "Until the host stops", body = String,
     content_type = "text/event-stream"),
    (status = 503, description = "There is no place for one more that follows; \
     `Retry-After` says when to come again", body = Problem,
     content_type = "application/problem+json"),
    Denied,
))]
pub(super) async fn follow(
    State(admin): State<Admin>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let place = admin.places.take()?;
    let state = (admin.operator.notices(), admin.stopping.clone(), place);
    let events = stream::unfold(state, async |(mut notices, stopping, place)| {
        let received = tokio::select! {
            received = notices.recv() => received,
            // The listener waits for its last answer to end.
            () = stopping.cancelled() => return None,
        };
        let event = match received {
            Ok(notice) => Event::default().event(notice.kind()).json_data(&notice),
            Err(RecvError::Lagged(count)) => {
                Event::default().event("missed").json_data(serde_json::json!({ "missed": count }))
            }
            Err(RecvError::Closed) => return None,
        };
        let event = event.expect("notices have text keys only");
        Some((Ok(event), (notices, stopping, place)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
