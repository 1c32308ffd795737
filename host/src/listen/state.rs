//! What is known of a connection by those who serve it, and who waits for whom on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use futures_util::task::AtomicWaker;

use super::clock::{Ms, NEVER, now};
use super::limits::ConnectionLimits;
use super::unsent::Share;

/// A connection. Times are none where it does not wait for that.
#[derive(Debug)]
pub struct State {
    opened: Ms,
    protocol: AtomicU8,
    /// Since when a head, or HTTP/2's start, has begun and is not complete.
    head_since: AtomicU64,
    /// Since when there is no request on it.
    idle_since: AtomicU64,
    /// Since when the peer takes nothing of what is ready for it.
    blocked_since: AtomicU64,
    /// Requests on it whose answers are not sent.
    running: AtomicUsize,
    /// Whether there was ever one.
    has_asked: AtomicBool,
    end: AtomicU8,
    /// Whether it is to finish what it has and take nothing new.
    leaving: AtomicBool,
    waker: AtomicWaker,
    /// Whether it would be taken for the end of its answer if it ended in any other way.
    ends_by_reset: AtomicBool,
    /// Answers that are in memory for it.
    unsent: Arc<Share>,
}

/// What is spoken on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Protocol {
    /// Nothing came.
    Silent,
    /// What came may become either.
    Unknown,
    Http1,
    Http2,
}

/// Why the host ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum End {
    /// It doesn't.
    No,
    /// Nothing came of it.
    FirstByte,
    /// A head was not complete in time.
    Head,
    /// There was no request for too long.
    Idle,
    /// Its peer does not take an answer.
    Answer,
    /// Frames that bring nothing.
    Flood,
    /// Others need its place.
    Place,
    /// Answers that it does not take are too much, with all others'.
    Unsent,
}

impl End {
    pub(super) const ALL: [(Self, &str); 7] = [
        (Self::FirstByte, "first-byte"),
        (Self::Head, "head"),
        (Self::Idle, "idle"),
        (Self::Answer, "answer"),
        (Self::Flood, "flood"),
        (Self::Place, "place"),
        (Self::Unsent, "unsent"),
    ];

    fn from_u8(number: u8) -> Self {
        let ends = Self::ALL.into_iter().map(|(end, _)| end);
        ends.into_iter().find(|end| *end as u8 == number).unwrap_or(Self::No)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new(Share::default())
    }
}

impl State {
    /// A connection whose answers are counted so.
    pub(super) fn new(unsent: Share) -> Self {
        Self {
            opened: now(),
            protocol: AtomicU8::new(Protocol::Silent as u8),
            head_since: AtomicU64::new(NEVER),
            idle_since: AtomicU64::new(NEVER),
            blocked_since: AtomicU64::new(NEVER),
            running: AtomicUsize::new(0),
            has_asked: AtomicBool::new(false),
            end: AtomicU8::new(End::No as u8),
            leaving: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            ends_by_reset: AtomicBool::new(false),
            unsent: Arc::new(unsent),
        }
    }

    /// Its answers that are in memory.
    pub(super) fn unsent(&self) -> &Arc<Share> {
        &self.unsent
    }

