//! Answering: whole, as text or JSON, or with a body that a task writes.

use serde_json::Value;
use std::fmt::Debug;
use wasip3::http::types::{Fields, Response};
use wasip3::wit_bindgen::rt::async_support::StreamWriter;
use wasip3::{wit_future, wit_stream};

/// Answers with a text as it is.
pub fn text(status: u16, text: &str) -> Response {
    whole(status, "text/plain; charset=utf-8", text.to_owned())
}

/// Answers 200 with the value, or 500 with `{"error": …}`.
pub fn json(result: Result<Value, impl Debug>) -> Response {
    let (status, value) = match result {
        Ok(value) => (200, value),
        Err(error) => (500, serde_json::json!({ "error": format!("{error:?}") })),
    };
    whole(status, "application/json", value.to_string())
}

/// Answers 200 with what the task writes, which it does after the answer's head is handed over.
pub fn stream<Task>(content_type: &str, write: impl FnOnce(StreamWriter<u8>) -> Task) -> Response
where
    Task: Future<Output = ()> + 'static,
{
    let (body, reader) = wit_stream::new();
    // Dropping the writer's end of the future leaves its default: no trailers.
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers(content_type), Some(reader), no_trailers);
    wasip3::spawn_local(write(body));
    response
}

pub fn headers(content_type: &str) -> Fields {
    let headers = Fields::new();
    headers
        .append("content-type", content_type.as_bytes())
        .expect("a content type is a valid header");
    headers
}

fn whole(status: u16, content_type: &str, text: String) -> Response {
    let response = stream(content_type, |mut body| async move {
        // What a client that went away leaves unread is lost, and rightly.
        let _unread = body.write_all(text.into_bytes()).await;
    });
    response.set_status_code(status).expect("the probe only has valid status codes");
    response
}
