//! Problem details: what a client is told when it doesn't work (RFC 9457).

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use crate::{events, kv, sql};

/// Seconds after which a client may try again what the store could not do.
const RETRY_AFTER_SECONDS: u32 = 1;

/// An answer that is an error, `application/problem+json`.
///
/// The type is `about:blank`: the status says what kind it is (RFC 9457 §4.2.1),
/// `detail` what is wrong, and the extension `field` where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    field: Option<String>,
    allow: Option<&'static str>,
}

#[derive(Serialize)]
struct Details<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl Problem {
    /// 400: this field of the body or the query is missing or wrong.
    #[must_use]
    pub fn bad_request(field: &str, detail: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// 400: the request is wrong as a whole.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409: what there is does not allow it.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 405: the path is known, the method isn't; `allow` lists those that are,
    /// as the header has them.
    #[must_use]
    pub fn method_not_allowed(method: &Method, allow: &'static str) -> Self {
        let detail = format!("{method} is not among {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 500: the service's own fault. The cause goes to the log, not to the client.
    #[must_use]
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        eprintln!("{cause}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the service failed; its log says why")
    }

    /// 503: the store cannot take it now. The cause goes to the log.
    #[must_use]
    pub fn unavailable(cause: &dyn std::error::Error) -> Self {
        eprintln!("{cause}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store could not do it; try again later")
    }

    /// 503: another service could not do what it was called for. The cause goes to the log.
    pub(crate) fn unavailable_callee(cause: &dyn std::error::Error) -> Self {
        eprintln!("{cause}");
        let detail = "another service could not do its part; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The field that is wrong, where it is one.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// What is wrong, for a person to read.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The methods that there are, where another one was refused: `GET, HEAD`.
    #[must_use]
    pub fn allow(&self) -> Option<&'static str> {
        self.allow
    }

    /// The answer.
    #[must_use]
    pub fn into_response(self) -> Response<Vec<u8>> {
        let details = Details {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            field: self.field.as_deref(),
        };
        let body = serde_json::to_vec(&details).expect("strings and a number have a JSON form");
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }

    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), field: None, allow: None }
    }
}

impl From<kv::Error> for Problem {
    fn from(error: kv::Error) -> Self {
        // A store that fails ends the run: what comes here would be so the next time, too.
        Self::internal(&error)
    }
}

impl From<sql::Error> for Problem {
    fn from(error: sql::Error) -> Self {
        match error {
            sql::Error::Host(sql::HostError::Limit(_) | sql::HostError::Unavailable(_)) => {
                Self::unavailable(&error)
            }
            _ => Self::internal(&error),
        }
    }
}

impl From<events::Error> for Problem {
    fn from(error: events::Error) -> Self {
        match error {
            events::Error::Host(
                events::HostError::Limit(_) | events::HostError::Unavailable(_),
            ) => Self::unavailable(&error),
            _ => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::Problem;

    fn body(problem: Problem) -> Value {
        serde_json::from_slice(problem.into_response().body()).expect("a problem is JSON")
    }

    #[test]
    fn a_bad_field_is_named() {
        let problem = Problem::bad_request("quantity", "must be positive");
        let expected = json!({
            "type": "about:blank", "title": "Bad Request", "status": 400,
            "detail": "must be positive", "field": "quantity",
        });
        assert_eq!(body(problem), expected);
    }

    #[test]
    fn a_problem_without_a_field_has_none() {
        assert_eq!(body(Problem::malformed("no JSON")).get("field"), None);
    }

    #[test]
    fn a_refused_method_says_which_are_allowed() {
        let response = Problem::method_not_allowed(&Method::PUT, "GET, HEAD").into_response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET, HEAD");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[test]
    fn a_cause_stays_in_the_log() {
        let response = Problem::internal(&std::fmt::Error).into_response();
        let text = String::from_utf8_lossy(response.body()).into_owned();
        assert!(!text.contains(&std::fmt::Error.to_string()), "{text}");
    }
}
