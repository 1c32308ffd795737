//! Requests, and whole answers.
//!
//! A service is a function from a [`Request`] to an [`Answer`], which
//! [`http_handler!`](crate::http_handler) makes the component's entry point. Of a request the
//! host is asked for what the service looks at; an answer's body is written in one piece, so
//! that the host can send `Content-Length`.

pub mod body;
#[doc(hidden)]
pub mod entry;
mod host;
pub mod query;
mod request;
mod whole;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderValue, Response};
use serde::Serialize;

pub use self::body::Fields;
pub use self::entry::Answer;
pub use self::query::Query;
pub use self::request::Request;
use crate::problem::Problem;

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
