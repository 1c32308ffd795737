//! A request's body that has to come on: of which something has to come before long.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::Error;

/// A body that ends with [`Error::ConnectionReadTimeout`] when nothing comes of it while
/// somebody waits for it.
pub(super) struct Paced<B> {
    body: B,
    idle: Duration,
    /// When it is given up unless something comes; while it is waited for.
    gives_up: Option<Pin<Box<Sleep>>>,
}

impl<B> Paced<B> {
    pub(super) fn new(body: B, idle: Duration) -> Self {
        Self { body, idle, gives_up: None }
    }
}

impl<B: Body<Data = Bytes, Error: Into<Error>> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        loop {
            if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
                let brings_nothing = matches!(&frame, Some(Ok(frame))
                    if frame.data_ref().is_some_and(Bytes::is_empty));
                if brings_nothing {
                    continue;
                }
                this.gives_up = None;
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }
            let idle = this.idle;
            let gives_up =
                this.gives_up.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + idle)));
            std::task::ready!(gives_up.as_mut().poll(context));
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
