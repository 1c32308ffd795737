//! `POST /events`, on the admin listener and, for types that the operator opened,
//! on the public one.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;
use serde::Serialize;

use super::problem::Problem;
use crate::events::receive::{Intake, IntakeError};
use crate::runtime::ResponseBody;

/// The answer's JSON.
#[derive(Serialize)]
struct Receipt {
    accepted: usize,
    repeated: usize,
}

/// Takes the events of a request. 202 says that they are durable, and how many
/// were new and how many were known and dropped.
///
/// # Errors
/// With the problem where none were taken.
pub async fn take<B>(
    intake: &Intake,
    headers: &HeaderMap,
    body: B,
) -> Result<Response<ResponseBody>, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let appended = intake.take(headers, body).await.map_err(|error| {
        if matches!(error, IntakeError::Bus(_)) {
            tracing::warn!("events from outside were not taken: {error}");
        }
        Problem::of_events(&error)
    })?;
    let receipt = Receipt { accepted: appended.accepted, repeated: appended.repeated };
    let body = serde_json::to_vec(&receipt).expect("numbers are always JSON");
    let mut response = Response::new(ResponseBody::full(Bytes::from(body)));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
