//! From a validated answer to a response: what is there of its body, and the
//! rest, which a task of its own drives.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::task::unconstrained;
use wasmtime_wasi_http::{Error, WasiBody};

use super::afterwards::{Afterwards, End, Hold, Sending};
use super::bounds::Bounds;
use super::failure::Failure;
use super::guest_body::GuestBody;
use super::response::{ResponseBody, Truncated};
use crate::manifest::Limits;
use crate::runtime::{AnswerBody, Ended, OverBudget, Running, announced};

impl AnswerBody {
    /// The same where it is whole and has no more bytes than may be sent; else one that is
    /// cut off there, as one that is coming would be.
    pub(super) fn within(self, limit: u64) -> Self {
        match self {
            Self::Whole(frames) if length(&frames) > limit => Self::Coming(coming(frames)),
            body => body,
        }
    }

    fn into_coming(self) -> WasiBody {
        match self {
            Self::Coming(body) => body,
            Self::Whole(frames) => coming(frames),
        }
    }
}

fn coming(frames: VecDeque<Frame<Bytes>>) -> WasiBody {
    ResponseBody::finished(frames).map_err(|Truncated| Error::ConnectionTerminated).boxed_unsync()
}

fn length(frames: &VecDeque<Frame<Bytes>>) -> u64 {
    frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum()
}

/// Why an answer's body could not be had as a whole.
pub(super) enum Unreadable {
    TooLarge,
    /// The guest stopped before its end.
    Broken,
    OverBudget,
}

impl Unreadable {
    pub(super) fn failure(self, limits: &Limits) -> Failure {
        match self {
            Self::TooLarge => Failure::AnswerTooLarge(limits.response_buffer),
            Self::Broken => Failure::AnswerBroken,
            Self::OverBudget => Failure::OutOfCpu(limits.cpu),
        }
    }
}

/// The response with as much of its body as the guest has made; what is left of the
/// invocation goes on in a task of its own.
pub(super) async fn respond(
    hold: Hold,
    running: Running,
    ended: Option<Ended>,
    (response, has_content): (Response<AnswerBody>, bool),
    bounds: &Bounds<'_>,
) -> Response<ResponseBody> {
    let failed = response.status().is_server_error();
    let (parts, body) = response.into_parts();
    let body = match body {
        AnswerBody::Coming(body) => {
            let answer = (body, has_content, announced(&parts.headers, has_content));
            stream(hold, failed, running, ended, answer, bounds).await
        }
        AnswerBody::Whole(frames) => {
            Afterwards::new(hold, Sending::Whole, failed).go_on(running, ended, bounds.deadline());
            ResponseBody::finished(frames)
        }
    };
    Response::from_parts(parts, body)
}

async fn stream(
    hold: Hold,
    failed: bool,
    mut running: Running,
    mut ended: Option<Ended>,
    (body, has_content, announced): (WasiBody, bool, Option<u64>),
    bounds: &Bounds<'_>,
) -> ResponseBody {
    let limits = bounds.limits();
    let body = GuestBody::new(body, running.body_sent(), running.pool(), limits.response_body);
    let mut body = body.announced(announced);
    let mut frames = VecDeque::new();
    let whole = collect(&mut running, &mut ended, &mut body, &mut frames, limits).await;
    // Whatever its guest comes to after that.
    if whole {
        Afterwards::new(hold, Sending::Whole, failed).go_on(running, ended, bounds.deadline());
        return ResponseBody::finished(frames);
    }
    // What nobody is sent is not cut off.
    let is_enough = body.is_open() && body.is_complete() || !has_content && !body.is_cut_off();
    if is_enough && ended.as_ref().is_some_and(|ended| ended.result.is_ok()) {
        // It returned, so no more comes: that is its end, as elsewhere.
        Afterwards::new(hold, Sending::Whole, failed).end(End::LeftOpen, running.exchange().body());
        return ResponseBody::finished(frames);
    }
    if !has_content && ended.is_none() {
        // The answer is over with its head. Its guest is told by its next write.
        drop(body);
        let (unwanted, taking) = ResponseBody::unwanted();
        let afterwards = Afterwards::new(hold, Sending::Unwanted(taking), failed);
        afterwards.go_on(running, None, bounds.deadline());
        return unwanted;
    }
    let is_cut_off = body.is_cut_off();
    let (streaming, link) = ResponseBody::streaming(frames, body, has_content);
    let afterwards = Afterwards::new(hold, Sending::Coming(link), failed);
    match ended {
        Some(Ended { result: Ok(()), .. }) if is_cut_off => {
            afterwards.end(End::CutOff, running.exchange().body())
        }
        Some(Ended { result: Ok(()), .. }) => {
            afterwards.end(End::Broken, running.exchange().body())
        }
        ended => afterwards.go_on(running, ended, bounds.deadline()),
    }
    streaming
}