    /// Until when it may go on as it is, and what it is ended for then.
    pub(super) fn due(&self, limits: &ConnectionLimits) -> Option<(Ms, End)> {
        let since = |time: &AtomicU64, limit: Ms, end| {
            let since = time.load(Ordering::Relaxed);
            (since != NEVER).then(|| (since.saturating_add(limit), end))
        };
        if self.protocol() == Protocol::Silent {
            return Some((self.opened.saturating_add(limits.first_byte), End::FirstByte));
        }
        let head = since(&self.head_since, limits.head, End::Head);
        let idle = since(&self.idle_since, limits.idle, End::Idle);
        let answer = since(&self.blocked_since, limits.answer_idle, End::Answer);
        // Who sends a head is not idle; nor is one whose last request ended as the next began.
        let idle = idle.filter(|_| head.is_none() && self.running() == 0);
        [head, idle, answer].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    /// Since when it could go without loss to anybody, if it could, and whether it has
    /// never asked for anything.
    pub(super) fn dispensable(&self) -> Option<(bool, Ms)> {
        if self.running() > 0 || self.end() != End::No {
            return None;
        }
        let idle = self.idle_since.load(Ordering::Relaxed);
        // HTTP/2 that has begun is idle without having asked for anything.
        let has_asked = self.has_asked.load(Ordering::Relaxed) && idle != NEVER;
        Some((has_asked, if has_asked { idle } else { self.opened }))
    }

    /// Whether it has ever asked for anything, or could.
    pub(super) fn has_asked(&self) -> bool {
        self.running() > 0 || self.idle_since.load(Ordering::Relaxed) != NEVER
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self.protocol.load(Ordering::Relaxed) {
            0 => Protocol::Silent,
            1 => Protocol::Unknown,
            2 => Protocol::Http1,
            _ => Protocol::Http2,
        }
    }

    pub(super) fn speaks(&self, protocol: Protocol) {
        self.protocol.store(protocol as u8, Ordering::Relaxed);
    }

    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Bytes came on a connection of HTTP/1, or of nobody knows what.
    pub(super) fn heard(&self) {
        // Read alone on most calls: the line is in other cores' caches, too.
        if self.running() == 0 && self.head_since.load(Ordering::Relaxed) == NEVER {
            self.head_since.store(now(), Ordering::Relaxed);
        }
    }

    /// Whether HTTP/2 is in the middle of a head, or of its start.
    pub(super) fn head_is_open(&self, is_open: bool) {
        match (self.head_since.load(Ordering::Relaxed), is_open) {
            (NEVER, true) => self.head_since.store(now(), Ordering::Relaxed),
            (NEVER, false) | (_, true) => {}
            (_, false) => self.head_since.store(NEVER, Ordering::Relaxed),
        }
    }

    /// HTTP/2 has begun, and nothing is asked.
    pub(super) fn is_idle(&self) {
        if self.running() == 0 && self.idle_since.load(Ordering::Relaxed) == NEVER {
            self.idle_since.store(now(), Ordering::Relaxed);
        }
    }

    /// The peer takes nothing.
    pub(super) fn blocked(&self) {
        if self.blocked_since.load(Ordering::Relaxed) == NEVER {
            self.blocked_since.store(now(), Ordering::Relaxed);
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked_since.load(Ordering::Relaxed) != NEVER
    }

    /// Of one of HTTP/1.1 since when nothing was taken of what is ready; now where all was.
    pub(crate) fn takes_since(&self) -> Option<Ms> {
        let since = self.blocked_since.load(Ordering::Relaxed);
        (self.protocol() == Protocol::Http1).then_some(if since == NEVER { now() } else { since })
    }

    /// The peer has taken something.
    pub(super) fn unblocked(&self) {
        self.blocked_since.store(NEVER, Ordering::Relaxed);
    }

    /// A request has begun.
    pub(super) fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.idle_since.store(NEVER, Ordering::Relaxed);
        if !self.has_asked.load(Ordering::Relaxed) {
            self.has_asked.store(true, Ordering::Relaxed);
        }
        if self.protocol() == Protocol::Http1 {
            self.head_since.store(NEVER, Ordering::Relaxed);
        }
    }

    /// A request has ended.
    pub(super) fn ended(&self) {
        if self.running.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.idle_since.store(now(), Ordering::Relaxed);
        }
    }

    pub(super) fn end(&self) -> End {
        End::from_u8(self.end.load(Ordering::Relaxed))
    }

    /// Ends it: who serves it learns so when it looks next.
    pub(super) fn end_for(&self, end: End) {
        self.end.store(end as u8, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Whether its end would be the answer's, which has not come to its own.
    pub(super) fn ends_by_reset(&self, ends_so: bool) {
        self.ends_by_reset.store(ends_so, Ordering::Relaxed);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.ends_by_reset.load(Ordering::Relaxed)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Has it finish.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    pub(super) fn waker(&self) -> &AtomicWaker {
        &self.waker
    }
}
