//! A guest's request body that is read to its end even where nobody sends it: the request was
//! denied, failed, or was answered before. The guest would otherwise learn that its body could
//! not be written, and not why; some client libraries look no further.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, WasiBody};

/// How long the rest of one is taken. It ends with its guest's instance, too.
const REST: Duration = Duration::from_secs(60);

/// A body whose rest is read when it is dropped.
pub(crate) struct Lasting {
    body: WasiBody,
    ended: bool,
}

impl Lasting {
    pub(crate) fn new(body: WasiBody) -> Self {
        let ended = body.is_end_stream();
        Self { body, ended }
    }
}

impl Body for Lasting {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        self.ended = !matches!(&polled, Some(Ok(frame)) if frame.is_data());
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        if self.ended || self.body.is_end_stream() {
            return;
        }
        // Without a runtime there is no guest, either.
        if let Ok(runtime) = Handle::try_current() {
            let mut rest = std::mem::take(&mut self.body);
            runtime
                .spawn(timeout(REST, async move { while let Some(Ok(_)) = rest.frame().await {} }));
        }
    }
}
