//! Requests and streamed answers.

use crate::answer;
use crate::call::Call;
use serde_json::json;
use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{Fields, Method, Request, Response, Scheme};
use wasip3::wit_bindgen::StreamResult;
use wasip3::{wit_future, wit_stream};

const CHUNK: usize = 64 * 1024;

pub fn request(request: &Request) -> Response {
    let headers: Vec<_> = request
        .get_headers()
        .copy_all()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    answer::json(Ok::<_, ()>(json!({
        "method": method(request.get_method()),
        "scheme": request.get_scheme().map(scheme),
        "authority": request.get_authority(),
        "path_with_query": request.get_path_with_query(),
        "headers": headers,
    })))
}

pub fn echo(request: Request) -> Response {
    // Dropping the writer's end of the future leaves its default: the body was handled.
    let (_, handled) = wit_future::new(|| Ok(()));
    let (mut received, trailers) = Request::consume_body(request, handled);
    let (mut body, reader) = wit_stream::new();
    let headers = answer::headers("application/octet-stream");
    let (response, _sent) = Response::new(headers, Some(reader), trailers);
    wasip3::spawn_local(async move {
        let mut buffer = Vec::with_capacity(CHUNK);
        loop {
            let (result, chunk) = received.read(buffer).await;
            if !matches!(result, StreamResult::Complete(_)) {
                return;
            }
            buffer = body.write_all(chunk).await;
            if !buffer.is_empty() {
                return;
            }
            buffer.reserve(CHUNK);
        }
    });
    response
}

pub fn sse(call: &Call) -> Response {
    let events = call.number("n", 0u64);
    let pause_ns = call.number("ms", 0u64).saturating_mul(1_000_000);
    answer::stream("text/event-stream", move |mut body| async move {
        for event in 0..events {
            if event > 0 {
                monotonic_clock::wait_for(pause_ns).await;
            }
            let unread = body.write_all(format!("data: {event}\n\n").into_bytes()).await;
            if !unread.is_empty() {
                return;
            }
        }
    })
}

pub fn big(call: &Call) -> Response {
    let mut left = call.number("bytes", 0usize);
    answer::stream("application/octet-stream", move |mut body| async move {
        while left > 0 {
            let length = left.min(CHUNK);
            let unread = body.write_all(vec![b'x'; length]).await;
            if !unread.is_empty() {
                return;
            }
            left -= length;
        }
    })
}

/// So many bytes with this `Content-Length`; after ms they end, and that is printed.
pub fn sized(call: &Call) -> Response {
    let bytes = call.number("bytes", 0usize);
    let pause_ns = call.number("ms", 0u64).saturating_mul(1_000_000);
    let headers = Fields::new();
    headers.append("content-length", call.text("length").as_bytes()).expect("a length");
    let (mut body, reader) = wit_stream::new();
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(reader), no_trailers);
    response.set_status_code(call.number("code", 200)).expect("tests ask for valid status codes");
    wasip3::spawn_local(async move {
        let unread = body.write_all(vec![b'x'; bytes]).await;
        monotonic_clock::wait_for(pause_ns).await;
        drop(body);
        eprintln!("sized: {}, Ok(())", if unread.is_empty() { "written" } else { "gone" });
    });
    response
}

fn method(method: Method) -> String {
    match method {
        Method::Other(name) => name,
        // `Method::Get` and its like.
        known => {
            let name = format!("{known:?}");
            name.rsplit("::").next().unwrap_or_default().to_uppercase()
        }
    }
}

fn scheme(scheme: Scheme) -> String {
    match scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
        Scheme::Other(name) => name,
    }
}
