//! A request's body that can be read again from its start, so that an
//! invocation can run again after a conflict.

use std::any::Any;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty};
use tokio::time::{Sleep, sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::account::{hand_over, outside};
use crate::digest::Digest;
use crate::drain;

/// A request's body. Clones are the same body; the guest reads it through one.
#[derive(Clone)]
pub struct ReplayBody {
    shared: Arc<Mutex<Shared>>,
}

/// The body is larger than what may be kept of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the request's body is larger than the {limit} bytes that are kept of it")]
pub struct BodyTooLarge {
    /// `[limits] replay-body`.
    pub limit: u64,
}

/// What a client did to its request's body, for which no service is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It sent more than the read limit.
    TooLarge,
    /// Nothing came of it for too long.
    Late,
    /// It ended its side, the stream or the connection before the body's end, or sent what is
    /// no body.
    BrokeOff,
}

/// The body ended too early: it broke off, or it is too large.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the request's body broke off")]
pub(crate) struct Broken;

struct Shared {
    source: WasiBody,
    /// Frames that were read: all of them while it is replayable, then only
    /// those that the reader hasn't seen.
    kept: VecDeque<Kept>,
    /// How many frames before those were dropped.
    dropped: usize,
    replayable: bool,
    keep_limit: u64,
    read_bytes: u64,
    read_limit: u64,
    ended: bool,
    /// Whether it ended too early.
    broken: bool,
    /// Why, until its reader was told.
    failed: Option<Error>,
    too_large: bool,
    /// Nothing came of it for too long.
    late: bool,
    /// Whether who read last had to wait.
    waited_for: bool,
    /// Its reader, where it waits: the source wakes only who asked it last, and that may be who
    /// buffers the rest.
    reader: Option<Waker>,
    /// What is given back once it has come.
    held: Option<Box<dyn Any + Send>>,
    /// Whether anyone read yet; the client is asked for the body by that.
    asked: bool,
    unread: Unread,
}

/// What becomes of a body that nobody reads to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is dropped, and an HTTP/1 connection with it.
    Drop,
    /// It is read to its end if that is known to be near, so that the connection can be used
    /// for the next request: a client that is in the middle of sending would
    /// lose the answer otherwise (RFC 9112 §9.6).
    Drain,
    /// The same, unless the client waits to be asked for it and never was.
    DrainIfAsked,
}

#[derive(Clone)]
enum Kept {
    Data(Bytes),
    Trailers(http::HeaderMap),
}

impl Kept {
    fn data(&self) -> Option<&Bytes> {
        match self {
            Self::Data(data) => Some(data),
            Self::Trailers(_) => None,
        }
    }
}

/// One reading of the body, from its start.
struct Reader {
    body: ReplayBody,
    position: usize,
}

impl ReplayBody {
    /// A body of which at most `read_limit` bytes are read and the first
    /// `keep_limit` kept.
    #[must_use]
    pub fn new(source: WasiBody, read_limit: u64, keep_limit: u64, unread: Unread) -> Self {
        let ended = source.is_end_stream();
        let shared = Shared {
            source,
            kept: VecDeque::new(),
            dropped: 0,
            replayable: true,
            keep_limit,
            read_bytes: 0,
            read_limit,
            ended,
            broken: false,
            failed: None,
            too_large: false,
            late: false,
            waited_for: false,
            reader: None,
            held: None,
            asked: false,
            unread,
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// A body of nothing.
    #[must_use]
    pub fn empty() -> Self {
        let nothing = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Self::new(nothing, 0, 0, Unread::Drop)
    }

    /// Whether it is still there from its start.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        self.lock().replayable
    }

    /// Whether more than the read limit came; its reader got an error then.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.lock().too_large
    }

