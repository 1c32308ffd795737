//! Serves one connection, and ends it when its time is over or its place is needed.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::server::graceful::GracefulConnection;
use tokio::time::{Sleep, sleep, sleep_until};

use super::clock::{self, Ms};
use super::limits::ConnectionLimits;
use super::metrics::Counts;
use super::places::Seat;
use super::state::{End, State};

/// What ends a connection that fails.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// How long a connection without a request stays when the listener ends: HTTP/2 wants to hear
/// from its peer that it knows.
const LAST_WORD_MS: Ms = 1_000;

/// How long it is still asked whether a request came when the listener ends: one that was sent
/// before, by a client that could not know, is under way. Those that come get their answers, which
/// say that the connection ends.
const LAST_ARRIVALS: Duration = Duration::from_millis(50);

/// A connection that is being served.
pub(super) struct Guarded<C> {
    connection: Pin<Box<C>>,
    state: Arc<State>,
    limits: Arc<ConnectionLimits>,
    counts: Arc<Counts>,
    /// When it is looked at next, if nothing moves until then.
    sleep: Pin<Box<Sleep>>,
    looks_at: Ms,
    /// Whether who asks it to end or to leave can wake it.
    is_known: bool,
    /// Since when it is to finish what it has.
    leaves_since: Option<Ms>,
    /// Until when a request may come that was sent before.
    last_arrivals: Option<Pin<Box<Sleep>>>,
    _seat: Seat,
}

impl<C> Guarded<C> {
    pub(super) fn new(
        connection: C,
        state: Arc<State>,
        limits: Arc<ConnectionLimits>,
        counts: Arc<Counts>,
        seat: Seat,
    ) -> Self {
        let looks_at = clock::now() + limits.look;
        Self {
            connection: Box::pin(connection),
            state,
            limits,
            counts,
            sleep: Box::pin(sleep_until(clock::instant(looks_at))),
            looks_at,
            is_known: false,
            leaves_since: None,
            last_arrivals: None,
            _seat: seat,
        }
    }

    /// Looks at what it waits for. Returns whether that is over.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let due = self.due();
        let at = due.map_or(Ms::MAX, |(at, _)| at);
        // Nearly always it is later: a timer that is too early costs nothing until it rings.
        if at < self.looks_at {
            self.look_at(at);
        } else if !self.sleep.is_elapsed() {
            return false;
        }
        loop {
            if self.sleep.as_mut().poll(context).is_pending() {
                return false;
            }
            let now = clock::now();
            if let Some((_, end)) = due.filter(|(at, _)| *at <= now) {
                self.counts.ended(end);
                self.state.end_for(end);
                return true;
            }
            self.look_at(at.min(now + self.limits.look));
        }
    }

    /// Until when it may go on as it is.
    fn due(&self) -> Option<(Ms, End)> {
        let due = self.state.due(&self.limits);
        // Who asks for nothing while all is ended has nothing to finish.
        let since = self.leaves_since.filter(|_| self.state.running() == 0);
        let leaves = since.map(|since| (since + LAST_WORD_MS, End::Idle));
        due.into_iter().chain(leaves).min_by_key(|(at, _)| *at)
    }

    fn look_at(&mut self, at: Ms) {
        self.looks_at = at;
        self.sleep.as_mut().reset(clock::instant(at));
    }
}

/// Whether the library that reads HTTP/2 ended it by a limit of its own: of streams that are
/// reset, of a head's frames, of small ones.
fn is_flood(mut error: &(dyn Error + 'static)) -> bool {
    loop {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
        }
        match error.source() {
            Some(source) => error = source,
            None => return false,
        }
    }
}

impl<C: GracefulConnection<Error = BoxError>> Future for Guarded<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.is_known {
            this.is_known = true;
            // Before the flags are looked at, so that none is missed.
            this.state.waker().register(context.waker());
            if this.sleep.as_mut().poll(context).is_ready() {
                this.looks_at = 0;
            }
        }
        if this.state.end() != End::No {
            return Poll::Ready(());
        }
        if this.state.is_leaving() && this.leaves_since.is_none() {
            this.leaves_since = Some(clock::now());
            this.state.waker().register(context.waker());
            this.last_arrivals = Some(Box::pin(sleep(LAST_ARRIVALS)));
        }
        let mut polled = this.connection.as_mut().poll(context);
        if let Some(last_arrivals) = &mut this.last_arrivals
            && polled.is_pending()
            && (this.state.running() > 0 || last_arrivals.as_mut().poll(context).is_ready())
        {
            this.last_arrivals = None;
            this.connection.as_mut().graceful_shutdown();
            polled = this.connection.as_mut().poll(context);
        }
        if let Poll::Ready(ended) = polled {
            if this.state.end() == End::Flood || ended.is_err_and(|error| is_flood(&*error)) {
                this.counts.ended(End::Flood);
            }
            return Poll::Ready(());
        }
        if this.is_over(context) { Poll::Ready(()) } else { Poll::Pending }
    }
}
