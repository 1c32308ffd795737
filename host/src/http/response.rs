//! The form that HTTP wants an answer to have.

use http::header::{ALLOW, CONTENT_LENGTH, TRAILER};
use http::{HeaderValue, Response, StatusCode};

use super::request;
use crate::runtime::ResponseBody;

/// What a host takes at all (RFC 9110 §9.3.7); a service may take less.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Makes a guest's response the host's: without what is the connection's, and with the names of
/// the trailers that are here. HTTP/1.1 sends no others.
pub(super) fn make_hosts(response: &mut Response<ResponseBody>) {
    request::remove_hop_by_hop(response.headers_mut());
    if let Some(names) = response.body().trailer_names() {
        response.headers_mut().entry(TRAILER).or_insert(names);
    }
}

/// Makes it as it may be sent. An answer to `HEAD` has the head that `GET` would have, and
/// nothing after it (RFC 9110 §9.3.2); 204, 205 and 304 never have content (§15.3.5, §15.3.6,
/// §15.4.5).
pub(super) fn make_sendable(response: &mut Response<ResponseBody>, is_head: bool) {
    let has_none = matches!(
        response.status(),
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    if !has_none && !is_head {
        return;
    }
    let length = response.body().exact_len();
    let headers = response.headers_mut();
    if has_none {
        headers.remove(CONTENT_LENGTH);
    } else if let Some(length) = length {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    headers.remove(TRAILER);
    let body = std::mem::take(response.body_mut());
    *response.body_mut() = body.discarded();
}

/// 204: what may be asked of the host.
pub(super) fn options() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, METHODS);
    response
}