    /// Whether nothing came of it for too long; its reader got an error then.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.lock().late
    }

    /// What its client did to it; its reader got an error then.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let shared = self.lock();
        match &*shared {
            Shared { too_large: true, .. } => Some(Fault::TooLarge),
            Shared { late: true, .. } => Some(Fault::Late),
            Shared { broken: true, .. } => Some(Fault::BrokeOff),
            _ => None,
        }
    }

    /// Whether all of it has come, or all that will.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Whether its reader waits for the client.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        let shared = self.lock();
        !shared.ended && shared.waited_for
    }

    /// Holds this until it has come.
    pub fn hold(&self, held: impl Any + Send) {
        let mut shared = self.lock();
        if !shared.ended {
            shared.held = Some(Box::new(held));
        }
    }

    /// Reads so much of it ahead, for so long. Returns whether it has come to its end.
    pub async fn arrives(&self, bytes: u64, time: Duration) -> bool {
        // Where it came with the head it is there at the second look, without a timer.
        let mut looks = 0;
        let mut timer = None::<Pin<Box<Sleep>>>;
        std::future::poll_fn(|context| {
            let mut shared = self.lock();
            while !shared.ended && shared.read_bytes < bytes.min(shared.keep_limit) {
                if shared.poll_source(context).is_pending() {
                    looks += 1;
                    if looks == 1 {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    let timer = timer.get_or_insert_with(|| Box::pin(sleep(time)));
                    return timer.as_mut().poll(context).map(|()| false);
                }
            }
            Poll::Ready(shared.ended)
        })
        .await
    }

    /// Waits for its end, and reads at most so much of it ahead for that: a larger one's never
    /// comes.
    pub async fn ends(&self, bytes: u64) {
        std::future::poll_fn(|context| {
            let mut shared = self.lock();
            while !shared.ended && shared.read_bytes < bytes.min(shared.keep_limit) {
                std::task::ready!(shared.poll_source(context));
            }
            if shared.ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// A new reading from the start. To be used only while it is replayable, and
    /// one at a time.
    pub(crate) fn reader(&self) -> impl Body<Data = Bytes, Error = Error> + Send + use<> {
        Reader { body: self.clone(), position: 0 }
    }

    /// Asks the client for the body if nobody did yet, and lets the connection
    /// say so before whatever comes next.
    pub async fn ask(&self) {
        std::future::poll_fn(|context| {
            let mut shared = self.lock();
            // Never in a reader's place: it would not be woken any more.
            if !shared.asked && !shared.ended {
                let _the_readers_to_see = shared.poll_source(context);
            }
            Poll::Ready(())
        })
        .await;
        tokio::task::yield_now().await;
    }

    /// Reads the rest, so that nobody waits for the client while it is leased.
    ///
    /// # Errors
    /// When it does not fit. The reader then still finds all of it.
    pub(crate) async fn buffer(&self) -> Result<(), BodyTooLarge> {
        std::future::poll_fn(|context| {
            let mut shared = self.lock();
            loop {
                if shared.ended || shared.too_large {
                    return Poll::Ready(Ok(()));
                }
                let limit = shared.keep_limit;
                if !shared.replayable {
                    return Poll::Ready(Err(BodyTooLarge { limit }));
                }
                match shared.poll_source(context) {
                    Poll::Pending => return Poll::Pending,
                    // Why it ended is the reader's to see.
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Ready(Some(())) => {}
                }
            }
        })
        .await
    }

    /// All of it, once it has come to its end. While it is replayable it can be had again.
    ///
    /// # Errors
    /// When it breaks off, or is larger than what is read.
    pub(crate) async fn whole(&self) -> Result<Bytes, Broken> {
        std::future::poll_fn(|context| {
            let mut shared = self.lock();
            while !shared.ended {
                std::task::ready!(shared.poll_source(context));
            }
            if shared.failed.is_some() {
                return Poll::Ready(Err(Broken));
            }
            let whole = shared.joined();
            if !shared.replayable {
                // Nobody reads it again, so it is not held twice.
                shared.kept.clear();
            }
            Poll::Ready(Ok(whole))
        })
        .await
    }

    /// The digest of all of it, once it is buffered; `None` where it broke off.
    pub(crate) fn digest(&self) -> Option<Digest> {
        let shared = self.lock();
        (shared.ended && shared.replayable)
            .then(|| Digest::of_chunks(shared.kept.iter().filter_map(Kept::data).cloned()))
    }

    /// Whether nobody else reads it any more, and it is not read to its end either.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        let is_read = Arc::strong_count(&self.shared) > 1;
        let shared = self.lock();
        shared.broken || !(is_read || shared.ended || shared.is_drained())
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Whether it is read to its end when nobody else reads it: that is known to be near.
    fn is_drained(&self) -> bool {
        let drains = match self.unread {
            Unread::Drop => false,
            Unread::Drain => true,
            Unread::DrainIfAsked => self.asked,
        };
        drains && self.source.size_hint().exact().is_some_and(|left| left <= self.room())
    }

    fn room(&self) -> u64 {
        self.read_limit.saturating_sub(self.read_bytes)
    }

    /// Keeps the source's next frame, if there is room; `None` at its end.
    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Option<()>> {
        self.asked = true;
        let frame = match Pin::new(&mut self.source).poll_frame(context) {
            Poll::Pending => {
                self.waited_for = true;
                return Poll::Pending;
            }
            Poll::Ready(frame) => frame,
        };
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        let frame = match frame {
            None => {
                self.ended = true;
                self.held = None;
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                self.late = matches!(error, Error::ConnectionReadTimeout);
                self.fail(error);
                return Poll::Ready(None);
            }
            Some(Ok(frame)) => frame,
        };
        self.waited_for = false;
        let frame = match frame.into_data() {
            Ok(data) => Kept::Data(data),
            Err(frame) => Kept::Trailers(frame.into_trailers().unwrap_or_default()),
        };
        if let Kept::Data(data) = &frame {
            self.read_bytes += data.len() as u64;
            if self.read_bytes > self.read_limit {
                self.too_large = true;
                self.fail(Error::HttpRequestBodySize(Some(self.read_bytes)));
                return Poll::Ready(None);
            }
        }
        // Too much to run again with; what the reader has not seen stays.
        self.replayable &= self.read_bytes <= self.keep_limit;
        self.kept.push_back(frame);
        Poll::Ready(Some(()))
    }

    /// All data that is kept as one; not copied where it is in one piece.
    fn joined(&self) -> Bytes {
        let mut data = self.kept.iter().filter_map(Kept::data);
        match (data.next(), data.next()) {
            (None, _) => Bytes::new(),
            (Some(only), None) => only.clone(),
            _ => {
                let mut all = Vec::new();
                for data in self.kept.iter().filter_map(Kept::data) {
                    all.extend_from_slice(data);
                }
                all.into()
            }
        }
    }

    /// Ends it too early. What follows is lost, so it can't be read twice.
    fn fail(&mut self, error: Error) {
        self.ended = true;
        self.broken = true;
        self.held = None;
        self.replayable = false;
        self.failed = Some(error);
    }

    /// Frame number `position`, if it was read already.
    fn kept_frame(&mut self, position: usize) -> Option<Kept> {
        if self.replayable {
            return self.kept.get(position - self.dropped).cloned();
        }
        while self.dropped < position {
            self.kept.pop_front();
            self.dropped += 1;
        }
        self.dropped += usize::from(!self.kept.is_empty());
        self.kept.pop_front()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.ended && self.is_drained() {
            let room = self.room();
            drain::later(std::mem::take(&mut self.source), room);
        }
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = self.body.clone();
        let read = || {
            let mut shared = body.lock();
            shared.reader = None;
            loop {
                if let Some(frame) = shared.kept_frame(self.position) {
                    return Poll::Ready(Some(Ok(frame)));
                }
                let is_over = shared.ended
                    || match shared.poll_source(context) {
                        Poll::Pending => {
                            shared.reader = Some(context.waker().clone());
                            return Poll::Pending;
                        }
                        Poll::Ready(frame) => frame.is_none(),
                    };
                if is_over {
                    return Poll::Ready(shared.failed.take().map(Err));
                }
            }
        };
        // What is kept of it is the host's, within limits of its own.
        let frame = match std::task::ready!(outside(read)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        };
        self.position += 1;
        Poll::Ready(Some(Ok(hand_over(match frame {
            Kept::Data(data) => Frame::data(data),
            Kept::Trailers(trailers) => Frame::trailers(trailers),
        }))))
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.body.lock();
        shared.ended
            && shared.failed.is_none()
            && self.position >= shared.dropped + shared.kept.len()
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.body.lock();
        if self.position == 0 && shared.read_bytes == 0 {
            shared.source.size_hint()
        } else {
            SizeHint::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::StreamBody;

    use super::*;

    fn body(chunks: &[&'static str], read_limit: u64, keep_limit: u64) -> ReplayBody {
        let frames: Vec<Result<Frame<Bytes>, Error>> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))))
            .collect();
        let source = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
        ReplayBody::new(source, read_limit, keep_limit, Unread::Drop)
    }

    async fn read(body: &ReplayBody) -> String {
        let bytes = body.reader().collect().await.expect("the whole body").to_bytes();
        String::from_utf8(bytes.into()).expect("text")
    }

    #[tokio::test]
    async fn a_small_body_is_read_again_from_its_start() {
        let body = body(&["ab", "cd"], 100, 100);
        assert_eq!(read(&body).await, "abcd");
        assert_eq!(read(&body).await, "abcd");
        assert!(body.is_replayable());
    }

    #[tokio::test]
    async fn buffering_too_large_a_body_loses_nothing_for_its_reader() {
        let body = body(&["ab", "cd", "ef"], 100, 3);
        assert_eq!(body.buffer().await, Err(BodyTooLarge { limit: 3 }));
        assert!(!body.is_replayable());
        assert_eq!(read(&body).await, "abcdef");
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_by_whoever_buffers_the_rest() {
        let (sender, mut frames) = tokio::sync::mpsc::unbounded_channel();
        let frames = futures_util::stream::poll_fn(move |context| frames.poll_recv(context));
        let source = StreamBody::new(frames).boxed_unsync();
        let body = ReplayBody::new(source, 100, 100, Unread::Drop);
        let (mut reader, counting) = (body.reader(), Arc::new(Wakes::default()));
        let waker = Waker::from(Arc::clone(&counting));
        let polled = Pin::new(&mut reader).poll_frame(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        let buffering = body.buffer();
        let sending = async {
            sender.send(Ok(Frame::data(Bytes::from_static(b"ab")))).expect("open");
            drop(sender);
        };
        let (buffered, ()) = tokio::join!(buffering, sending);
        assert_eq!(buffered, Ok(()));
        assert!(counting.0.load(Ordering::Relaxed) > 0, "nobody else would wake it");
        assert_eq!(reader.collect().await.expect("the whole body").to_bytes(), "ab");
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_body_that_broke_off_while_it_was_buffered_is_an_error_to_its_reader() {
        let frames = [Ok(Frame::data(Bytes::from_static(b"ab"))), Err(Error::HttpProtocolError)];
        let source = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
        let body = ReplayBody::new(source, 100, 100, Unread::Drop);
        assert_eq!(body.buffer().await, Ok(()));
        assert_eq!((body.digest(), body.fault()), (None, Some(Fault::BrokeOff)));
        assert!(body.reader().collect().await.is_err(), "half a body is no body");
        assert!(!body.is_replayable());
    }

    #[tokio::test]
    async fn a_buffered_body_has_a_digest_however_it_came() {
        let whole = body(&["abcd"], 100, 100);
        assert_eq!(whole.digest(), None, "not yet");
        whole.buffer().await.expect("it fits");
        assert_eq!(whole.digest(), Some(Digest::of(b"abcd")));
        let chunks = body(&["ab", "cd"], 100, 100);
        chunks.buffer().await.expect("it fits");
        assert_eq!(chunks.digest(), whole.digest());
        assert_eq!(read(&chunks).await, "abcd");
    }

    #[tokio::test]
    async fn a_body_beyond_the_read_limit_is_an_error_and_noted() {
        let body = body(&["ab", "cd"], 3, 100);
        assert!(body.reader().collect().await.is_err());
        assert!(body.is_too_large());
        assert_eq!(body.fault(), Some(Fault::TooLarge));
    }
}
