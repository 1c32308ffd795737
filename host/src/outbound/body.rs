//! Bodies on their way: the guest's to the network and the network's to the guest.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use wasmtime_wasi_http::{Error, WasiBody};

use super::failure;
use super::grant::InFlight;

/// A request's body; tells when it was sent or given up.
pub(super) struct RequestBody {
    body: WasiBody,
    _sent: DropGuard,
}

/// An answer's body. The task of its request takes it away when the invocation
/// is over, even if the guest's instance still holds on to it.
pub(super) struct ResponseBody {
    incoming: Taken,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    between_bytes: Option<Duration>,
    /// Since when the guest waits for the next frame.
    pause: Option<Pin<Box<Sleep>>>,
    ended: bool,
    _done: DropGuard,
}

/// A body that may be gone, and its request's place among those under way, which
/// is free again as soon as the body is gone.
pub(super) type Taken = Arc<Mutex<Option<(Incoming, InFlight)>>>;

impl RequestBody {
    pub(super) fn new(body: WasiBody, sent: CancellationToken) -> Self {
        Self { body, _sent: sent.drop_guard() }
    }
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Taken,
        over: CancellationToken,
        done: CancellationToken,
        between_bytes: Option<Duration>,
    ) -> Self {
        Self {
            incoming,
            over: Box::pin(over.cancelled_owned()),
            between_bytes,
            pause: None,
            ended: false,
            _done: done.drop_guard(),
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Incoming) -> T) -> Option<T> {
        let taken = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        taken.as_ref().map(|(incoming, _)| read(incoming))
    }
}

/// Takes a body away, and its connection with it if it wasn't read to its end.
pub(super) fn take(taken: &Taken) {
    let rest = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(rest);
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        take(&self.incoming);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        // Polled first: whoever waits for a frame has to learn of the end.
        if this.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
        }
        let polled = match &mut *this.incoming.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((incoming, _)) => Pin::new(incoming).poll_frame(context),
            None if this.ended => return Poll::Ready(None),
            None => return Poll::Ready(Some(Err(Error::HttpResponseTimeout))),
        };
        if let Poll::Ready(frame) = polled {
            this.pause = None;
            if frame.is_none() {
                this.ended = true;
                take(&this.incoming);
            }
            let frame = frame.map(|frame| frame.map_err(|error| failure::of_body(&error)));
            return Poll::Ready(frame);
        }
        let Some(limit) = this.between_bytes else { return Poll::Pending };
        let pause = this.pause.get_or_insert_with(|| Box::pin(sleep(limit)));
        pause.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.read(Incoming::is_end_stream).unwrap_or_default()
    }

    fn size_hint(&self) -> SizeHint {
        let left = if self.ended { SizeHint::with_exact(0) } else { SizeHint::default() };
        self.read(Incoming::size_hint).unwrap_or(left)
    }
}
