//! A response's body on its way from a guest to the client.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::task::unconstrained;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::guest_body::GuestBody;
use crate::service::Taking;

/// A response's body: finished and whole, or still coming from a guest.
///
/// Dropping one that is still coming ends the guest's invocation: that is how a
/// client's disconnect reaches it.
#[derive(Default)]
pub struct ResponseBody {
    ready: VecDeque<Frame<Bytes>>,
    /// Whether there will be no more than that, though it is not all.
    truncated: bool,
    rest: Option<Rest>,
    /// Where no client is sent any of it: its guest, which may not have ended.
    unwanted: Option<Arc<Taking>>,
}

/// The guest stopped before its body's end; the connection is cut, so that the
/// client doesn't take what it has for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the service stopped before the end of its answer")]
pub struct Truncated;

struct Rest {
    link: Arc<Mutex<Linked>>,
    gone: Option<DropGuard>,
    taking: Arc<Taking>,
    /// How much is still to be given of a body whose head says how long it is.
    left: Option<u64>,
}

/// The guest's end of a body that a client reads. Dropping it cuts the body off, unless it
/// has ended.
pub(super) struct Link {
    shared: Arc<Mutex<Linked>>,
    gone: CancellationToken,
    taking: Arc<Taking>,
}

/// What both ends of a body share.
struct Linked {
    /// `None` once no more comes from the guest.
    body: Option<GuestBody>,
    /// What had come by then and was not read.
    left: VecDeque<Frame<Bytes>>,
    /// Whether its client is sent any of it.
    has_content: bool,
    /// How much of the body that is, then.
    made: Made,
    /// Whether its reader was told that it is not all.
    told: bool,
    reader: Option<Waker>,
}

/// How much of a body its guest made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    All,
    /// It was cut off, and the guest told.
    UpToItsLimit,
    /// Its guest returned and left it open: that is its end.
    Left,
    /// It has no end.
    Part,
}

