//! A response's body on its way from a guest to the client.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime_wasi_http::WasiBody;

use super::pool::Pool;
use crate::service::Taking;

/// A response's body: finished and whole, or still coming from a guest.
///
/// Dropping one that is still coming ends the guest's invocation: that is how a
/// client's disconnect reaches it.
#[derive(Default)]
pub struct ResponseBody {
    ready: VecDeque<Frame<Bytes>>,
    rest: Option<Rest>,
}

/// The guest stopped before its body's end; the connection is cut, so that the
/// client doesn't take what it has for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the service stopped before the end of its answer")]
pub struct Truncated;

struct Rest {
    body: GuestBody,
    aborted: Arc<AtomicBool>,
    gone: Option<DropGuard>,
    taking: Arc<Taking>,
}

/// A guest's body that ends at its limit, and says when it was read to its end
/// or dropped.
pub(super) struct GuestBody {
    /// `None` once it was cut off.
    body: Option<WasiBody>,
    sent: CancellationToken,
    /// Where its guest is from.
    pool: Pool,
    /// `[limits] response-body`.
    limit: u64,
    bytes: u64,
}

/// There is no more of the body than this, though it has not ended.
pub(super) struct CutOff;

impl ResponseBody {
    /// A body that is here as a whole.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        Self { ready: VecDeque::from([Frame::data(bytes)]), rest: None }
    }

    pub(super) fn finished(frames: VecDeque<Frame<Bytes>>) -> Self {
        Self { ready: frames, rest: None }
    }

    /// `ready` is here; the rest comes from `body` until `aborted` is set or it
    /// ends. `gone` is cancelled when the client leaves before.
    pub(super) fn streaming(
        ready: VecDeque<Frame<Bytes>>,
        body: GuestBody,
        aborted: Arc<AtomicBool>,
        gone: &CancellationToken,
    ) -> Self {
        let taking = Arc::new(Taking::new(gone.clone()));
        let gone = Some(gone.clone().drop_guard());
        Self { ready, rest: Some(Rest { body, aborted, gone, taking }) }
    }

    /// Whether its client takes it, where it is still coming.
    #[must_use]
    pub fn taking(&self) -> Option<&Arc<Taking>> {
        self.rest.as_ref().map(|rest| &rest.taking)
    }

    /// For `HEAD`: the same body length, nothing to send, and the guest still
    /// runs to its end.
    #[must_use]
    pub fn discarded(self) -> Self {
        if self.rest.is_some() {
            // Read by nobody, but read: a guest that writes must not stall.
            tokio::spawn(async move {
                let mut body = self;
                while let Some(Ok(_)) = body.frame().await {}
            });
            return Self::default();
        }
        self
    }

    /// How many bytes it has, where that is known.
    #[must_use]
    pub fn exact_len(&self) -> Option<u64> {
        self.size_hint().exact()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Truncated;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        if let Some(frame) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let polled = rest.body.poll_frame(context);
        rest.taking.asked(polled.is_ready());
        let polled = match std::task::ready!(polled) {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
            Some(Err(_)) => Some(Err(Truncated)),
            // The driver sets the flag before it drops the guest's store, so an
            // end that comes from the drop is seen as what it is.
            None if rest.aborted.load(Ordering::Acquire) => Some(Err(Truncated)),
            None => None,
        };
        if let Some(gone) = rest.gone.take()
            && polled.is_none()
        {
            // The guest may still have work to do after its answer.
            gone.disarm();
        }
        self.rest = None;
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_some() || self.ready.iter().any(Frame::is_trailers) {
            return SizeHint::default();
        }
        let lengths = self.ready.iter().filter_map(Frame::data_ref).map(Bytes::len);
        SizeHint::with_exact(lengths.sum::<usize>() as u64)
    }
}

impl GuestBody {
    pub(super) fn new(body: WasiBody, sent: CancellationToken, pool: &Pool, limit: u64) -> Self {
        Self { body: Some(body), sent, pool: pool.clone(), limit, bytes: 0 }
    }

    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Some(Err(CutOff))) };
        match std::task::ready!(Pin::new(body).poll_frame(context)) {
            Some(Ok(frame)) => {
                self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                if self.bytes > self.limit {
                    return Poll::Ready(Some(Err(self.cut_off())));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_)) => {
                self.sent.cancel();
                Poll::Ready(Some(Err(CutOff)))
            }
            None => {
                self.sent.cancel();
                Poll::Ready(None)
            }
        }
    }

    /// Whether it reached its limit.
    pub(super) fn is_cut_off(&self) -> bool {
        self.body.is_none()
    }

    /// Ends it; the guest's next write fails.
    fn cut_off(&mut self) -> CutOff {
        self.body = None;
        self.sent.cancel();
        self.pool.limits_reached().note("response-body");
        let version = self.pool.version();
        tracing::warn!(
            service = %version.service,
            version = version.number,
            "the answer's body is larger than {} bytes ([limits] response-body); it was cut off",
            self.limit
        );
        CutOff
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        self.sent.cancel();
    }
}
