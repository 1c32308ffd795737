//! Requests and answers.
//!
//! ```text
//! /request         what the guest sees of the request, as JSON
//! /status?code=    answers with this status, and the code as text
//! /read-none       answers `ok` without touching the body
//! /echo            sends the body back as it comes, trailers too
//! /upload?key=     counts the body's bytes, sets the key in bucket `upload` to that, answers it
//! /sse?n=&ms=      n events, ms apart
//! /trailers        a body, then the trailer `x-sum`: the sum of its bytes
//! /big?bytes=      so many bytes
//! /sized?code=&length=&bytes=&ms=&end=   so many bytes with this `Content-Length`; after ms it ends
//!                  them, and prints what becomes of that; `end=none`: it returns and leaves them open
//! ```

use crate::answer;
use crate::bindings::store;
use crate::call::Call;
use crate::streams;
use serde_json::json;
use std::time::Duration;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam, Scheme,
};

pub fn request(request: &IncomingRequest, outparam: ResponseOutparam) {
    let headers: Vec<_> = request
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let seen = json!({
        "method": method(request.method()),
        "scheme": request.scheme().map(scheme),
        "authority": request.authority(),
        "path_with_query": request.path_with_query(),
        "headers": headers,
    });
    answer::json(outparam, Ok::<_, ()>(seen));
}

pub fn status(call: &Call, outparam: ResponseOutparam) {
    let code = call.number("code", 200);
    answer::text(outparam, code, &format!("{code}\n"));
}

pub fn read_none(outparam: ResponseOutparam) {
    answer::text(outparam, 200, "ok\n");
}

pub fn echo(request: &IncomingRequest, outparam: ResponseOutparam) {
    let body = answer::head(outparam, 200, "application/octet-stream");
    let stream = body.write().expect("a body's stream is taken once");
    let trailers = streams::read(request, |chunk| streams::write(&stream, chunk));
    drop(stream);
    // Without an end the client sees that the echo is not whole.
    if let Ok(trailers) = trailers {
        streams::finish(body, trailers.map(|trailers| trailers.clone()));
    }
}

pub fn upload(call: &Call, request: &IncomingRequest, outparam: ResponseOutparam) {
    let mut count = 0;
    let read = streams::read(request, |chunk| {
        count += chunk.len();
        Ok(())
    });
    if read.is_err() {
        return answer::text(outparam, 400, "the body broke off\n");
    }
    let set = store::open("upload")
        .and_then(|bucket| bucket.set(call.text("key"), count.to_string().as_bytes()));
    answer::json(outparam, set.map(|()| json!(count)));
}

pub fn sse(call: &Call, outparam: ResponseOutparam) {
    let pause = Duration::from_millis(call.number("ms", 0));
    let body = answer::head(outparam, 200, "text/event-stream");
    let stream = body.write().expect("a body's stream is taken once");
    for event in 0..call.number("n", 0u64) {
        if event > 0 {
            std::thread::sleep(pause);
        }
        if streams::write(&stream, format!("data: {event}\n\n").as_bytes()).is_err() {
            return;
        }
    }
    drop(stream);
    streams::finish(body, None);
}

pub fn trailers(outparam: ResponseOutparam) {
    let content = b"a body with a trailer\n";
    let sum: u64 = content.iter().map(|byte| u64::from(*byte)).sum();
    let body = answer::head(outparam, 200, "text/plain");
    let stream = body.write().expect("a body's stream is taken once");
    if streams::write(&stream, content).is_err() {
        return;
    }
    drop(stream);
    let trailers = Fields::new();
    trailers.append("x-sum", sum.to_string().as_bytes()).expect("a number is a valid field value");
    streams::finish(body, Some(trailers));
}

pub fn big(call: &Call, outparam: ResponseOutparam) {
    let chunk = [b'x'; 64 * 1024];
    let mut left = call.number("bytes", 0u64);
    let body = answer::head(outparam, 200, "application/octet-stream");
    let stream = body.write().expect("a body's stream is taken once");
    while left > 0 {
        let length = chunk.len().min(usize::try_from(left).unwrap_or(chunk.len()));
        if streams::write(&stream, &chunk[..length]).is_err() {
            return;
        }
        left -= length as u64;
    }
    drop(stream);
    streams::finish(body, None);
}

pub fn sized(call: &Call, outparam: ResponseOutparam) {
    let headers = Fields::new();
    headers.append("content-length", call.text("length").as_bytes()).expect("a length");
    let response = OutgoingResponse::new(headers);
    response.set_status_code(call.number("code", 200)).expect("tests ask for valid status codes");
    let body = response.body().expect("a body is taken once");
    ResponseOutparam::set(outparam, Ok(response));
    let stream = body.write().expect("a body's stream is taken once");
    let written = streams::write(&stream, &vec![b'x'; call.number("bytes", 0)]);
    std::thread::sleep(Duration::from_millis(call.number("ms", 0)));
    drop(stream);
    if call.text("end") == "none" {
        std::mem::forget(body);
        return;
    }
    let ended = OutgoingBody::finish(body, None);
    eprintln!("sized: {}, {ended:?}", if written.is_ok() { "written" } else { "gone" });
}

fn method(method: Method) -> String {
    match method {
        Method::Other(name) => name,
        // `Method::Get` and its like.
        known => format!("{known:?}").rsplit("::").next().unwrap_or_default().to_uppercase(),
    }
}

fn scheme(scheme: Scheme) -> String {
    match scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
        Scheme::Other(name) => name,
    }
}
