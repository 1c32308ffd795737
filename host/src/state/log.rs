//! How long a store's write-ahead log becomes.
//!
//! SQLite begins the log anew at a moment at which all of it is in the file and nobody reads
//! from it. Transactions that keep reading while others write, one always beginning before
//! the last has ended, leave no such moment, and the log would take the whole disk. So where
//! it is long, new readers wait a while for those that are there; and where one of those goes
//! on for longer than that, what would make the log too long is refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long new readers wait at the most, well within their deadline, and how long they need not
/// wait afterwards, where that was in vain: some reader stays.
const TRY: Shutting = Shutting { shut: Duration::from_secs(1), rest: Duration::from_secs(10) };

/// The same where the log is three quarters of what it may be: a little longer than the default of
/// a deadline, as writes would be refused soon.
const LAST_TRY: Shutting = Shutting { shut: Duration::from_secs(6), rest: Duration::from_secs(60) };

/// Of the log's bound, the part from which on it is long.
const LONG: u64 = 4;

/// How many quarters of it from which on writes would be refused soon.
const QUARTERS_OF_LAST_TRY: u64 = 3;

/// Bytes of a page in the log.
const PAGE_BYTES: u64 = 4_096 + 24;

/// How long new readers are shut out.
struct Shutting {
    shut: Duration,
    rest: Duration,
}

/// Until when they are, and when they may be again.
#[derive(Clone, Copy, Debug)]
struct Shut {
    until: Instant,
    again: Instant,
}

/// Whether a store's log is long, and who waits for its end.
#[derive(Debug, Default)]
pub(super) struct Log {
    is_long: AtomicBool,
    /// Whether it was said that it has as much as it may.
    told_full: AtomicBool,
    shut: Mutex<Option<Shut>>,
    /// Nobody need wait any longer.
    opened: Notify,
}

impl Log {
    /// Whether so many pages are a long log, where there may be `max` bytes.
    pub(super) fn is_long_with(pages: u32, max: u64) -> bool {
        Self::is_above(pages, max / LONG)
    }

    /// Whether so many pages are more than `bytes`.
    pub(super) fn is_above(pages: u32, bytes: u64) -> bool {
        u64::from(pages) * PAGE_BYTES > bytes
    }

    /// Notes that it has so many pages, where there may be `max` bytes, and cannot be begun anew.
    pub(super) fn note_long(&self, now: Instant, pages: u32, max: u64) {
        let is_last = Self::is_above(pages, max / 4 * QUARTERS_OF_LAST_TRY);
        let Shutting { shut, rest } = if is_last { LAST_TRY } else { TRY };
        let mut before = self.lock();
        if before.is_none_or(|before| now >= before.again) {
            *before = Some(Shut { until: now + shut, again: now + shut + rest });
        }
        self.is_long.store(true, Ordering::Release);
    }

    /// Notes that it cannot be begun anew although nobody of this host reads: somebody does from
    /// outside, whom nobody waits for.
    pub(super) fn note_held(&self, now: Instant) {
        if let Some(shut) = &mut *self.lock() {
            shut.until = now;
        }
        self.opened.notify_waiters();
    }

    /// Notes that writes are refused for it. Whether that is to be said: it is said once, until
    /// the log is short again.
    pub(super) fn note_full(&self) -> bool {
        !self.told_full.swap(true, Ordering::Relaxed)
    }

    /// Notes that it was begun anew, or that it never was long. Whether it was said that
    /// writes are refused, and they no longer are.
    pub(super) fn note_short(&self) -> bool {
        if self.is_long() {
            self.is_long.store(false, Ordering::Release);
            *self.lock() = None;
            self.opened.notify_waiters();
        }
        self.told_full.load(Ordering::Relaxed) && self.told_full.swap(false, Ordering::Relaxed)
    }

    pub(super) fn is_long(&self) -> bool {
        self.is_long.load(Ordering::Acquire)
    }

    /// Whether readers wait until it is begun anew.
    pub(super) fn is_shut(&self, now: Instant) -> bool {
        self.is_long() && self.lock().is_some_and(|shut| shut.until > now)
    }

    /// Before a reader begins: waits, where the log is long, for those that read.
    pub(super) async fn readers_turn(&self) {
        while self.is_long() {
            let opened = self.opened.notified();
            let now = Instant::now();
            let Some(shut) = self.lock().filter(|shut| shut.until > now) else { return };
            tokio::select! {
                () = opened => {}
                () = tokio::time::sleep_until(shut.until.into()) => {}
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Shut>> {
        self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_told_of_when_that_begins_and_when_it_ends() {
        let log = Log::default();
        for _ in 0..2 {
            assert!(!log.note_short(), "nothing was said");
            log.note_long(Instant::now(), 100, 4 * PAGE_BYTES);
            assert_eq!((log.note_full(), log.note_full(), log.note_full()), (true, false, false));
            assert!(log.note_short() && !log.is_long());
        }
    }
}
