//! Answers that are still coming from their guests, as fast as their clients take them. Most are
//! streams; the others hold permits: where others wait for one, clients that take nothing keep
//! half of them at the most. So it is with the places of streams.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::listen::State;
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
    /// When something of it went to the client last.
    moved: AtomicU64,
    /// Its place among the streams, and who waits for it to have one.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    is_stream: AtomicBool,
    /// Whether there was none for it.
    has_no_place: AtomicBool,
    became_stream: Notify,
    /// The client's connection, where that can say whether it takes anything.
    connection: OnceLock<Arc<State>>,
}

impl Taking {
    /// Of an answer whose client leaves when `leaves` is cancelled.
    #[must_use]
    pub fn new(leaves: CancellationToken) -> Self {
        let now = now();
        Self {
            leaves,
            waits_since: AtomicU64::new(now),
            moved: AtomicU64::new(now),
            place: Mutex::default(),
            is_stream: AtomicBool::new(false),
            has_no_place: AtomicBool::new(false),
            became_stream: Notify::new(),
            connection: OnceLock::new(),
        }
    }

    /// The client has asked for more; `is_there`: and has got it.
    pub fn asked(&self, is_there: bool) {
        if is_there {
            self.moved.store(now(), Ordering::Relaxed);
        }
        self.waits_since.store(if is_there { now() } else { NEVER }, Ordering::Relaxed);
    }

    /// Resolves when it is ended for others.
    pub async fn left(&self) {
        self.leaves.cancelled().await;
    }

    /// It goes out on this connection.
    pub fn goes_to(&self, connection: &Arc<State>) {
        _ = self.connection.set(Arc::clone(connection));
    }

    /// It is a stream from here on.
    pub(super) fn becomes_stream(&self, place: OwnedSemaphorePermit) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        self.is_stream.store(true, Ordering::Relaxed);
        self.became_stream.notify_one();
    }

    /// It would have been one, and there are as many as may be.
    pub(super) fn finds_no_place(&self) {
        self.has_no_place.store(true, Ordering::Relaxed);
    }

    /// Whether that is so.
    #[must_use]
    pub fn has_no_place(&self) -> bool {
        self.has_no_place.load(Ordering::Relaxed)
    }

    /// Whether it is one.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.is_stream.load(Ordering::Relaxed)
    }

    /// Its guest has ended: another may have its place, whatever its client still takes.
    pub(crate) fn leaves_place(&self) {
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Resolves once, when it becomes one.
    pub async fn becoming_stream(&self) {
        self.became_stream.notified().await;
    }

    /// Whether it is the client that is waited for.
    #[must_use]
    pub fn waits_for_client(&self) -> bool {
        self.waits_since().is_some()
    }

    /// Since when nothing of it was made or taken. What a connection of HTTP/1.1 was given takes
    /// its time there, so that says whether it moves.
    #[must_use]
    pub(crate) fn idle_since(&self) -> Ms {
        let connection = self.connection.get().filter(|_| self.waits_for_client());
        match connection.and_then(|connection| connection.takes_since()) {
            Some(since) => since,
            None => self.moved.load(Ordering::Relaxed),
        }
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

    /// Ends those with a permit that wait longest, where more than `most` of them wait for their
    /// clients. Returns how many.
    pub(super) fn make_room(&self, most: usize) -> usize {
        self.make_room_of(most, false)
    }

    /// The same of streams.
    pub(super) fn make_room_among_streams(&self, most: usize) -> usize {
        self.make_room_of(most, true)
    }

    fn make_room_of(&self, most: usize, streams: bool) -> usize {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let before = now().saturating_sub(PATIENCE_MS);
        let mut waiting: Vec<_> = all
            .iter()
            .filter_map(|taking| {
                let taking = taking.upgrade().filter(|taking| taking.is_stream() == streams)?;
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
