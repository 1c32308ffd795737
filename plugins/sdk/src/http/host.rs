//! The host's side of a request, `wasi:http` 0.2: in as few calls as it takes, since a call
//! costs more than what most of them bring.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri};
use wasip2::http::types as wasi;
use wasip2::io::streams::{OutputStream, StreamError};

/// How much of a body is asked for at once, in bytes.
const READ: u64 = 1 << 20;

/// What `blocking-write-and-flush` takes at once, in bytes (wasi:io 0.2).
const FLUSHED: usize = 4096;

/// Why a request's body broke off, as the host names it.
#[derive(Debug)]
pub(super) struct Broken(wasi::ErrorCode);

pub(super) fn method(method: wasi::Method) -> Method {
    match method {
        wasi::Method::Get => Method::GET,
        wasi::Method::Head => Method::HEAD,
        wasi::Method::Post => Method::POST,
        wasi::Method::Put => Method::PUT,
        wasi::Method::Delete => Method::DELETE,
        wasi::Method::Connect => Method::CONNECT,
        wasi::Method::Options => Method::OPTIONS,
        wasi::Method::Trace => Method::TRACE,
        wasi::Method::Patch => Method::PATCH,
        wasi::Method::Other(other) => {
            Method::from_bytes(other.as_bytes()).expect("the host has read it as a method")
        }
    }
}

/// A request without a path asks for `/`.
pub(super) fn target(path_with_query: String) -> Uri {
    if path_with_query.is_empty() {
        return Uri::default();
    }
    Uri::try_from(path_with_query).expect("the host has read it as a target")
}

pub(super) fn headers(request: &wasi::IncomingRequest) -> HeaderMap {
    let entries = request.headers().entries();
    let mut headers = HeaderMap::with_capacity(entries.len());
    for (name, value) in entries {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("the host has read it as a name");
        headers.append(name, HeaderValue::from_bytes(&value).expect("and this as a value"));
    }
    headers
}

/// Reads the body to its end, which may wait for the client.
pub(super) fn body(request: &wasi::IncomingRequest) -> Result<Vec<u8>, Broken> {
    let body = request.consume().expect("nobody else takes the body");
    let stream = body.stream().expect("nobody else takes its stream");
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ) {
            // Mostly it comes whole, and needs no second place.
            Ok(all) if bytes.is_empty() => bytes = all,
            Ok(more) => bytes.extend_from_slice(&more),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasi::http_error_code(&error);
                return Err(Broken(code.unwrap_or(wasi::ErrorCode::ConnectionTerminated)));
            }
        }
    }
}

/// Gives the invocation up.
pub(super) fn give_up(out: wasi::ResponseOutparam, Broken(code): Broken) {
    wasi::ResponseOutparam::set(out, Err(code));
}

/// Sends an answer. If nobody wants it any more, that is no error of the service's.
pub(super) fn send(out: wasi::ResponseOutparam, response: Response<Vec<u8>>) {
    let (head, bytes) = response.into_parts();
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    let headers = match wasi::Fields::from_list(&headers) {
        Ok(headers) => headers,
        Err(error) => {
            let reason = format!("a header of the answer is refused: {error}");
            wasi::ResponseOutparam::set(out, Err(wasi::ErrorCode::InternalError(Some(reason))));
            return;
        }
    };
    let answer = wasi::OutgoingResponse::new(headers);
    if head.status != http::StatusCode::OK {
        answer.set_status_code(head.status.as_u16()).expect("a status is one");
    }
    let body = answer.body().expect("nobody else takes the body");
    wasi::ResponseOutparam::set(out, Ok(answer));
    if !bytes.is_empty() {
        let stream = body.write().expect("nobody else takes its stream");
        if write(&stream, &bytes).is_err() {
            return;
        }
    }
    // A body that isn't finished is an answer cut short, so this comes last.
    _ = wasi::OutgoingBody::finish(body, None);
}

fn write(stream: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    if bytes.len() <= FLUSHED {
        return stream.blocking_write_and_flush(bytes);
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = rest.split_at(room.min(rest.len()));
        stream.write(now)?;
        rest = later;
    }
    Ok(())
}
