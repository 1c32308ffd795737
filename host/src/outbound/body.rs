//! Bodies on their way: the guest's to the network and the network's to the guest.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use wasmtime_wasi_http::{Error, WasiBody};

use super::grant::InFlight;

/// A request's body; tells when it was sent or given up.
pub(super) struct RequestBody {
    body: WasiBody,
    /// Whether it ends well where it ends before it has begun.
    may_be_dropped: bool,
    _sent: DropGuard,
}

/// An answer's body. The task of its request takes it away when the invocation
/// is over, even if the guest's instance still holds on to it.
pub(super) struct ResponseBody<B: Body> {
    incoming: Taken<B>,
    /// What the guest is told of an error in it.
    named: fn(&B::Error) -> Error,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    between_bytes: Option<Duration>,
    /// Since when the guest waits for the next frame.
    pause: Option<Pin<Box<Sleep>>>,
    ended: bool,
    _done: DropGuard,
}

/// A body that may be gone, and its request's place among those under way, which
/// is free again as soon as the body is gone.
pub(super) type Taken<B> = Arc<Mutex<Option<(B, InFlight)>>>;

impl RequestBody {
    pub(super) fn new(body: WasiBody, sent: CancellationToken) -> Self {
        Self { body, may_be_dropped: false, _sent: sent.drop_guard() }
    }

    /// The body of a guest's request with this head. By HTTP/1.1 a `GET` that doesn't say how
    /// long its content is has none, whatever becomes of its body; by HTTP/2 the request would
    /// fail where a guest drops the body that it has written nothing to without finishing it.
    pub(super) fn of(head: &Parts, body: WasiBody, sent: CancellationToken) -> Self {
        let length = head.headers.get(CONTENT_LENGTH);
        let may_be_dropped = head.method.is_safe() && length.is_none_or(|length| length == "0");
        Self { may_be_dropped, ..Self::new(body, sent) }
    }
}

impl<B: Body> ResponseBody<B> {
    pub(super) fn new(
        incoming: Taken<B>,
        named: fn(&B::Error) -> Error,
        over: CancellationToken,
        done: CancellationToken,
        between_bytes: Option<Duration>,
    ) -> Self {
        Self {
            incoming,
            named,
            over: Box::pin(over.cancelled_owned()),
            between_bytes,
            pause: None,
            ended: false,
            _done: done.drop_guard(),
        }
    }

    fn read<T>(&self, read: impl FnOnce(&B) -> T) -> Option<T> {
        let taken = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        taken.as_ref().map(|(incoming, _)| read(incoming))
    }
}

/// Takes a body away, and its connection with it if it wasn't read to its end.
pub(super) fn take<B>(taken: &Taken<B>) {
    let rest = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(rest);
}

impl<B: Body> Drop for ResponseBody<B> {
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
        let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        let may_be_dropped = std::mem::take(&mut self.may_be_dropped);
        let is_dropped = matches!(polled, Some(Err(Error::HttpProtocolError)));
        Poll::Ready(if may_be_dropped && is_dropped { None } else { polled })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ResponseBody<B> {
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
            let frame = frame.map(|frame| frame.map_err(|error| (this.named)(&error)));
            return Poll::Ready(frame);
        }
        let Some(limit) = this.between_bytes else { return Poll::Pending };
        let pause = this.pause.get_or_insert_with(|| Box::pin(sleep(limit)));
        pause.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.read(B::is_end_stream).unwrap_or_default()
    }

    fn size_hint(&self) -> SizeHint {
        let left = if self.ended { SizeHint::with_exact(0) } else { SizeHint::default() };
        self.read(B::size_hint).unwrap_or(left)
    }
}
