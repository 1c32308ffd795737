//! A guest's answer as it is handed over: its body, and how long that is by its head.

use std::collections::VecDeque;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use wasmtime_wasi_http::WasiBody;

/// An answer's body, on its way from the guest or as a whole.
pub(crate) enum AnswerBody {
    Coming(WasiBody),
    Whole(VecDeque<Frame<Bytes>>),
}

/// Whether an answer with this status has more than a head. One to `HEAD` never has (RFC 9110
/// §9.3.2), nor have 204, 205 and 304 (§15.3.5, §15.3.6, §15.4.5).
#[must_use]
pub fn has_content(is_head: bool, status: StatusCode) -> bool {
    let has_none = matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    !is_head && !has_none
}

/// Whether a status is an answer's. An interim one (1xx) is none yet, and there are none from 600
/// on (RFC 9110 §15).
#[must_use]
pub fn is_answer(status: StatusCode) -> bool {
    (200..600).contains(&status.as_u16())
}

/// How many bytes an answer's body has to have.
pub(crate) fn announced(headers: &HeaderMap, has_content: bool) -> Option<u64> {
    if has_content { content_length(headers) } else { None }
}

/// The length that an answer's head says it has, once and in digits alone.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut said = headers.get_all(CONTENT_LENGTH).iter();
    let text = said.next()?.to_str().ok()?;
    let is_number = said.next().is_none() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}
