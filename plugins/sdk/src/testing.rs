//! What the native tests of a service use.

use http::{Method, Uri};

use crate::events::{Delivery, Event};
use crate::http::Request;
use crate::id::Id;
use crate::problem::Problem;

/// A whole request.
///
/// # Panics
/// The method or the URI is not one.
#[must_use]
pub fn request(method: &str, uri: &str, body: &str) -> Request {
    let method = Method::try_from(method).expect("a method");
    Request::whole(method, Uri::try_from(uri).expect("a URI"), body.as_bytes().to_vec())
}

/// The status and the field that a request was refused with.
///
/// # Panics
/// It was not refused.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Problem>) -> (u16, Option<String>) {
    let problem = result.expect_err("this is no valid request");
    (problem.status().as_u16(), problem.field().map(str::to_owned))
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

/// An identifier that is a text.
#[must_use]
pub fn text(id: &str) -> Id {
    Id::Text(id.to_owned())
}
