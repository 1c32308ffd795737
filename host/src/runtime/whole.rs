//! Requests to guests that take them whole (`hotdock:http/handler`).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::Frame;
use wasmtime::Store;

use super::account::Account;
use super::answer::{AnswerBody, has_content};
use super::exchange::{Exchange, Given};
use super::handlers::WholeService;
use super::handlers::whole_requests::{self, Request};
use super::instance::InstanceState;
use super::limits::MAX_FIELD_BYTES;
use super::{field_lines, trace};

/// A request's head as such a guest sees it.
pub(crate) struct Head {
    parts: Arc<Parts>,
    headers: Vec<u8>,
    /// The trace that it is part of.
    pub(super) trace: Option<String>,
}

impl Head {
    pub(super) fn of(head: &Arc<Parts>) -> Self {
        Self {
            parts: Arc::clone(head),
            headers: field_lines::write(&head.headers),
            trace: trace::of_request(&head.headers),
        }
    }
}

/// Calls the guest with a request that is all there.
pub(super) async fn call(
    store: &mut Store<InstanceState>,
    guest: &WholeService,
    head: &Head,
    body: &Bytes,
    exchange: &Exchange,
    account: &Account,
) -> wasmtime::Result<()> {
    let request = Request {
        method: method(&head.parts.method),
        target: head.parts.uri.path_and_query().map_or("/", |target| target.as_str()),
        headers: &head.headers,
        body,
    };
    let response = guest.hotdock_http_handler().call_handle(store, request).await?;
    account.check_leaving(response.body.len())?;
    account.subtract(response.headers.len());
    let is_head = head.parts.method == Method::HEAD;
    let answer = answer(response, is_head, |body| account.leave(body));
    exchange.answer(Given::Response(answer));
    Ok(())
}

fn method(method: &Method) -> whole_requests::Method<'_> {
    match *method {
        Method::GET => whole_requests::Method::Get,
        Method::HEAD => whole_requests::Method::Head,
        Method::POST => whole_requests::Method::Post,
        Method::PUT => whole_requests::Method::Put,
        Method::DELETE => whole_requests::Method::Delete,
        Method::CONNECT => whole_requests::Method::Connect,
        Method::OPTIONS => whole_requests::Method::Options,
        Method::TRACE => whole_requests::Method::Trace,
        Method::PATCH => whole_requests::Method::Patch,
        ref other => whole_requests::Method::Other(other.as_str()),
    }
}

/// What the guest returned as a response, or what is wrong with it.
fn answer(
    returned: whole_requests::Response,
    is_head: bool,
    leave: impl FnOnce(Bytes) -> Bytes,
) -> Result<Response<AnswerBody>, String> {
    let whole_requests::Response { status, headers, body } = returned;
    let status = StatusCode::from_u16(status)
        .map_err(|_| format!("its answer's status is {status}, which is none"))?;
    if headers.len() > MAX_FIELD_BYTES {
        return Err(format!("its answer's header fields are larger than {MAX_FIELD_BYTES} bytes"));
    }
    let mut fields = field_lines::read(&headers)
        .ok_or_else(|| "its answer has a line that is no header field".to_owned())?;
    // The body's own, whatever the guest says; where there is none it may be another answer's.
    if has_content(is_head, status) || !body.is_empty() {
        fields.remove(CONTENT_LENGTH);
    }
    let mut frames = VecDeque::new();
    if !body.is_empty() {
        frames.push_back(Frame::data(leave(Bytes::from(body))));
    }
    let mut response = Response::new(AnswerBody::Whole(frames));
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, headers: &[u8]) -> Result<Response<AnswerBody>, String> {
        let (headers, body) = (headers.to_vec(), b"body".to_vec());
        answer(whole_requests::Response { status, headers, body }, false, |body| body)
    }

    #[test]
    fn an_answer_is_what_was_returned() {
        let response = answered(404, b"x-a: 1\r\nX-A: 2\r\ncontent-length: 7\r\n").expect("good");
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers().get_all("x-a").iter().count(), 2);
        assert!(!response.headers().contains_key(CONTENT_LENGTH));
        assert!(matches!(response.body(), AnswerBody::Whole(frames) if frames.len() == 1));
    }

    #[test]
    fn an_answer_without_content_may_say_how_long_another_is() {
        let length = |status: u16, is_head: bool, body: &[u8]| {
            let (headers, body) = (b"content-length: 7\r\n".to_vec(), body.to_vec());
            let returned = whole_requests::Response { status, headers, body };
            let response = answer(returned, is_head, |body| body).expect("good");
            response.headers().get(CONTENT_LENGTH).is_some_and(|length| length == "7")
        };
        assert!(length(200, true, b"") && length(304, false, b""));
        assert!(!length(200, true, b"body"), "that is how long it is");
        assert!(!length(200, false, b""));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let large = format!("x: {}\r\n", "y".repeat(MAX_FIELD_BYTES));
        for (status, headers) in [
            (0, &b""[..]),
            (99, b""),
            (1000, b""),
            (200, b"x"),
            (200, b"x: a\nb\r\n"),
            (200, b"a b: c\r\n"),
            (200, large.as_bytes()),
        ] {
            assert!(answered(status, headers).is_err(), "{status} {headers:?}");
        }
    }
}
