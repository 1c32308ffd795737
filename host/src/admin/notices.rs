//! `GET /v1/notices`: what deployments do, as it happens (server-sent events).

use std::convert::Infallible;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use tokio::sync::broadcast::error::RecvError;

use super::Admin;
use super::problem::Denied;

/// What happens from now on. Each event's name is its kind, and its data is JSON:
/// `{"<kind>": {…}}`. `missed` counts what a slow reader did not get.
#[utoipa::path(get, path = "/v1/notices", tag = "deployments", responses(
    (status = 200, description = "Until the host stops", body = String,
     content_type = "text/event-stream"),
    Denied,
))]
pub(super) async fn follow(
    State(admin): State<Admin>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let state = (admin.operator.notices(), admin.stopping.clone());
    let events = stream::unfold(state, async |(mut notices, stopping)| {
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
        Some((Ok(event), (notices, stopping)))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}
