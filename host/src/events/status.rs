//! How a subscription stands, for the operator.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a subscription does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It delivers what comes.
    Running,
    /// Deliveries failed in a row: it makes a pause and then tries one.
    Paused,
    /// As many events are held as may: it reads no further.
    Full,
}

/// A subscription's counters. They begin anew with the process.
#[derive(Debug, Default)]
pub(super) struct Status {
    state: AtomicU8,
    scanned: AtomicU64,
    window: AtomicUsize,
    held: AtomicUsize,
    delivered: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    missed: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// What the counters say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// What it does.
    pub state: State,
    /// Everything up to here was read off the bus.
    pub scanned: u64,
    /// Events that are read and neither finished nor held.
    pub window: usize,
    /// Events that wait for another attempt, or for one of their key.
    pub held: usize,
    /// Deliveries that ended well, since the start.
    pub delivered: u64,
    /// Deliveries that failed.
    pub failed: u64,
    /// Events that were given up.
    pub dead: u64,
    /// Events that the bus no longer had.
    pub missed: u64,
    /// Why the last delivery that failed did.
    pub last_error: Option<String>,
}

impl State {
    const ALL: [Self; 3] = [Self::Running, Self::Paused, Self::Full];

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
    pub(super) fn report(&self, state: State, scanned: u64, window: usize, held: usize) {
        self.state.store(state as u8, Ordering::Relaxed);
        self.scanned.store(scanned, Ordering::Relaxed);
        self.window.store(window, Ordering::Relaxed);
        self.held.store(held, Ordering::Relaxed);
    }

    pub(super) fn count_delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failed(&self, reason: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    pub(super) fn count_dead(&self) {
        self.dead.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_missed(&self, events: u64) {
        self.missed.fetch_add(events, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        let state = usize::from(self.state.load(Ordering::Relaxed));
        Counts {
            state: State::ALL[state],
            scanned: self.scanned.load(Ordering::Relaxed),
            window: self.window.load(Ordering::Relaxed),
            held: self.held.load(Ordering::Relaxed),
            delivered: self.delivered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dead: self.dead.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
