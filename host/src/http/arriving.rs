//! A request's body as it comes, and what may come after it on its connection.
//!
//! Of HTTP/1.1's bodies a chunked one ends with a trailer section, and that where its empty
//! line is. Who forwards requests may take a lone LF for the end of a line (RFC 9112 §2.2);
//! hyper does so in a head, but in a trailer section it goes on to the next CRLF, and drops
//! what it reads there: a whole request, in whose body a client may then hide another one.
//! So nothing that comes after a trailer section is taken for a request: the connection ends
//! with the answer, and where that was under way already, before the next one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::forwarded;
use super::request::remove_lookalikes;
use crate::listen::trim;

/// How long the next request waits for who reads the last one's body to see its end, which has
/// come.
const ITS_END: Duration = Duration::from_secs(5);

/// How a message is framed and routed, who it is from (besides what [`forwarded`] knows), and how
/// it is to be read.
const HEADS_FIELDS: [&str; 20] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "hotdock-caller",
    "idempotency-key",
    "keep-alive",
    "max-forwards",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
];

/// A body, and who wants to know of its end.
#[derive(Debug)]
pub(super) struct Arriving {
    body: Incoming,
    end: Option<Arc<End>>,
}

/// How a body ended.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Whether its reader has seen it, or reads no more.
    is_over: AtomicBool,
    /// Whether that was all of it.
    is_whole: AtomicBool,
    /// Whether it had a trailer section.
    has_trailers: AtomicBool,
    over: Notify,
}

impl Arriving {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, end: None }
    }

    /// Has it tell of its end.
    pub(super) fn tell(&mut self) -> Arc<End> {
        let end = self.end.get_or_insert_default();
        if self.body.is_end_stream() {
            end.is_whole.store(true, Ordering::Relaxed);
            end.is_over();
        }
        Arc::clone(end)
    }
}

impl End {
    /// Whether all of the body was read.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Relaxed)
    }

    /// Whether it had a trailer section, as far as it was read.
    pub(super) fn has_trailers(&self) -> bool {
        self.has_trailers.load(Ordering::Relaxed)
    }

    /// Whether what comes after it is a request as its client meant it. The body has come to
    /// its end, but its reader may not have seen it.
    pub(super) async fn lets_follow(&self) -> bool {
        let over = self.over.notified();
        if !self.is_over.load(Ordering::Acquire) && timeout(ITS_END, over).await.is_err() {
            return false;
        }
        self.is_whole() && !self.has_trailers()
    }

    fn is_over(&self) {
        self.is_over.store(true, Ordering::Release);
        self.over.notify_waiters();
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(end) = &self.end {
            end.is_over();
        }
    }
}

/// Trailers without what only a head may say (RFC 9110 §6.5.1): the host has looked at that, or
/// said it itself, when the guest has it already.
pub(super) fn without_heads_fields(frame: Frame<Bytes>) -> Frame<Bytes> {
    let mut trailers = match frame.into_trailers() {
        Ok(trailers) => trailers,
        Err(frame) => return frame,
    };
    for name in HEADS_FIELDS {
        trailers.remove(name);
    }
    forwarded::forget(&mut trailers);
    remove_lookalikes(&mut trailers);
    trim(&mut trailers);
    Frame::trailers(trailers)
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        let polled = polled.map(|frame| frame.map(without_heads_fields));
        let Some(end) = &self.end else { return Poll::Ready(polled) };
        if let Some(Ok(frame)) = &polled
            && frame.is_trailers()
        {
            end.has_trailers.store(true, Ordering::Relaxed);
        }
        if polled.is_none() || self.body.is_end_stream() {
            end.is_whole.store(true, Ordering::Relaxed);
            end.is_over();
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
