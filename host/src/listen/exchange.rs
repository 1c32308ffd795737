//! A request that is on a connection, until its answer is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderValue, Response, Version};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::date;
use super::state::State;
use super::unsent::{counted, counts};
use super::waits::note;

/// How much of an answer HTTP/2 gets at once. A client that takes nothing keeps as much of it
/// in memory, whatever it has; more is not asked for before that is taken.
const PIECE_BYTES: usize = 16 << 10;

/// A request that is on a connection.
#[derive(Debug)]
pub struct Exchange {
    state: Arc<State>,
    version: Version,
}

/// The answer's body; the exchange ends with it.
#[derive(Debug)]
pub struct Sent<B, E> {
    body: B,
    /// How much of it is counted and was not asked for yet.
    ready: usize,
    /// What is left of a frame that comes in pieces.
    rest: Bytes,
    exchange: Exchange,
    cut: Option<Cut<E>>,
}

/// A body that ends too early, and why. That cuts its connection or resets its stream, and with
/// it what is not written yet; so it comes a little later than what was made.
#[derive(Debug)]
struct Cut<E> {
    error: Option<E>,
    waits: Pin<Box<Sleep>>,
}

/// How much later, and how often it is looked whether all is written.
const CUT_AFTER: Duration = Duration::from_millis(10);

impl<E> Cut<E> {
    fn new(error: E) -> Self {
        Self { error: Some(error), waits: Box::pin(sleep(CUT_AFTER)) }
    }

    fn poll(&mut self, state: &State, context: &mut Context<'_>) -> Poll<Option<E>> {
        loop {
            ready!(self.waits.as_mut().poll(context));
            if !state.is_blocked() {
                return Poll::Ready(self.error.take());
            }
            self.waits.as_mut().reset(Instant::now() + CUT_AFTER);
        }
    }
}

impl Exchange {
    /// A request has come on this connection.
    #[must_use]
    pub fn begin(state: &Arc<State>, version: Version) -> Self {
        state.begin();
        Self { state: Arc::clone(state), version }
    }

    /// Where it is.
    #[must_use]
    pub fn connection(&self) -> &Arc<State> {
        &self.state
    }

    /// This is its answer.
    pub fn answers<B: Body>(self, mut response: Response<B>) -> Response<Sent<B, B::Error>> {
        response.headers_mut().entry(DATE).or_insert_with(date::now);
        // To HTTP/1.0 its end is the connection's, where its head does not say how long it is.
        let ends_so = self.version < Version::HTTP_11
            && response.body().size_hint().exact().is_none()
            && !response.headers().contains_key(CONTENT_LENGTH);
        // Over HTTP/2 that is said by a frame.
        let is_last = self.state.is_leaving() && !self.is_http2();
        if ends_so || is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if ends_so {
            self.state.ends_by_reset(true);
        }
        // Else the library adds `keep-alive` to what is said of the connection already.
        if self.version < Version::HTTP_11 && response.headers().contains_key(CONNECTION) {
            *response.version_mut() = Version::HTTP_10;
        }
        response.map(|body| self.sends(body))
    }

    fn sends<B: Body>(self, body: B) -> Sent<B, B::Error> {
        // One that says how much it has has it in memory.
        let ready = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let ready = if counts(ready, self.is_http2()) { ready } else { 0 };
        if ready > 0 {
            self.state.unsent().add(ready);
        }
        Sent { body, ready, rest: Bytes::new(), exchange: self, cut: None }
    }

    fn is_http2(&self) -> bool {
        self.version == Version::HTTP_2
    }

    /// A piece of the answer is on its way: `ready` of it was there before.
    fn counted(&self, piece: Bytes, ready: &mut usize) -> Bytes {
        let share = self.state.unsent();
        let size = piece.len();
        let piece = if counts(size, self.is_http2()) { counted(piece, share) } else { piece };
        let was_ready = size.min(*ready);
        if was_ready > 0 {
            *ready -= was_ready;
            share.subtract(was_ready);
        }
        piece
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.state.ended();
    }
}

impl<B, E> Drop for Sent<B, E> {
    fn drop(&mut self) {
        if self.ready > 0 {
            self.exchange.state.unsent().subtract(self.ready);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Sent<B, B::Error>
where
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let polled = this.poll_next(context);
        let is_last = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || this.is_end_stream(),
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if is_last && this.cut.is_none() && this.exchange.version < Version::HTTP_11 {
            this.exchange.state.ends_by_reset(false);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.cut.is_none() && self.body.is_end_stream()
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

impl<B: Body<Data = Bytes> + Unpin> Sent<B, B::Error>
where
    B::Error: Unpin,
{
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self;
        if let Some(cut) = &mut this.cut {
            return note(cut.poll(&this.exchange.state, context)).map(|error| error.map(Err));
        }
        if this.rest.is_empty() {
            let polled = match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Err(error))) => {
                    let cut = this.cut.insert(Cut::new(error));
                    cut.poll(&this.exchange.state, context).map(|error| error.map(Err))
                }
                polled => polled,
            };
            let data = match note(polled) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.exchange.counted(data, &mut this.ready),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                polled => return polled,
            };
            if !this.exchange.is_http2() || data.len() <= PIECE_BYTES {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            this.rest = data;
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        note(Poll::Ready(Some(Ok(Frame::data(piece)))))
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
        assert_eq!(state.unsent().bytes(), all.len() as i64);
        let mut sent = sent;
        let first = sent.frame().await.expect("a frame").expect("data").into_data();
        let first = first.expect("data");
        assert_eq!(first.len(), PIECE_BYTES);
        assert_eq!(sent.size_hint().exact(), Some((all.len() - PIECE_BYTES) as u64));
        assert!(!sent.is_end_stream());
        let rest = sent.collect().await.expect("a body").to_bytes();
        assert_eq!((rest.len(), state.running()), (all.len() - PIECE_BYTES, 0));
        // The first piece is still held.
        assert_eq!(state.unsent().bytes(), all.len() as i64);
        drop(first);
        assert_eq!(state.unsent().bytes(), 0);
        drop(Exchange::begin(&state, Version::HTTP_2).sends(Full::new(all)));
        assert_eq!(state.unsent().bytes(), 0, "nobody asked for it");
    }
}
