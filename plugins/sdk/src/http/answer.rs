//! What a service's functions may return.

use ::http::HeaderValue;
use ::http::header::CONTENT_TYPE;

use super::Response;
use crate::problem::Problem;

/// What a function may return to answer a request with. A service's own error is one as well,
/// if it says so here:
///
/// ```
/// use hotdock_sdk::http::{Answer, Request, Response, StatusCode};
/// use hotdock_sdk::problem::Problem;
///
/// enum Error { SoldOut, Other(Problem) }
///
/// impl From<Problem> for Error {
///     fn from(problem: Problem) -> Self {
///         Self::Other(problem)
///     }
/// }
///
/// impl Answer for Error {
///     fn into_response(self) -> Response {
///         let (status, code) = match self {
///             Self::SoldOut => (StatusCode::CONFLICT, "sold-out"),
///             Self::Other(problem) => (problem.status(), "refused"),
///         };
///         let mut response = Response::new(format!(r#"{{"error":"{code}"}}"#).into_bytes());
///         *response.status_mut() = status;
///         response
///     }
/// }
///
/// fn buy(request: &Request) -> Result<&'static str, Error> {
///     match request.json::<u32>()? {
///         0 => Err(Error::SoldOut),
///         _ => Ok("yours"),
///     }
/// }
///
/// // What the routes refuse becomes one, too.
/// hotdock_sdk::http_handler! {
///     "/buy" => { POST: buy },
///     _ => Error::from,
/// }
/// ```
pub trait Answer {
    /// What is sent.
    fn into_response(self) -> Response;
}

impl Answer for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl Answer for Problem {
    fn into_response(self) -> Response {
        Self::into_response(self)
    }
}

impl<A: Answer, E: Answer> Answer for Result<A, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(answer) => answer.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

/// 200 with this text.
impl Answer for String {
    fn into_response(self) -> Response {
        with_type("text/plain; charset=utf-8", self.into_bytes())
    }
}

/// 200 with this text.
impl Answer for &str {
    fn into_response(self) -> Response {
        self.to_owned().into_response()
    }
}

/// 200 with this body.
pub(super) fn with_type(content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
