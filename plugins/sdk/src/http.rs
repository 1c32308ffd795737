//! Requests, and whole answers.
//!
//! A service is a function from a [`Request`] to an [`Answer`], or routes that lead to such
//! functions; [`http_handler!`](crate::http_handler) makes it the component's entry point. Of a
//! request the host is asked for what the service looks at; an answer's body is written in one
//! piece, so that the host can send `Content-Length`.

mod answer;
pub mod body;
#[doc(hidden)]
pub mod entry;
mod field;
mod host;
pub mod query;
mod request;
#[doc(hidden)]
pub mod route;
mod typed;
mod whole;

use serde::Serialize;

pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

pub use self::answer::Answer;
pub use self::body::Fields;
pub use self::field::{Field, Wrong};
pub use self::query::Query;
pub use self::request::Request;
pub use self::route::{Handler, Parameter};
use crate::problem::Problem;

/// An answer, whole.
pub type Response<B = Vec<u8>> = ::http::Response<B>;

/// 200 with this value as JSON.
///
/// # Errors
/// 500 if the value has no JSON form.
pub fn json(value: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| Problem::internal(&error))?;
    Ok(answer::with_type("application/json", body))
}
