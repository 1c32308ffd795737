//! A request with an idempotency key: run once, its answer kept with what it
//! wrote, and given again to whoever repeats it.
//!
//! The key's request is known by a digest, so its body is read whole first. The
//! answer is part of the transaction, so the transaction ends with the answer's
//! body and not with its head.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::Frame;

use super::failure::Failure;
use super::response::ResponseBody;
use crate::digest::Digest;
use crate::manifest::Limits;
use crate::runtime::{ReplayBody, field_lines, is_answer};
use crate::service::path;
use crate::state::{self, Claimant, KeptAnswer, KeyClaim, Store, Transaction};

/// Marks an answer that was kept, as no guest can.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replayed;

/// Says that an answer is the one that was given before.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A request that has claimed its key.
#[derive(Clone)]
pub(super) struct Keyed {
    pub(super) claim: KeyClaim,
    request: Digest,
    /// `[limits] response-buffer`: bytes of an answer's body.
    pub(super) answer_limit: u64,
}

/// What a key leads to.
pub(super) enum Claimed {
    /// The guest.
    First(Keyed),
    /// The answer that the first request got.
    Repeat(Response<ResponseBody>),
}

/// Reads the request's body, claims its key and looks for the key's answer.
pub(super) async fn claim(
    store: &Arc<Store>,
    (scope, claimant): (Digest, Claimant),
    head: &Parts,
    body: &ReplayBody,
    limits: &Limits,
) -> Result<Claimed, Failure> {
    let request = request_digest(head, body, limits).await?;
    let claim = store.claim_key(scope, claimant).ok_or(Failure::KeyInUse)?;
    let kept = store.begin().kept_answer(&claim).await?;
    let keyed = Keyed { claim, request, answer_limit: limits.response_buffer };
    match kept {
        Some(kept) => keyed.repeat(kept).map(Claimed::Repeat),
        None => Ok(Claimed::First(keyed)),
    }
}

/// What makes it the same request, besides what its key's scope says already.
async fn request_digest(
    head: &Parts,
    body: &ReplayBody,
    limits: &Limits,
) -> Result<Digest, Failure> {
    let buffered = body.buffer().await;
    if body.is_too_large() {
        return Err(Failure::BodyTooLarge(limits.request_body));
    }
    buffered.map_err(|too_large| Failure::KeyedBodyTooLarge(too_large.limit))?;
    if body.is_late() {
        return Err(Failure::BodyIdle);
    }
    let body = body.digest().ok_or(Failure::BodyBroken)?;
    let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let target = path::target(&head.uri);
    let parts = [head.method.as_str().as_bytes(), target.as_bytes(), content_type, body.as_bytes()];
    // Without a coding it is what hosts kept that knew of none.
    Ok(match head.headers.get(CONTENT_ENCODING) {
        Some(coding) => Digest::of_parts(&[&parts[..], &[coding.as_bytes()]].concat()),
        None => Digest::of_parts(&parts),
    })
}

impl Keyed {
    /// What the request goes by, however often it is repeated.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.claim.scope(), self.request)
    }

    /// The kept answer as a response, if this is the request that it answers.
    pub(super) fn repeat(&self, kept: KeptAnswer) -> Result<Response<ResponseBody>, Failure> {
        if kept.request != self.request {
            return Err(Failure::KeyReused);
        }
        response(kept).ok_or_else(|| Failure::Store("an answer that it kept is damaged".to_owned()))
    }

    /// Has the transaction keep the answer.
    pub(super) fn keep(
        &self,
        transaction: &mut Transaction,
        head: &http::response::Parts,
        frames: &VecDeque<Frame<Bytes>>,
    ) -> Result<(), Failure> {
        // No client would get it: nothing to keep.
        if !is_answer(head.status) {
            return Err(Failure::NoAnswer);
        }
        let answer = KeptAnswer {
            request: self.request,
            status: head.status.as_u16(),
            headers: field_lines::write(&head.headers).into(),
            body: body(frames),
            trailers: frames
                .iter()
                .find_map(Frame::trailers_ref)
                .map(|trailers| field_lines::write(trailers).into()),
        };
        transaction.keep_answer(self.claim.clone(), answer).map_err(|error| match error {
            state::Error::Limit(_) => Failure::AnswerTooLarge(self.answer_limit),
            error => error.into(),
        })
    }
}

/// All data as one, without a copy where it is in one piece.
fn body(frames: &VecDeque<Frame<Bytes>>) -> Bytes {
    let mut pieces: Vec<&Bytes> = frames.iter().filter_map(Frame::data_ref).collect();
    match pieces.len() {
        0 => Bytes::new(),
        1 => pieces.remove(0).clone(),
        _ => pieces.into_iter().flatten().copied().collect(),
    }
}

fn response(kept: KeptAnswer) -> Option<Response<ResponseBody>> {
    let mut frames = VecDeque::new();
    if !kept.body.is_empty() {
        frames.push_back(Frame::data(kept.body));
    }
    if let Some(trailers) = kept.trailers {
        frames.push_back(Frame::trailers(field_lines::read(&trailers)?));
    }
    let mut response = Response::new(ResponseBody::finished(frames));
    *response.status_mut() = StatusCode::from_u16(kept.status).ok()?;
    *response.headers_mut() = field_lines::read(&kept.headers)?;
    response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    response.extensions_mut().insert(Replayed);
    Some(response)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_body_in_pieces_is_kept_as_one() {
        let data = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
        let frames = VecDeque::from([data("a"), data("bc"), Frame::trailers(HeaderMap::new())]);
        assert_eq!(body(&frames), "abc");
        assert_eq!(body(&VecDeque::from([data("a")])), "a");
        assert_eq!(body(&VecDeque::new()), "");
    }
}
