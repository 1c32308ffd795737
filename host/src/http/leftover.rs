//! What becomes of a request's body that nobody read when its answer is there.
//!
//! On a connection of HTTP/1 the next request comes after it. So it is read to its end where
//! that is near; else the connection ends with the answer, which says so. HTTP/2 gives up the
//! stream alone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::drain;
use crate::runtime::{ReplayBody, ResponseBody};

/// How much is read for an answer that no service had a part in.
const EARLY_BYTES: u64 = 1 << 20;

/// A request's body, wherever it is.
pub(super) struct Leftover {
    body: Where,
    is_http_1: bool,
    expects_continue: bool,
}

enum Where {
    /// Nobody has asked for it.
    Here(Incoming),
    /// With who runs the request.
    There(ReplayBody),
    /// With who takes events of it.
    Events(Arc<AtomicBool>),
    /// On its way from here to there.
    Taken,
}

/// A body that says when it has come to its end.
pub(super) struct Followed {
    body: Incoming,
    ended: Arc<AtomicBool>,
}

impl Leftover {
    /// Of a request that begins so.
    pub(super) fn new(body: Incoming, head: &Parts, expects_continue: bool) -> Self {
        let is_http_1 = head.version < Version::HTTP_2;
        Self { body: Where::Here(body), is_http_1, expects_continue }
    }

    /// Takes it, to be read.
    pub(super) fn take(&mut self) -> Incoming {
        match std::mem::replace(&mut self.body, Where::Taken) {
            Where::Here(body) => body,
            Where::There(_) | Where::Events(_) | Where::Taken => unreachable!("it is taken once"),
        }
    }

    /// Takes it, to be read to its end or not.
    pub(super) fn follow(&mut self) -> Followed {
        let body = self.take();
        let ended = Arc::new(AtomicBool::new(body.is_end_stream()));
        self.body = Where::Events(Arc::clone(&ended));
        Followed { body, ended }
    }

    /// It is read from there.
    pub(super) fn is_with(&mut self, body: ReplayBody) {
        self.body = Where::There(body);
    }

    /// Reads it to its end, or has the answer say that the connection ends.
    pub(super) fn leave(self, response: &mut Response<ResponseBody>) {
        if !self.is_http_1 {
            return;
        }
        let closes = match self.body {
            Where::Here(body) if body.is_end_stream() => false,
            // The client waits for a word, and may send it or not.
            Where::Here(_) if self.expects_continue => true,
            Where::Here(body) => {
                let is_near = body.size_hint().exact().is_some_and(|left| left <= EARLY_BYTES);
                if is_near {
                    drain::later(body, EARLY_BYTES);
                }
                !is_near
            }
            Where::There(body) => body.is_given_up(),
            Where::Events(ended) => !ended.load(Ordering::Relaxed),
            Where::Taken => false,
        };
        if closes {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl Body for Followed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        if polled.is_none() || self.body.is_end_stream() {
            self.ended.store(true, Ordering::Relaxed);
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
