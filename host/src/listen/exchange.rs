//! A request that is on a connection, until its answer is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};

use super::state::State;
use super::waits::note;

/// How much of an answer HTTP/2 gets at once. A client that takes nothing keeps as much of it
/// in memory, whatever it has; more is not asked for before that is taken.
const PIECE_BYTES: usize = 16 << 10;

/// A request that is on a connection.
#[derive(Debug)]
pub struct Exchange {
    state: Arc<State>,
    in_pieces: bool,
}

/// The answer's body; the exchange ends with it.
#[derive(Debug)]
pub struct Sent<B> {
    body: B,
    /// What is left of a frame that comes in pieces.
    rest: Bytes,
    exchange: Exchange,
}

impl Exchange {
    /// A request has come on this connection.
    #[must_use]
    pub fn begin(state: &Arc<State>, version: Version) -> Self {
        state.begin();
        Self { state: Arc::clone(state), in_pieces: version == Version::HTTP_2 }
    }

    /// Its answer has this body.
    pub fn sends<B>(self, body: B) -> Sent<B> {
        Sent { body, rest: Bytes::new(), exchange: self }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.state.ended();
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Sent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            let polled = note(Pin::new(&mut this.body).poll_frame(context));
            if !this.exchange.in_pieces {
                return polled;
            }
            match polled {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.len() > PIECE_BYTES => this.rest = data,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                polled => return polled,
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        note(Poll::Ready(Some(Ok(Frame::data(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if rest > 0 {
            // The upper bound first: the lower one may not be above it.
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + rest);
            }
            hint.set_lower(hint.lower() + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[tokio::test]
    async fn an_answer_goes_out_in_pieces_and_whole() {
        let state = Arc::new(State::default());
        let all = Bytes::from(vec![7; 3 * PIECE_BYTES + 1]);
        let sent = Exchange::begin(&state, Version::HTTP_2).sends(Full::new(all.clone()));
        assert_eq!((sent.size_hint().exact(), state.running()), (Some(all.len() as u64), 1));
        let mut sent = sent;
        let first = sent.frame().await.expect("a frame").expect("data").into_data();
        assert_eq!(first.expect("data").len(), PIECE_BYTES);
        assert_eq!(sent.size_hint().exact(), Some((all.len() - PIECE_BYTES) as u64));
        assert!(!sent.is_end_stream());
        let rest = sent.collect().await.expect("a body").to_bytes();
        assert_eq!((rest.len(), state.running()), (all.len() - PIECE_BYTES, 0));
    }
}
