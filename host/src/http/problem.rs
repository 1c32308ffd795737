//! The host's own answers: problem details (RFC 9457), and which failure is
//! which status. What is internal stays in the log.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use crate::bus::BusError;
use crate::event::InvalidEvent;
use crate::events::receive::IntakeError;
use crate::invocation::{Failure, ResponseBody};
use crate::name::ServiceName;
use crate::runtime::Limit;

/// Seconds after which a client that met a full queue or a conflict may try again.
const RETRY_AFTER_SECONDS: u32 = 1;

/// The one kind of problem after which something may have been done: all others say that
/// nothing was.
const MAYBE_DONE: &str = "may-have-taken-effect";

/// A problem that the host answers with.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {detail}")]
pub struct Problem {
    kind: &'static str,
    status: StatusCode,
    detail: String,
    service: Option<ServiceName>,
    allow: Vec<Method>,
    retry: bool,
    /// What went wrong after something had taken effect.
    cause: Option<&'static str>,
    event: Option<Box<InvalidEvent>>,
}

/// The JSON of a problem (RFC 9457 §3.1), with extensions: the service, the
/// attribute of an event that is wrong, and its index in a batch.
#[derive(Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attribute: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
}

impl Problem {
    fn new(kind: &'static str, status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind,
            status,
            detail: detail.into(),
            service: None,
            allow: Vec::new(),
            retry: false,
            cause: None,
            event: None,
        }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new("bad-request", StatusCode::BAD_REQUEST, detail)
    }

    /// 431: the request's head is too large.
    #[must_use]
    pub fn head_too_large(limit: usize) -> Self {
        let detail =
            format!("the request's head has more than {limit} bytes ([http] max-header-bytes)");
        Self::new("head-too-large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
    }

    /// 431: the request's head has too many lines.
    #[must_use]
    pub fn too_many_headers(limit: usize) -> Self {
        let detail = format!("the request's head has more than {limit} lines ([http] max-headers)");
        Self::new("head-too-large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
    }

    /// 417: the client expects what is not done here.
    #[must_use]
    pub fn unknown_expectation() -> Self {
        let detail = "the request's Expect is another than 100-continue";
        Self::new("unknown-expectation", StatusCode::EXPECTATION_FAILED, detail)
    }

    /// 501: the body's coding is none that is understood.
    #[must_use]
    pub fn unknown_coding() -> Self {
        let detail = "the request's Transfer-Encoding is another than chunked";
        Self::new("unknown-coding", StatusCode::NOT_IMPLEMENTED, detail)
    }

    /// 400: by other readings of the path another service would answer.
    #[must_use]
    pub fn ambiguous_path(path: &str) -> Self {
        Self::bad_request(format!(
            "{path} would lead elsewhere without its encoded or repeated slashes and its `.` and \
             `..`"
        ))
    }

    /// 404: no service has the path.
    #[must_use]
    pub fn no_route(path: &str) -> Self {
        Self::new("no-route", StatusCode::NOT_FOUND, format!("no service answers {path}"))
    }

    /// 405: the path is known, the method isn't.
    #[must_use]
    pub fn method_not_allowed(method: &Method, path: &str, allow: Vec<Method>) -> Self {
        let detail = format!("{path} does not answer {method}");
        Self { allow, ..Self::new("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 413: the body is larger than the service takes.
    #[must_use]
    pub fn body_too_large(service: &ServiceName, limit: u64) -> Self {
        let detail = format!("the request's body is larger than the {limit} bytes that are taken");
        Self::new("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, detail).of(service)
    }

    /// 503: as many requests wait as may.
    #[must_use]
    pub fn overloaded(service: &ServiceName) -> Self {
        Self::unavailable("overloaded", "the service has as many requests as it may").of(service)
    }

    /// 503: as many bodies that take their time are on their way as may be.
    #[must_use]
    pub fn too_many_uploads(service: &ServiceName) -> Self {
        let detail = "as many request bodies that take their time are on their way as may be at \
                      once ([http] max-uploads, max-uploads-per-address)";
        Self::unavailable("overloaded", detail).of(service)
    }

    fn unavailable(kind: &'static str, detail: impl Into<String>) -> Self {
        Self { retry: true, ..Self::new(kind, StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// The same of a request that has taken effect in part: who repeats it may do that
    /// twice.
    fn partly(self) -> Self {
        let Self { kind, status, detail, service, .. } = self;
        // That it is to be tried again is said by this status alone, too.
        let is_refusal = status == StatusCode::SERVICE_UNAVAILABLE;
        let status = if is_refusal { StatusCode::INTERNAL_SERVER_ERROR } else { status };
        let detail = format!(
            "the request may have taken effect: {detail}, but what the service had committed, or \
             told others, stands"
        );
        Self { service, cause: Some(kind), ..Self::new(MAYBE_DONE, status, detail) }
    }

    fn of(self, service: &ServiceName) -> Self {
        Self { service: Some(service.clone()), ..self }
    }

    /// About this attribute of this event of a batch.
    fn at(self, attribute: &str, index: Option<usize>) -> Self {
        let event = InvalidEvent { index, ..InvalidEvent::attribute(attribute, "") };
        Self { event: Some(Box::new(event)), ..self }
    }

    /// What a client is told of an invocation's failure.
    #[must_use]
    pub fn of_failure(service: &ServiceName, failure: &Failure) -> Self {
        let failed = |kind, detail: &str| Self::new(kind, StatusCode::BAD_GATEWAY, detail);
        let late = |kind| Self::new(kind, StatusCode::GATEWAY_TIMEOUT, failure.to_string());
        let problem = match failure {
            Failure::Trapped(_) => failed("failed", "the service failed"),
            Failure::Panicked(_) => Self::new(
                "host-failed",
                StatusCode::INTERNAL_SERVER_ERROR,
                "the host failed while it ran the service",
            ),
            Failure::OverLimit { limit: Limit::Memory(_), .. } => {
                failed("out-of-memory", "the service ran out of memory")
            }
            Failure::OverLimit { limit, .. } => {
                failed("over-limit", &format!("the service used more {} than it may", limit.what()))
            }
            Failure::NoRoom(_) => {
                Self::unavailable("overloaded", "the host has no room for another instance")
            }
            // Of calls, which have no client.
            Failure::QueueFull(_) | Failure::CallerLeft => {
                Self::unavailable("overloaded", "the call could not be run")
            }
            Failure::NoAnswer => failed("no-answer", "the service gave no answer"),
            Failure::ErrorCode(_) => failed("failed", "the service answered with an error"),
            Failure::OutOfCpu(_) => late("out-of-cpu"),
            Failure::Deadline(_) => late("deadline"),
            Failure::BodyTooLarge(limit) => return Self::body_too_large(service, *limit),
            Failure::KeyedBodyTooLarge(limit) => {
                let detail = format!(
                    "with an Idempotency-Key the request's body has at most {limit} bytes \
                     ([limits] replay-body)"
                );
                Self::new("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, detail)
            }
            Failure::BodyBroken => Self::bad_request("the request's body broke off"),
            Failure::BodyIdle | Failure::BodyLate(_) => {
                Self::new("body-late", StatusCode::REQUEST_TIMEOUT, failure.to_string())
            }
            Failure::KeyInUse => Self {
                retry: true,
                ..Self::new(
                    "idempotency-key-in-use",
                    StatusCode::CONFLICT,
                    "the first request with this Idempotency-Key still runs",
                )
            },
            Failure::KeyReused => Self::new(
                "idempotency-key-reused",
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was used for a request with another body or content type",
            ),
            Failure::TooManyKeys => Self::unavailable(
                "idempotency-full",
                "the service keeps as many answers under an Idempotency-Key, or as many bytes of them, \
                 as it may",
            ),
            Failure::AnswerTooLarge(limit) => failed(
                "answer-too-large",
                &format!(
                    "with an Idempotency-Key the service's answer has at most {limit} bytes \
                     ([limits] response-buffer)"
                ),
            ),
            Failure::ResultTooLarge(_) | Failure::ResultOfOtherType => {
                failed("failed", &failure.to_string())
            }
            Failure::AnswerBroken => {
                failed("failed", "the service stopped before the end of its answer")
            }
            Failure::Conflict => Self::unavailable(
                "conflict",
                "the request conflicts with others that were committed first; try again",
            ),
            Failure::Drained => Self::unavailable(
                "drained",
                "the service was replaced, or the host ends, and the request took too long to finish",
            ),
            Failure::LeaseExpired => Self::unavailable(
                "lease-expired",
                "the request held the service's store for longer than it may",
            ),
            Failure::ForeignKey => failed(
                "foreign-key",
                "the service's transaction ended with a foreign key that is violated",
            ),
            Failure::GivenUp(_) => {
                failed("transaction-undone", "a statement undid the service's transaction")
            }
            Failure::StoreFull => Self::unavailable("store-full", "the service's store is full"),
            Failure::DiskFull => Self::unavailable("disk-full", "the host's disk is full"),
            Failure::OutboxFull => {
                Self::unavailable("outbox-full", "the service's events wait for the bus")
            }
            Failure::LogFull(_) => Self::unavailable(
                "store-unavailable",
                "the service's store takes no writes until those that read from it are done",
            ),
            Failure::Store(_) => {
                Self::unavailable("store-unavailable", "the service's store does not answer")
            }
            Failure::Uncertain(_) => Self::new(
                MAYBE_DONE,
                StatusCode::INTERNAL_SERVER_ERROR,
                "the request may have taken effect: its commit could not be confirmed",
            ),
            Failure::Partly(failure) => return Self::of_failure(service, failure).partly(),
        };
        problem.of(service)
    }

    /// What a client is told whose events were not taken.
    #[must_use]
    pub fn of_events(error: &IntakeError) -> Self {
        let refused = |kind, status| Self::new(kind, status, error.to_string());
        match error {
            IntakeError::BodyBroken => refused("bad-request", StatusCode::BAD_REQUEST),
            IntakeError::BodyLate | IntakeError::BodyIdle(_) => {
                refused("body-late", StatusCode::REQUEST_TIMEOUT)
            }
            IntakeError::BodyTooLarge(_) => {
                refused("body-too-large", StatusCode::PAYLOAD_TOO_LARGE)
            }
            IntakeError::Invalid(event) => Self {
                event: Some(Box::new(event.clone())),
                ..refused("invalid-event", StatusCode::BAD_REQUEST)
            },
            IntakeError::UnsupportedMediaType(_) => {
                refused("unsupported-media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            IntakeError::TypeNotOpened { index, .. } => {
                refused("type-not-taken", StatusCode::FORBIDDEN).at("type", *index)
            }
            IntakeError::SourceNotOpened { index, .. } => {
                refused("source-not-taken", StatusCode::FORBIDDEN).at("source", *index)
            }
            IntakeError::SourceReserved { index, .. } => {
                refused("source-reserved", StatusCode::FORBIDDEN).at("source", *index)
            }
            IntakeError::Overloaded | IntakeError::SenderOverloaded => {
                Self::unavailable("overloaded", error.to_string())
            }
            IntakeError::Bus(BusError::Full(_)) => {
                Self::unavailable("bus-full", "the bus has no room for more events")
            }
            IntakeError::Bus(BusError::DiskFull) => {
                Self::unavailable("disk-full", "the host's disk is full")
            }
            IntakeError::Bus(BusError::ShareFull(_)) => Self::unavailable(
                "bus-full",
                "the bus has no room for more events that come in here ([events] max-bytes and \
                 max-bytes-per-source)",
            ),
            // The latter only of an outbox.
            IntakeError::Bus(BusError::Unavailable(_) | BusError::NotAbove { .. }) => {
                Self::unavailable("bus-unavailable", "the bus does not answer")
            }
            IntakeError::Bus(BusError::Failed(_)) => Self::new(
                "bus-failed",
                StatusCode::INTERNAL_SERVER_ERROR,
                "the events could not be made durable",
            ),
        }
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The response.
    #[must_use]
    pub fn into_response(self) -> Response<ResponseBody> {
        let details = Details {
            r#type: format!("urn:hotdock:problem:{}", self.kind),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            service: self.service.as_ref().map(ServiceName::as_str),
            cause: self.cause,
            attribute: self.event.as_ref().and_then(|event| event.attribute.as_deref()),
            index: self.event.as_ref().and_then(|event| event.index),
        };
        let body = serde_json::to_vec(&details).expect("text and numbers are always JSON");
        let mut response = Response::new(ResponseBody::full(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.retry {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        if !self.allow.is_empty() {
            let methods: Vec<_> = self.allow.iter().map(Method::as_str).collect();
            let allow = HeaderValue::from_str(&methods.join(", "));
            headers.insert(ALLOW, allow.expect("methods are tokens"));
        }
        response
    }
}
