//! How a subscription stands, for the operator.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a subscription does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It delivers what comes.
    #[default]
    Running,
    /// Deliveries failed in a row, or nothing can be delivered: it makes a pause and
    /// then tries one.
    Paused,
    /// As many events are held as may: it reads no further.
    Full,
}

/// A subscription's counters. They begin anew with the process.
#[derive(Debug, Default)]
pub(super) struct Status {
    report: Mutex<Report>,
    /// Whether its store takes no settlement.
    unsettled: AtomicBool,
    delivered: AtomicU64,
    failed: AtomicU64,
    undelivered: AtomicU64,
    given_up: AtomicU64,
    missed: AtomicU64,
    /// Dead letters that are there; fewer than none where one was dropped before its
    /// dispatcher heard that it is there.
    dead: AtomicI64,
    last_error: Mutex<Option<String>>,
    oldest: Mutex<Option<Oldest>>,
}

/// What a dispatcher says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// What it does.
    pub(super) state: State,
    /// Everything up to here was read off the bus.
    pub(super) scanned: u64,
    /// Events that are read and neither finished nor held.
    pub(super) window: usize,
    /// Events that wait for another attempt, or for one of their key.
    pub(super) held: usize,
    /// The position of the first of those.
    pub(super) oldest_held: Option<u64>,
    /// Keys that wait for an operator.
    pub(super) parked: usize,
}

/// The oldest event that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Oldest {
    /// Its position on the bus.
    pub(super) position: u64,
    /// When it came there, in ms since 1970.
    pub(super) recorded_at: u64,
}

/// What the counters say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Deliveries that ended well, since the start.
    pub(super) delivered: u64,
    /// Deliveries that failed.
    pub(super) failed: u64,
    /// Deliveries that were no attempt: the handler could not do its work for a reason that
    /// is not its own.
    pub(super) undelivered: u64,
    /// Events that were given up.
    pub(super) given_up: u64,
    /// Events that the bus no longer had.
    pub(super) missed: u64,
    /// Dead letters that are there now.
    pub(super) dead: u64,
}

impl State {
    /// Its name in lists and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Full => "full",
        }
    }
}

impl Status {
    /// Of a subscription with so many dead letters.
    pub(super) fn new(dead: u64) -> Self {
        Self { dead: AtomicI64::new(dead.cast_signed()), ..Self::default() }
    }

    pub(super) fn set_report(&self, report: Report) {
        *lock(&self.report) = report;
    }

    pub(super) fn report(&self) -> Report {
        let report = *lock(&self.report);
        match self.unsettled.load(Ordering::Relaxed) {
            true => Report { state: State::Paused, ..report },
            false => report,
        }
    }

    /// Its store takes no settlement, for this reason.
    pub(super) fn set_unsettled(&self, reason: &str) {
        self.note_error(reason);
        self.unsettled.store(true, Ordering::Relaxed);
    }

    /// It does again.
    pub(super) fn set_settled(&self) {
        self.unsettled.store(false, Ordering::Relaxed);
    }

    pub(super) fn count_delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failed(&self, reason: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.note_error(reason);
    }

    /// Something kept an event from its handler, or the handler from its work.
    pub(super) fn count_undelivered(&self, reason: &str) {
        self.undelivered.fetch_add(1, Ordering::Relaxed);
        self.note_error(reason);
    }

    /// Something is wrong.
    pub(super) fn note_error(&self, reason: &str) {
        *lock(&self.last_error) = Some(reason.to_owned());
    }

    /// What was wrong is no more.
    pub(super) fn forget_error(&self) {
        *lock(&self.last_error) = None;
    }

    /// An event was given up, and is a dead letter where it is `kept`.
    pub(super) fn count_given_up(&self, kept: bool) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
        self.dead.fetch_add(i64::from(kept), Ordering::Relaxed);
    }

    /// A dead letter is gone.
    pub(super) fn count_one_less_dead(&self) {
        self.dead.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn count_missed(&self, events: u64) {
        self.missed.fetch_add(events, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            delivered: self.delivered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            undelivered: self.undelivered.load(Ordering::Relaxed),
            given_up: self.given_up.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            dead: self.dead.load(Ordering::Relaxed).max(0).cast_unsigned(),
        }
    }

    /// Why the last delivery that failed did.
    pub(super) fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }

    /// What was the oldest when it was looked for last.
    pub(super) fn oldest(&self) -> Option<Oldest> {
        *lock(&self.oldest)
    }

    pub(super) fn set_oldest(&self, oldest: Option<Oldest>) {
        *lock(&self.oldest) = oldest;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
