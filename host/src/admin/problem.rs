//! Errors as problem details (RFC 9457), and which refusal is which status.

use axum::body::{Body, to_bytes};
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::deploy::NotDone;

/// The content type of problem details.
const PROBLEM_JSON: &str = "application/problem+json";
/// When to ask again where the host's own record is busy.
pub(super) const LATE_AGAIN_SECONDS: u64 = 10;
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
    /// Every reason, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    /// After how many seconds it may be asked again.
    #[serde(skip)]
    again_after: Option<u64>,
}

/// What any request may be answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the description of what others make")]
pub(super) enum Denied {
    /// A parameter or a header is wrong, or it has no parameter of the name.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// The token is missing or wrong.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// There is no token, and it was not asked from this machine.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// `If-Match` or `If-None-Match` does not hold. What has no entity tag is none that `If-Match`
    /// names.
    #[response(status = 412, content_type = "application/problem+json")]
    Precondition(Problem),
}

/// What a request that looks at the bus or at stores, or changes them, may be answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the description of what others make")]
pub(super) enum NotNow {
    /// A store or the bus has no room or does not answer: the detail names which. `Retry-After` says
    /// when to come again.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// What a request for a change may be answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the description of what others make")]
pub(super) enum Unchanged {
    /// The request itself is wrong.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// The token is missing or wrong.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// There is no token, and it was not asked from this machine.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// There is no such service, or no such version of it.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// Something else is under way, or there is nothing to do it to.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// `If-Match` names a revision that is over.
    #[response(status = 412, content_type = "application/problem+json")]
    Precondition(Problem),
    /// More than is taken.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// A content type that is not taken.
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Problem),
    /// It cannot be, for these reasons.
    #[response(status = 422, content_type = "application/problem+json")]
    Refused(Problem),
    /// It could not be kept.
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(Problem),
    /// The host's own record is busy, or its disk is full: nothing was changed, or what was asked
    /// for may take effect yet; the detail says which.
    #[response(status = 503, content_type = "application/problem+json")]
    Late(Problem),
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            reasons: Vec::new(),
            again_after: None,
        }
    }

    /// The same, for now.
    pub(super) fn until(self, seconds: u64) -> Self {
        Self { again_after: Some(seconds), ..self }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).expect("it was made from one")
    }
}

impl From<NotDone> for Problem {
    fn from(error: NotDone) -> Self {
        let status = match &error {
            NotDone::NotFound(_) => StatusCode::NOT_FOUND,
            NotDone::Changed(_) => StatusCode::PRECONDITION_FAILED,
            NotDone::Busy(_) => StatusCode::CONFLICT,
            NotDone::Invalid(_) => StatusCode::BAD_REQUEST,
            NotDone::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            NotDone::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            NotDone::Late(_) | NotDone::NoRoom(_) | NotDone::Short(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            NotDone::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let problem = Self::new(status, error.to_string());
        match error {
            NotDone::Refused(reasons) => Self { reasons, ..problem },
            NotDone::Late(reason) => {
                tracing::warn!(reason, "a request of the operator's was not done in time");
                problem.until(LATE_AGAIN_SECONDS)
            }
            NotDone::Short(reason) => {
                tracing::warn!(reason, "a request of the operator's found too little of something");
                problem.until(LATE_AGAIN_SECONDS)
            }
            // That it is full was said once, when it was found to be so.
            NotDone::NoRoom(_) => problem.until(LATE_AGAIN_SECONDS),
            NotDone::Failed(reason) => {
                tracing::error!(reason, "a request of the operator's failed");
                problem
            }
            _ => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("text and numbers are always JSON");
        let mut response = (self.status(), [(CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        let again = self.again_after.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds)));
        response.headers_mut().extend(again);
        response
    }
}

/// What serde says of a body, in words.
pub(super) fn of_body(text: &str) -> String {
    let said = "Failed to deserialize the JSON body into the target type: ";
    let Some(rest) = text.strip_prefix(said) else { return text.to_owned() };
    let rest = rest.replace("expected u64", "expected a whole number");
    format!("the body is wrong: {}", rest.replace("expected u8", "expected a whole number"))
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
    let detail = of_body(&String::from_utf8_lossy(&text));
    let problem = Problem::new(status, detail).into_response();
    // What else the head says, `Allow` for one, still holds.
    head.headers.remove(CONTENT_LENGTH);
    let (other, body) = problem.into_parts();
    head.headers.extend(other.headers);
    Response::from_parts(head, Body::new(body))
}
