//! Errors as problem details (RFC 9457).

use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The content type of problem details.
const PROBLEM_JSON: &str = "application/problem+json";
/// How much of a plain error is taken as its detail.
const MAX_DETAIL_BYTES: usize = 64 << 10;

/// What is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: the status says it.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong with this request.
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).expect("it was made from one")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("text and numbers are always JSON");
        (self.status(), [(CONTENT_TYPE, PROBLEM_JSON)], body).into_response()
    }
}

/// Makes the errors in plain text that the framework answers with problems, too.
pub(super) async fn from_plain(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_JSON) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let text = to_bytes(body, MAX_DETAIL_BYTES).await.unwrap_or_default();
    let problem = Problem::new(status, String::from_utf8_lossy(&text)).into_response();
    // What else the head says, `Allow` for one, still holds.
    head.headers.remove(CONTENT_LENGTH);
    let (other, body) = problem.into_parts();
    head.headers.extend(other.headers);
    Response::from_parts(head, Body::new(body))
}
