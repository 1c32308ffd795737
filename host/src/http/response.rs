//! The form that HTTP wants an answer to have.

use http::header::{ALLOW, CONTENT_LENGTH, TRAILER};
use http::{HeaderValue, Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;

use super::request;
use crate::invocation::ResponseBody;
use crate::listen::trim;
use crate::runtime::{content_length, has_content};

/// What a host takes at all (RFC 9110 §9.3.7); a service may take less.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Makes a guest's response the host's: without what is the connection's, and with the names of
/// the trailers that are here. HTTP/1.1 sends no others.
pub(super) fn make_hosts(response: &mut Response<ResponseBody>) {
    request::remove_hop_by_hop(response.headers_mut());
    trim(response.headers_mut());
    if response.status().canonical_reason().is_none() {
        // HTTP/1.1 needs none (RFC 9112 §4), and hyper would make one up.
        response.extensions_mut().insert(ReasonPhrase::from_static(b""));
    }
    if let Some(names) = response.body().trailer_names() {
        response.headers_mut().entry(TRAILER).or_insert(names);
    }
    // HTTP/1.1 has room for them only where it does not say how long the body is.
    if response.headers().contains_key(TRAILER) {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
}

/// Makes it as it may be sent. An answer to `HEAD` has the head that `GET` would have, and
/// nothing after it (RFC 9110 §9.3.2); 204, 205 and 304 never have content (§15.3.5, §15.3.6,
/// §15.4.5), but to `HEAD` and in a 304 there may be the length of what another answer has (§8.6).
pub(super) fn make_sendable(
    response: &mut Response<ResponseBody>,
    is_head: bool,
    version: Version,
) {
    if has_content(is_head, response.status()) {
        if let Some(length) = content_length(response.headers()) {
            response.body_mut().announce(length);
        }
        return;
    }
    let is_unmodified = response.status() == StatusCode::NOT_MODIFIED;
    let said = content_length(response.headers());
    let length = match has_content(false, response.status()) {
        true => said.or_else(|| response.body().exact_len()),
        false => said.filter(|_| is_unmodified),
    };
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from(length))));
    headers.remove(TRAILER);
    let body = std::mem::take(response.body_mut());
    *response.body_mut() = body.discarded();
    if length.is_some() && !is_head && version < Version::HTTP_2 {
        *response.body_mut() = ResponseBody::none_of_another_length();
    }
}

/// 204: what may be asked of the host.
pub(crate) fn options() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, METHODS);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_a_value_are_not_sent() {
        let mut response = Response::new(ResponseBody::default());
        for (name, value) in [("x-a", "  a b\t"), ("x-b", "b"), ("x-c", " "), ("x-d", "")] {
            response.headers_mut().append(name, HeaderValue::from_static(value));
        }
        make_hosts(&mut response);
        let sent: Vec<_> = response.headers().values().map(HeaderValue::as_bytes).collect();
        assert_eq!(sent, [&b"a b"[..], b"b", b"", b""]);
    }

    #[test]
    fn an_answer_with_trailers_does_not_say_how_long_it_is() {
        for (trailer, has_length) in [(None, true), (Some("x-sum"), false)] {
            let mut response = Response::new(ResponseBody::default());
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("4"));
            if let Some(name) = trailer {
                response.headers_mut().insert(TRAILER, HeaderValue::from_static(name));
            }
            make_hosts(&mut response);
            assert_eq!(response.headers().contains_key(CONTENT_LENGTH), has_length);
        }
    }
}