impl ResponseBody {
    /// A body that is here as a whole.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        Self::finished(VecDeque::from([Frame::data(bytes)]))
    }

    /// None, after a head that says how long another one is. HTTP/1 takes one that is known to
    /// be empty for what the head is about.
    #[must_use]
    pub fn none_of_another_length() -> Self {
        Self::finished(VecDeque::from([Frame::trailers(HeaderMap::new())]))
    }

    pub(super) fn finished(frames: VecDeque<Frame<Bytes>>) -> Self {
        Self { ready: frames, ..Self::default() }
    }

    /// One that no client is sent, of which it is not known how long it would have been.
    pub(super) fn unwanted() -> (Self, Arc<Taking>) {
        let taking = Arc::new(Taking::new(CancellationToken::new()));
        let unwanted = Some(Arc::clone(&taking));
        (Self { truncated: true, unwanted, ..Self::default() }, taking)
    }

    /// `ready` is here; the rest comes from `body`, as long as its guest's end of it says
    /// so.
    pub(super) fn streaming(
        ready: VecDeque<Frame<Bytes>>,
        body: GuestBody,
        has_content: bool,
    ) -> (Self, Link) {
        let linked = Linked {
            body: Some(body),
            left: VecDeque::new(),
            has_content,
            made: Made::All,
            told: false,
            reader: None,
        };
        let shared = Arc::new(Mutex::new(linked));
        let gone = CancellationToken::new();
        let taking = Arc::new(Taking::new(gone.clone()));
        let link =
            Link { shared: Arc::clone(&shared), gone: gone.clone(), taking: Arc::clone(&taking) };
        let gone = Some(gone.drop_guard());
        let rest = Some(Rest { link: shared, gone, taking, left: None });
        (Self { ready, rest, ..Self::default() }, link)
    }

    /// Whether its client takes it, where it is still coming.
    #[must_use]
    pub fn taking(&self) -> Option<&Arc<Taking>> {
        self.rest.as_ref().map(|rest| &rest.taking)
    }

    /// Its guest, where no client is sent any of it and more was to come.
    #[must_use]
    pub fn unwanted_from(&self) -> Option<&Arc<Taking>> {
        self.unwanted.as_ref()
    }

    /// Its head says that it has so many bytes. Who has given all of them to the client asks for
    /// no more, and that is no client that left.
    pub fn announce(&mut self, length: u64) {
        if let Some(rest) = &mut self.rest {
            rest.left = Some(length);
        }
    }

    /// Waits for `gate`, and takes in meanwhile what the guest makes, until that is more
    /// than `limit` bytes: so a guest comes to its end though nobody reads its answer yet.
    pub(super) async fn behind<G: Future>(&mut self, gate: G, limit: u64) -> G::Output {
        let mut gate = pin!(gate);
        poll_fn(|context| {
            let polled = gate.as_mut().poll(context);
            if polled.is_pending() {
                self.take_in(context, limit);
            }
            polled
        })
        .await
    }

    fn take_in(&mut self, context: &mut Context<'_>, limit: u64) {
        let lengths = self.ready.iter().filter_map(Frame::data_ref).map(Bytes::len);
        let mut bytes = lengths.sum::<usize>() as u64;
        while self.rest.is_some() && bytes <= limit {
            match self.poll_rest(context) {
                Poll::Pending => return,
                Poll::Ready(None) => {}
                Poll::Ready(Some(Err(Truncated))) => self.truncated = true,
                Poll::Ready(Some(Ok(frame))) => {
                    bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                    self.ready.push_back(frame);
                }
            }
        }
    }

    fn poll_rest(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let polled = match std::task::ready!(lock(&rest.link).poll_read(context)) {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
            polled => polled,
        };
        // Nobody waits for its client any more.
        rest.taking.asked(false);
        if let Some(gone) = rest.gone.take()
            && polled.is_none()
        {
            // The guest may still have work to do after its answer.
            gone.disarm();
        }
        self.rest = None;
        Poll::Ready(polled)
    }

    /// Nothing to send; the guest still runs to its end.
    #[must_use]
    pub fn discarded(self) -> Self {
        if self.rest.is_some() {
            tokio::spawn(self.read_by_nobody());
        }
        Self::default()
    }

    /// A guest that writes must not stall.
    async fn read_by_nobody(mut self) {
        while let Some(Ok(_)) = self.frame().await {}
    }

    /// The names of its trailers, as `Trailer` lists them, where they are here.
    #[must_use]
    pub fn trailer_names(&self) -> Option<HeaderValue> {
        let trailers = self.ready.back()?.trailers_ref()?;
        let names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        HeaderValue::try_from(names.join(", ")).ok().filter(|names| !names.is_empty())
    }

    /// How many bytes it has, where that is known.
    #[must_use]
    pub fn exact_len(&self) -> Option<u64> {
        self.size_hint().exact()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Truncated;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        if let Some(frame) = self.ready.pop_front() {
            if let Some(rest) = &mut self.rest {
                rest.gives(&frame);
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        if std::mem::take(&mut self.truncated) {
            return Poll::Ready(Some(Err(Truncated)));
        }
        let polled = self.poll_rest(context);
        match (&mut self.rest, &polled) {
            (Some(rest), Poll::Ready(Some(Ok(frame)))) => rest.gives(frame),
            (Some(rest), _) => rest.taking.asked(polled.is_ready()),
            (None, _) => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.rest.is_none() && !self.truncated
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_some() || self.truncated {
            return SizeHint::default();
        }
        // Where there are trailers no length is told.
        let lengths = self.ready.iter().map(|frame| frame.data_ref().map(Bytes::len));
        let length: Option<usize> = lengths.sum();
        length.map_or_else(SizeHint::default, |length| SizeHint::with_exact(length as u64))
    }
}

impl Rest {
    /// This goes to the client.
    fn gives(&mut self, frame: &Frame<Bytes>) {
        self.taking.asked(true);
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.saturating_sub(data.len() as u64);
        }
    }
}

impl Drop for Rest {
    /// HTTP/1.1 drops a body once it has as much of it as its head said, and its guest may not
    /// have ended it then, or have work to do after it.
    fn drop(&mut self) {
        if self.left != Some(0) || self.gone.is_none() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let rest = Self {
            link: Arc::clone(&self.link),
            gone: self.gone.take(),
            taking: Arc::clone(&self.taking),
            left: None,
        };
        let body = ResponseBody { rest: Some(rest), ..ResponseBody::default() };
        runtime.spawn(body.read_by_nobody());
    }
}

impl Link {
    /// Resolves when the client leaves before the body's end.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// How its client takes it.
    pub(super) fn taking(&self) -> &Taking {
        &self.taking
    }

    /// How much of it is made, where that is all that will be.
    pub(super) fn made(&self) -> Option<Made> {
        let linked = self.lock();
        linked.body.is_none().then_some(linked.made)
    }

    /// Its guest makes no more of it: what is made and was not read is kept for the client.
    pub(super) async fn close(&self) -> Made {
        // Unconstrained: a channel says that it has nothing when its task has had its turn.
        unconstrained(poll_fn(|context| Poll::Ready(self.lock().close(context)))).await
    }

    /// The same where its guest failed: what has no end then is cut off there.
    pub(super) async fn fail(&self) {
        if self.close().await == Made::Left {
            self.lock().made = Made::Part;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Linked> {
        lock(&self.shared)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.taking.leaves_place();
        let mut linked = self.lock();
        if linked.body.is_some() {
            // What is made is still read, up to where it is cut off: also where that is all,
            // since whoever dropped it did not say so.
            linked.close(&mut Context::from_waker(Waker::noop()));
            linked.made = Made::Part;
        }
    }
}

impl Linked {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        if let Some(frame) = self.left.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(body) = &mut self.body else {
            let is_whole = matches!(self.made, Made::All | Made::Left);
            let truncated = !is_whole && !std::mem::replace(&mut self.told, true);
            return Poll::Ready(truncated.then_some(Err(Truncated)));
        };
        match body.poll_frame(context) {
            Poll::Pending => {
                self.reader = Some(context.waker().clone());
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(ended) => {
                let failed = ended.is_some();
                self.end(failed);
                // Nobody misses anything of one that is not sent.
                Poll::Ready((failed && self.has_content).then_some(Err(Truncated)))
            }
        }
    }

    /// Takes what is made.
    fn close(&mut self, context: &mut Context<'_>) -> Made {
        while let Some(body) = &mut self.body {
            match body.poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => self.left.push_back(frame),
                Poll::Ready(ended) => self.end(ended.is_some()),
                Poll::Pending => {
                    self.made = if body.is_complete() { Made::Left } else { Made::Part };
                    self.body = None;
                }
            }
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        self.made
    }

    fn end(&mut self, failed: bool) {
        let is_cut_off = self.body.take().is_some_and(|body| body.is_cut_off());
        self.made = match (failed, is_cut_off) {
            (false, _) => Made::All,
            (true, true) => Made::UpToItsLimit,
            (true, false) if !self.has_content => Made::Left,
            (true, false) => Made::Part,
        };
    }
}

fn lock(linked: &Mutex<Linked>) -> MutexGuard<'_, Linked> {
    linked.lock().unwrap_or_else(PoisonError::into_inner)
}
