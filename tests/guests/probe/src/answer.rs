//! Answering: whole, as text or JSON, or only the head.

use crate::streams;
use serde_json::Value;
use std::fmt::Debug;
use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// Answers with a text as it is.
pub fn text(outparam: ResponseOutparam, status: u16, text: &str) {
    whole(outparam, status, "text/plain; charset=utf-8", text);
}

/// Answers 200 with the value, or 500 with `{"error": …}`.
pub fn json(outparam: ResponseOutparam, result: Result<Value, impl Debug>) {
    let (status, value) = match result {
        Ok(value) => (200, value),
        Err(error) => (500, serde_json::json!({ "error": format!("{error:?}") })),
    };
    whole(outparam, status, "application/json", &value.to_string());
}

/// Hands over the head of an answer, which commits; its body is the caller's to write.
pub fn head(outparam: ResponseOutparam, status: u16, content_type: &str) -> OutgoingBody {
    let headers = Fields::new();
    headers
        .append("content-type", content_type.as_bytes())
        .expect("a content type is a valid header");
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("tests ask for valid status codes");
    let body = response.body().expect("a body is taken once");
    ResponseOutparam::set(outparam, Ok(response));
    body
}

fn whole(outparam: ResponseOutparam, status: u16, content_type: &str, text: &str) {
    let body = head(outparam, status, content_type);
    let stream = body.write().expect("a body's stream is taken once");
    let written = streams::write(&stream, text.as_bytes());
    drop(stream);
    if written.is_ok() {
        streams::finish(body, None);
    }
}
