//! `POST /events`: events from outside, of any type (CloudEvents).

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;

use super::Admin;
use super::problem::{Denied, Problem};
use crate::bus::Sender;
use crate::http::events::{self, Receipt};
use crate::http::problem::Problem as PublicProblem;

/// Takes events in binary, structured or batch mode (CloudEvents' HTTP binding);
/// answered when they are durable.
#[utoipa::path(post, path = "/events", operation_id = "take_events",
    tag = "events",
    request_body(content(
        (String = "application/cloudevents+json"),
        (String = "application/cloudevents-batch+json"),
        (String = "application/json"),
    )),
    responses(
        (status = 202, description = "They are durable", body = Receipt,
         content_type = "application/json"),
        (status = "4XX", description = "They are not events, or not ones that are taken",
         body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "There is no room for them now", body = Problem,
         content_type = "application/problem+json"),
        Denied,
    ))]
pub(super) async fn take(State(admin): State<Admin>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let taken = events::take(&admin.intake, &head.headers, body, Sender::Operator).await;
    taken.unwrap_or_else(PublicProblem::into_response).map(Body::new)
}
