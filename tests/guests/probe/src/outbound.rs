//! Outgoing requests.
//!
//! ```text
//! /send?url=&method=&headers=&body=   {"status": n, "headers": [[name, value], …], "body": text},
//!                                     or {"error": text}; headers are `name:value` and commas
//!      &connect_ms=&first_byte_ms=&between_ms=   the request's options
//!      &set=key                       sets the key first; `&commit=1` commits then
//!      &sql=1                         writes by SQL first
//!      &reserve=key                   sets the key to one more first, and commits
//!      &count=key                     gets the key first, and sets it to one more at the end
//!      &times=n                       sends it n times at once; a list of the above
//!      &leak=1                        keeps the answer unread for as long as the instance lives
//!      &after=1                       sends it after the answer's head, and after these writes
//! /relay?url=                         sends the request's body on as it comes, by the request's
//!                                     method, and answers as it is answered
//! ```

use crate::answer;
use crate::bindings::{sql, store, transaction};
use crate::call::Call;
use crate::keyvalue::{number, set_number};
use crate::races::compute_for;
use crate::streams::{self, Gone};
use serde_json::{Value, json};
use std::time::Duration;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingRequest, IncomingResponse,
    Method, OutgoingBody, OutgoingRequest, RequestOptions, ResponseOutparam, Scheme,
};

pub fn send(call: &Call, outparam: ResponseOutparam) {
    if call.get("after").is_some() {
        if let Some(key) = call.get("set") {
            let bucket = store::open("default").expect("a bucket");
            bucket.set(key, b"1").expect("a small value can be set");
        }
        if call.get("sql").is_some() {
            sql::execute("INSERT INTO probe (x) VALUES (1)", &[]).expect("a table of its own");
        }
        let body = answer::head(outparam, 200, "application/json");
        let stream = body.write().expect("a body's stream is taken once");
        let text = sent(call).to_string();
        if streams::write(&stream, text.as_bytes()).is_ok() {
            drop(stream);
            streams::finish(body, None);
        }
        return;
    }
    let run = || -> Result<Value, String> {
        if let Some(key) = call.get("set") {
            let bucket = store::open("default").map_err(text)?;
            bucket.set(key, b"1").map_err(text)?;
        }
        if call.get("sql").is_some() {
            sql::execute("INSERT INTO probe (x) VALUES (1)", &[]).map_err(text)?;
        }
        if let Some(key) = call.get("reserve") {
            let bucket = store::open("default").map_err(text)?;
            let count = number(&bucket, key).map_err(text)?;
            compute_for(Duration::from_millis(1));
            set_number(&bucket, key, count + 1).map_err(text)?;
            transaction::commit().map_err(text)?;
        }
        if call.get("commit").is_some() {
            transaction::commit().map_err(text)?;
        }
        let Some(key) = call.get("count") else { return Ok(sent(call)) };
        let bucket = store::open("default").map_err(text)?;
        let count = number(&bucket, key).map_err(text)?;
        let answered = sent(call);
        set_number(&bucket, key, count + 1).map_err(text)?;
        Ok(answered)
    };
    answer::json(outparam, run());
}

pub fn relay(call: &Call, request: &IncomingRequest, outparam: ResponseOutparam) {
    let (outgoing, body) = match build(call, &request.method()) {
        Ok(built) => built,
        Err(error) => return answer::json(outparam, Err(error)),
    };
    let pending = match outgoing_handler::handle(outgoing, None) {
        Ok(pending) => pending,
        Err(error) => return answer::json(outparam, Err(error)),
    };
    let stream = body.write().expect("a body's stream is taken once");
    let read = streams::read(request, |chunk| streams::write(&stream, chunk));
    drop(stream);
    if read.is_err() {
        return answer::text(outparam, 502, "the relay broke off\n");
    }
    streams::finish(body, None);
    let response = match wait(&pending) {
        Ok(response) => response,
        Err(error) => return answer::json(outparam, Err(error)),
    };
    let body = answer::head(outparam, response.status(), "application/octet-stream");
    let stream = body.write().expect("a body's stream is taken once");
    let read = read_answer(&response, |chunk| streams::write(&stream, chunk));
    drop(stream);
    if read.is_ok() {
        streams::finish(body, None);
    }
}

fn sent(call: &Call) -> Value {
    if call.get("leak").is_some() {
        return json_of(begin(call).and_then(|pending| {
            std::mem::forget(wait(&pending)?);
            Ok(json!({}))
        }));
    }
    let times = call.number("times", 1usize);
    let pending: Vec<_> = (0..times).map(|_| begin(call)).collect();
    let mut answers: Vec<Value> =
        pending.into_iter().map(|begun| json_of(begun.and_then(end))).collect();
    if call.get("times").is_some() { Value::Array(answers) } else { answers.remove(0) }
}

fn begin(call: &Call) -> Result<FutureIncomingResponse, ErrorCode> {
    let method = match call.text("method") {
        "" | "GET" => Method::Get,
        "POST" => Method::Post,
        "HEAD" => Method::Head,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.to_owned()),
    };
    let (request, body) = build(call, &method)?;
    let options = RequestOptions::new();
    let given = |name| call.get(name).map(|_| call.number(name, 0u64) * 1_000_000);
    let set = options.set_connect_timeout(given("connect_ms"));
    let set = set.and(options.set_first_byte_timeout(given("first_byte_ms")));
    set.and(options.set_between_bytes_timeout(given("between_ms"))).expect("all are known");
    let pending = outgoing_handler::handle(request, Some(options))?;
    let stream = body.write().expect("a body's stream is taken once");
    let written = streams::write(&stream, call.text("body").as_bytes());
    drop(stream);
    if written.is_ok() {
        streams::finish(body, None);
    }
    Ok(pending)
}

fn end(pending: FutureIncomingResponse) -> Result<Value, ErrorCode> {
    let response = wait(&pending)?;
    let headers: Vec<_> = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let mut body = Vec::new();
    let read = read_answer(&response, |chunk| {
        body.extend_from_slice(chunk);
        Ok(())
    });
    Ok(json!({
        "status": response.status(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
        "whole": read.is_ok(),
    }))
}

fn build(call: &Call, method: &Method) -> Result<(OutgoingRequest, OutgoingBody), ErrorCode> {
    let headers = Fields::new();
    for header in call.list("headers") {
        let (name, value) = header.split_once(':').unwrap_or((&header, ""));
        let added = headers.append(name, value.as_bytes());
        added.map_err(|error| ErrorCode::InternalError(Some(format!("{name}: {error:?}"))))?;
    }
    let url = call.text("url");
    let (scheme, rest) = match url.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest),
        Some((_, rest)) => (Scheme::Http, rest),
        None => (Scheme::Http, url),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(headers);
    request
        .set_scheme(Some(&scheme))
        .and_then(|()| request.set_method(method))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(if path.is_empty() { "/" } else { path })))
        .map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let body = request.body().expect("a body is taken once");
    Ok((request, body))
}

fn wait(pending: &FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(answer)) => answer,
        _ => Err(ErrorCode::InternalError(None)),
    }
}

fn read_answer(
    response: &IncomingResponse,
    each: impl FnMut(&[u8]) -> Result<(), Gone>,
) -> Result<(), Gone> {
    let body = response.consume().expect("a body is consumed once");
    let stream = body.stream().expect("a body's stream is taken once");
    streams::read_all(&stream, each)?;
    drop(stream);
    drop(IncomingBody::finish(body));
    Ok(())
}

fn json_of(result: Result<Value, ErrorCode>) -> Value {
    result.unwrap_or_else(|error| json!({ "error": format!("{error:?}") }))
}

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}
