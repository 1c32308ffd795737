//! `POST /events`, on the admin listener and, for types that the operator opened,
//! on the public one.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::bus::{Appended, Sender};
use crate::events::receive::{Intake, IntakeError};
use crate::invocation::ResponseBody;

/// What became of a request's events.
#[derive(Serialize, ToSchema)]
pub struct Receipt {
    /// How many are new, and durable.
    accepted: usize,
    /// How many were known, and dropped.
    repeated: usize,
    /// Which of the batch those are, counted from 0; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    repeats: Vec<usize>,
}

/// Looks at the head of a request that is to bring events. Nothing of its body was asked for yet.
///
/// # Errors
/// With the problem where it brings none that are taken.
pub fn check(intake: &Intake, headers: &HeaderMap) -> Result<(), Problem> {
    intake.check_head(headers).map_err(|error| Problem::of_events(&error))
}

/// Takes the events of a request. 202 says that they are durable, and which
/// were new and which were known and dropped.
///
/// # Errors
/// With the problem where none were taken.
pub async fn take<B>(
    intake: &Intake,
    headers: &HeaderMap,
    body: B,
    sender: Sender,
) -> Result<Response<ResponseBody>, Problem>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let appended = intake.take(headers, body, sender).await.map_err(|error| {
        if let IntakeError::Bus(error) = &error {
            error.warn("events from outside were not taken");
        }
        Problem::of_events(&error)
    })?;
    let Appended { accepted, repeats } = appended;
    let receipt = Receipt { accepted, repeated: repeats.len(), repeats };
    let body = serde_json::to_vec(&receipt).expect("numbers are always JSON");
    let mut response = Response::new(ResponseBody::full(Bytes::from(body)));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
