//! What the native tests of a service use.

use http::{Method, Uri};
use serde_json::Value;

use crate::events::{Delivery, Event};
use crate::http::{Answer, Request};

/// A whole request.
///
/// # Panics
/// The method or the URI is not one.
#[must_use]
pub fn request(method: &str, uri: &str, body: &str) -> Request {
    let method = Method::try_from(method).expect("a method");
    Request::whole(method, Uri::try_from(uri).expect("a URI"), body.as_bytes().to_vec())
}

/// The status that a request was refused with, and the field, where the problem names one.
///
/// # Panics
/// It was not refused, or not with a [`Problem`](crate::problem::Problem).
pub fn refusal(answer: impl Answer) -> (u16, Option<String>) {
    let answer = answer.into_response();
    assert!(!answer.status().is_success(), "the request was not refused");
    let problem: Value = serde_json::from_slice(answer.body()).expect("a problem is JSON");
    (answer.status().as_u16(), problem["field"].as_str().map(str::to_owned))
}

/// The first delivery of an event of this type with this data.
#[must_use]
pub fn delivery(event_type: &str, data: &str) -> Delivery {
    let event = Event {
        id: "1".to_owned(),
        source: "/services/test".to_owned(),
        type_: event_type.to_owned(),
        subject: None,
        time: None,
        data_content_type: None,
        data_schema: None,
        partition_key: None,
        extensions: Vec::new(),
        data: (!data.is_empty()).then(|| data.as_bytes().to_vec()),
    };
    Delivery { event, subscription: event_type.to_owned(), position: 1, attempt: 1 }
}
