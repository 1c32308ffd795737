//! From a validated answer to a response: what is there of its body, and the
//! rest, which a task of its own drives.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::task::unconstrained;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, WasiBody};

use super::afterwards::{Hold, drive, settle};
use super::failure::Failure;
use super::invocation::Validated;
use super::response::{GuestBody, ResponseBody, Truncated};
use super::run::{Ended, OverBudget, Running};
use crate::manifest::Limits;
use crate::state::Committed;

/// An answer's body, on its way from the guest or as a whole.
pub(super) enum AnswerBody {
    Coming(WasiBody),
    Whole(VecDeque<Frame<Bytes>>),
}

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

/// The response with as much of its body as the guest has made, and the rest
/// driven by a task of its own, if there is a rest.
pub(super) async fn respond(
    hold: Hold,
    validated: Validated,
    limits: &Limits,
    deadline: Instant,
) -> (Response<ResponseBody>, Committed) {
    let Validated { running, ended, response, committed } = validated;
    let (parts, body) = response.into_parts();
    let body = match body {
        AnswerBody::Coming(body) => stream(hold, running, ended, body, limits, deadline).await,
        AnswerBody::Whole(frames) => {
            match ended {
                Some(ended) => _ = settle(ended, &hold),
                None => {
                    // The client need not stay for what the guest does after it.
                    let (aborted, gone) = (Arc::default(), CancellationToken::new());
                    tokio::spawn(drive(hold, running, aborted, gone, deadline));
                }
            }
            ResponseBody::finished(frames)
        }
    };
    (Response::from_parts(parts, body), committed)
}

async fn stream(
    hold: Hold,
    mut running: Running,
    mut ended: Option<Ended>,
    body: WasiBody,
    limits: &Limits,
    deadline: Instant,
) -> ResponseBody {
    let mut body = GuestBody::new(body, running.body_sent(), running.pool(), limits.response_body);
    let mut frames = VecDeque::new();
    let whole = collect(&mut running, &mut ended, &mut body, &mut frames, limits).await;
    match ended {
        Some(mut ended) => {
            if !whole {
                // Its handle on the body would keep the client waiting.
                ended.instance = None;
                if ended.result.is_ok() && !body.is_cut_off() {
                    log_left_open(&hold);
                }
            }
            let trapped = settle(ended, &hold);
            if whole && !trapped {
                ResponseBody::finished(frames)
            } else {
                // The guest is gone and will not finish what it began.
                let aborted = Arc::new(AtomicBool::new(true));
                ResponseBody::streaming(frames, body, aborted, &CancellationToken::new())
            }
        }
        None => {
            let aborted = Arc::new(AtomicBool::new(false));
            let gone = CancellationToken::new();
            let streaming = ResponseBody::streaming(frames, body, Arc::clone(&aborted), &gone);
            tokio::spawn(drive(hold, running, aborted, gone, deadline));
            streaming
        }
    }
}

/// Runs the guest until its answer's body is there, of at most `limit` bytes.
pub(super) async fn read_whole(
    running: &mut Running,
    ended: &mut Option<Ended>,
    body: AnswerBody,
    limit: u64,
) -> Result<VecDeque<Frame<Bytes>>, Unreadable> {
    // It has the narrower limit here.
    let mut body =
        GuestBody::new(body.into_coming(), running.body_sent(), running.pool(), u64::MAX);
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
                // The guest is gone and will not finish what it began.
                Poll::Pending if ended.is_some() => {
                    return Poll::Ready(Err(Unreadable::Broken));
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

fn log_left_open(hold: &Hold) {
    let version = hold.lease.version();
    tracing::warn!(
        service = %version.id.service,
        version = version.id.number,
        "the service returned before the end of its answer's body; it was cut off"
    );
}