/// Runs the guest until its answer's body is there, of at most `limit` bytes.
pub(super) async fn read_whole(
    running: &mut Running,
    ended: &mut Option<Ended>,
    body: AnswerBody,
    limit: u64,
    announced: Option<u64>,
) -> Result<VecDeque<Frame<Bytes>>, Unreadable> {
    // It has the narrower limit here.
    let body = GuestBody::new(body.into_coming(), running.body_sent(), running.pool(), u64::MAX);
    let mut body = body.announced(announced);
    let mut frames = VecDeque::new();
    let mut bytes = 0;
    // Unconstrained, as below.
    unconstrained(poll_fn(|context| {
        loop {
            match body.poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                    if bytes > limit {
                        return Poll::Ready(Err(Unreadable::TooLarge));
                    }
                    frames.push_back(frame);
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Unreadable::Broken)),
                Poll::Ready(None) => return Poll::Ready(Ok(std::mem::take(&mut frames))),
                // The guest is gone: what it made is all, unless it failed.
                Poll::Pending if ended.is_some() => {
                    let made = std::mem::take(&mut frames);
                    let is_whole = body.is_complete()
                        && ended.as_ref().is_some_and(|ended| ended.result.is_ok());
                    return Poll::Ready(if is_whole { Ok(made) } else { Err(Unreadable::Broken) });
                }
                Poll::Pending => match running.poll(context) {
                    Poll::Ready(Ok(end)) => *ended = Some(end),
                    Poll::Ready(Err(OverBudget)) => {
                        return Poll::Ready(Err(Unreadable::OverBudget));
                    }
                    // What it made of its body until now has woken this task.
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }))
    .await
}

/// Takes what the guest makes of its body without waiting. Returns whether that
/// was all of it.
async fn collect(
    running: &mut Running,
    ended: &mut Option<Ended>,
    body: &mut GuestBody,
    frames: &mut VecDeque<Frame<Bytes>>,
    limits: &Limits,
) -> bool {
    let mut whole = false;
    let mut bytes = 0;
    // Unconstrained: a channel says that it has nothing when its task has had its turn
    // (tokio's cooperative budget), and what a guest that ended left in one would be
    // taken for an answer that was never finished.
    unconstrained(poll_fn(|context| {
        loop {
            let mut progress = false;
            // What is left of a guest that ended is in memory already, whatever its size.
            while !whole && (bytes <= limits.response_buffer || ended.is_some()) {
                match body.poll_frame(context) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(frame))) => {
                        bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                        frames.push_back(frame);
                    }
                    // An error is met again by whoever reads on.
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(()),
                    Poll::Ready(None) => whole = true,
                }
                progress = true;
            }
            if ended.is_none()
                && let Poll::Ready(Ok(end)) = running.poll(context)
            {
                *ended = Some(end);
                progress = true;
            }
            let enough = if ended.is_some() { whole } else { bytes > limits.response_buffer };
            if enough || !progress {
                return Poll::Ready(());
            }
        }
    }))
    .await;
    whole
}
