//! Whole requests and whole answers.
//!
//! A request's body is read before the service looks at it, and an answer's is
//! written in one piece, so that the host can send `Content-Length`.

pub mod body;
pub mod query;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderValue, Response};
use serde::Serialize;

pub use self::body::Fields;
pub use self::query::Query;
use crate::problem::Problem;

/// Reads the request's body to its end.
///
/// # Errors
/// The body broke off; handing the error on gives the invocation up.
#[cfg(target_family = "wasm")]
pub async fn whole(
    request: wstd::http::Request<wstd::http::Body>,
) -> Result<::http::Request<Vec<u8>>, wstd::http::Error> {
    let (head, mut body) = request.into_parts();
    let bytes = body.contents().await?.to_vec();
    Ok(::http::Request::from_parts(head, bytes))
}

/// 200 with this value as JSON.
///
/// # Errors
/// 500 if the value has no JSON form.
pub fn json(value: &impl Serialize) -> Result<Response<Vec<u8>>, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| Problem::internal(&error))?;
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn integer_in(
    field: &str,
    number: Option<i64>,
    range: &std::ops::RangeInclusive<i64>,
) -> Result<i64, Problem> {
    number.filter(|number| range.contains(number)).ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        Problem::bad_request(field, format!("`{field}` must be an integer from {least} to {most}"))
    })
}
