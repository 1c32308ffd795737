//! Requests that come whole (`hotdock:http/handler`).

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};

use crate::whole_requests::exports::hotdock::http::handler;

pub(super) use handler::Request;

/// What a header line has besides name and value, in bytes.
const PUNCTUATION: usize = 4;

pub(super) fn method(method: handler::Method) -> Method {
    match method {
        handler::Method::Get => Method::GET,
        handler::Method::Head => Method::HEAD,
        handler::Method::Post => Method::POST,
        handler::Method::Put => Method::PUT,
        handler::Method::Delete => Method::DELETE,
        handler::Method::Connect => Method::CONNECT,
        handler::Method::Options => Method::OPTIONS,
        handler::Method::Trace => Method::TRACE,
        handler::Method::Patch => Method::PATCH,
        handler::Method::Other(other) => {
            Method::from_bytes(other.as_bytes()).expect("the host has read it as a method")
        }
    }
}

/// The fields of these lines. The host has read each as a field, so what is none is not there.
pub(super) fn headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = line[colon + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}

pub(super) fn response(response: Response<Vec<u8>>) -> handler::Response {
    let (head, body) = response.into_parts();
    let length = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let mut headers = Vec::with_capacity(length.map(|length| length + PUNCTUATION).sum());
    for (name, value) in &head.headers {
        headers.extend_from_slice(name.as_str().as_bytes());
        headers.extend_from_slice(b": ");
        headers.extend_from_slice(value.as_bytes());
        headers.extend_from_slice(b"\r\n");
    }
    handler::Response { status: head.status.as_u16(), headers, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lines_are_read_as_they_are_written() {
        let given = Response::builder()
            .status(404)
            .header("set-cookie", "a=b; c")
            .header("set-cookie", "d: e")
            .header("x-empty", "")
            .header("x-opaque", b"\xff\t\xfe".as_slice())
            .body(b"body".to_vec());
        let given = given.expect("a response");
        let fields = given.headers().clone();
        let written = response(given);
        assert_eq!((written.status, written.body.as_slice()), (404, b"body".as_slice()));
        assert_eq!(headers(&written.headers), fields);
        assert!(headers(b"").is_empty());
    }
}
