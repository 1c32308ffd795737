//! A request's body whose rest is read when the answer is there before it: who sends a
//! component that is refused is to learn why.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::EXPECT;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::component::MAX_COMPONENT_BYTES;
use crate::drain;

/// Gives a request a body that is read to its end.
pub(super) async fn read_later(request: Request) -> Request {
    // A client that waits to be asked for its body keeps it, unless it is asked.
    let asked = !request.headers().contains_key(EXPECT);
    request.map(|body| Body::new(Unread { body, asked, ended: false }))
}

struct Unread {
    body: Body,
    /// Whether the client sends it.
    asked: bool,
    ended: bool,
}

impl http_body::Body for Unread {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.asked = true;
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        self.ended = !matches!(polled, Some(Ok(_)));
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if self.asked && !self.ended && !self.body.is_end_stream() {
            drain::later(std::mem::take(&mut self.body), MAX_COMPONENT_BYTES);
        }
    }
}
