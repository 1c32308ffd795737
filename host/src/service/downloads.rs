//! Answers that are still coming from their guests, as fast as their clients take them. Each
//! holds a permit: where others wait for one, clients that take nothing keep half of them at
//! the most.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio_util::sync::CancellationToken;

use crate::listen::clock::{Ms, NEVER, now};

/// For how long nothing may be taken of one that others wait for.
const PATIENCE_MS: Ms = 1_000;

/// A service's answers that are still coming.
#[derive(Debug, Default)]
pub struct Downloads {
    all: Mutex<Vec<Weak<Taking>>>,
}

/// Whether a client takes its answer.
#[derive(Debug)]
pub struct Taking {
    /// Ends the invocation, as if its client had left.
    leaves: CancellationToken,
    /// Since when there is something that it does not take, if so.
    waits_since: AtomicU64,
}

impl Taking {
    /// Of an answer whose client leaves when `leaves` is cancelled.
    #[must_use]
    pub fn new(leaves: CancellationToken) -> Self {
        Self { leaves, waits_since: AtomicU64::new(now()) }
    }

    /// The client has asked for more; `is_there`: and has got it.
    pub fn asked(&self, is_there: bool) {
        self.waits_since.store(if is_there { now() } else { NEVER }, Ordering::Relaxed);
    }

    fn waits_since(&self) -> Option<Ms> {
        let since = self.waits_since.load(Ordering::Relaxed);
        (since != NEVER && !self.leaves.is_cancelled()).then_some(since)
    }
}

impl Downloads {
    /// One more.
    pub fn add(&self, taking: &Arc<Taking>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|taking| taking.strong_count() > 0);
        all.push(Arc::downgrade(taking));
    }

    /// Ends those that wait longest, where more than `most` of them wait for their clients.
    /// Returns how many.
    pub(super) fn make_room(&self, most: usize) -> usize {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let before = now().saturating_sub(PATIENCE_MS);
        let mut waiting: Vec<_> = all
            .iter()
            .filter_map(|taking| {
                let taking = taking.upgrade()?;
                Some((taking.waits_since().filter(|since| *since <= before)?, taking))
            })
            .collect();
        let too_many = waiting.len().saturating_sub(most);
        waiting.sort_unstable_by_key(|(since, _)| *since);
        for (_, taking) in waiting.iter().take(too_many) {
            taking.leaves.cancel();
        }
        too_many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_wait_longest_make_room_and_half_may_stay() {
        let downloads = Downloads::default();
        let all: Vec<_> = (0..6).map(|_| Arc::new(Taking::new(CancellationToken::new()))).collect();
        for taking in &all {
            downloads.add(taking);
        }
        assert_eq!(downloads.make_room(2), 0, "not yet");
        while now() <= PATIENCE_MS + 10 {
            std::thread::yield_now();
        }
        // As if they had waited since the process began, one longer than the other.
        for (taking, since) in all.iter().zip(1..) {
            taking.waits_since.store(since, Ordering::Relaxed);
        }
        all[0].asked(false);
        all[1].asked(true);
        assert_eq!(downloads.make_room(2), 2);
        let ended: Vec<_> = all.iter().map(|taking| taking.leaves.is_cancelled()).collect();
        assert_eq!(ended, [false, false, true, true, false, false]);
        assert_eq!(downloads.make_room(2), 0, "half stay");
    }
}
