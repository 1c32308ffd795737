//! A guest's body, of which there is no more than its limit.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::sync::Notify;
use wasmtime_wasi_http::WasiBody;

use crate::listen::trim;
use crate::runtime::Pool;

/// A guest's body that ends at its limit, and says when it was read to its end
/// or dropped.
pub(super) struct GuestBody {
    /// `None` once it was cut off or failed.
    body: Option<WasiBody>,
    is_cut_off: bool,
    sent: Arc<Notify>,
    /// Where its guest is from.
    pool: Pool,
    /// `[limits] response-body`.
    limit: u64,
    /// How many bytes its head says it has. With fewer the client would take the beginning of
    /// the next answer for the rest of this one.
    announced: Option<u64>,
    bytes: u64,
}

/// There is no more of the body than this, though it has not ended.
pub(super) struct CutOff;

impl GuestBody {
    pub(super) fn new(body: WasiBody, sent: Arc<Notify>, pool: &Pool, limit: u64) -> Self {
        let pool = pool.clone();
        Self { body: Some(body), is_cut_off: false, sent, pool, limit, announced: None, bytes: 0 }
    }

    /// The same where its head says how long it is, if it does.
    pub(super) fn announced(mut self, length: Option<u64>) -> Self {
        self.announced = length;
        self
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
                let is_too_much = self.announced.is_some_and(|length| self.bytes > length);
                if is_too_much || frame.is_trailers() && !self.is_complete() {
                    return Poll::Ready(Some(Err(self.give_up())));
                }
                Poll::Ready(Some(Ok(as_sent(frame))))
            }
            Some(Err(_)) => Poll::Ready(Some(Err(self.give_up()))),
            None if !self.is_complete() => Poll::Ready(Some(Err(self.give_up()))),
            None => {
                self.sent.notify_one();
                Poll::Ready(None)
            }
        }
    }

    /// Whether it may still go on: neither cut off nor failed.
    pub(super) fn is_open(&self) -> bool {
        self.body.is_some()
    }

    /// Whether what came of it is as much as its head says.
    pub(super) fn is_complete(&self) -> bool {
        self.announced.is_none_or(|length| self.bytes == length)
    }

    /// It has no end: it would seem to have one next.
    fn give_up(&mut self) -> CutOff {
        self.body = None;
        self.sent.notify_one();
        CutOff
    }

    /// Whether it reached its limit.
    pub(super) fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// Ends it; the guest's next write fails.
    fn cut_off(&mut self) -> CutOff {
        self.body = None;
        self.is_cut_off = true;
        self.sent.notify_one();
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
        self.sent.notify_one();
    }
}

/// As all protocols have it: without blanks around the values of trailers.
fn as_sent(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            trim(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}
