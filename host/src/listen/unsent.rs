//! Answers that are in memory and whose clients have not taken them.
//!
//! A piece of an answer counts from when it is there until whatever sends it drops it,
//! which it does once the piece is written or its stream was reset. Nobody has to say what
//! happened in between. Where all of a listener's answers are too much, the connections go
//! that would hold theirs for longest, at the rate at which their clients took something lately.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use super::clock::{Ms, NEVER, now};

/// A connection tells the sum when it differs by so much from what it told last.
const TOLD_IN_STEPS_OF: i64 = 16 << 10;

/// Pieces that are smaller are not counted. An HTTP/1 connection has one answer at a time, and
/// one of HTTP/2 many.
const LEAST_OF_HTTP1: usize = 4 << 10;
const LEAST_OF_HTTP2: usize = 256;

/// For about how long it is remembered how much a client took.
const REMEMBERED_MS: Ms = 4_000;

/// What a client that has just begun is believed to have taken, and in what time.
const AT_FIRST: u64 = 16 << 10;
const AT_FIRST_MS: Ms = 250;

/// How many times more one address counts that has all of what there may be.
const OF_ONE_ADDRESS: u128 = 8;

/// What all connections of a listener have.
#[derive(Debug)]
pub(super) struct Unsent {
    limit: i64,
    /// Within [`TOLD_IN_STEPS_OF`] bytes for each connection.
    bytes: AtomicI64,
    is_too_much: Notify,
}

/// What one of them has.
#[derive(Debug, Default)]
pub(super) struct Share {
    of: Arc<Unsent>,
    bytes: AtomicI64,
    /// What is in the sum.
    told: AtomicI64,
    /// Since when it has any, and how much its client took since.
    since: AtomicU64,
    taken: AtomicU64,
    /// Whether what the system takes for anybody was full since then.
    was_full: AtomicBool,
}

/// Bytes that are counted until they are dropped.
struct Counted {
    bytes: Bytes,
    share: Arc<Share>,
}

impl Unsent {
    /// Nothing, and never more than so many bytes for long.
    pub(super) fn new(limit: u64) -> Self {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Self { limit, bytes: AtomicI64::new(0), is_too_much: Notify::new() }
    }

    /// How many bytes they have.
    pub(super) fn bytes(&self) -> i64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// By how much that is too much.
    pub(super) fn excess(&self) -> i64 {
        self.bytes() - self.limit
    }

    /// How soon one with this share goes, whose address has so many bytes: the more the sooner.
    pub(super) fn turn(&self, share: &Share, of_address: i64, now: Ms) -> u128 {
        let limit = u128::from(self.limit.unsigned_abs()).max(1);
        let of_address = u128::from(of_address.max(0).unsigned_abs()).min(limit);
        share.lasts_ms(now) * (limit + OF_ONE_ADDRESS * of_address) / limit
    }

    /// Waits until it is too much.
    pub(super) async fn too_much(&self) {
        self.is_too_much.notified().await;
    }

    fn add(&self, bytes: i64) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit {
            self.is_too_much.notify_one();
        }
    }
}

impl Default for Unsent {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl Share {
    /// A connection's part of these.
    pub(super) fn new(of: &Arc<Unsent>) -> Self {
        Self {
            of: Arc::clone(of),
            bytes: AtomicI64::new(0),
            told: AtomicI64::new(0),
            since: AtomicU64::new(NEVER),
            taken: AtomicU64::new(0),
            was_full: AtomicBool::new(false),
        }
    }

    pub(super) fn bytes(&self) -> i64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// In how many ms its client will have taken what is here, if it goes on as it did.
    fn lasts_ms(&self, now: Ms) -> u128 {
        let since = self.since.load(Ordering::Relaxed);
        let waited = if since == NEVER { 0 } else { now.saturating_sub(since) };
        let taken = self.taken.load(Ordering::Relaxed) + AT_FIRST;
        let bytes = u128::from(self.bytes().max(0).unsigned_abs());
        bytes * u128::from(waited + AT_FIRST_MS) / u128::from(taken)
    }

    /// There is no room for more. What the system took until then was not its client's doing.
    pub(super) fn is_full(&self) {
        if !self.was_full.swap(true, Ordering::Relaxed) {
            self.taken.store(0, Ordering::Relaxed);
        }
    }

    /// So much of it, and of what is around it, was taken.
    pub(super) fn takes(&self, bytes: usize) {
        if self.bytes() == 0 {
            return;
        }
        let mut taken = self.taken.load(Ordering::Relaxed) + bytes as u64;
        let since = self.since.load(Ordering::Relaxed);
        let waited = now().saturating_sub(since);
        // The rate stays what it is, and counts for less than what comes next.
        if since != NEVER && waited > REMEMBERED_MS {
            taken /= 2;
            self.since.store(since + waited / 2, Ordering::Relaxed);
        }
        self.taken.store(taken, Ordering::Relaxed);
    }

    /// So much more waits for it.
    pub(super) fn add(&self, bytes: usize) {
        let more = signed(bytes);
        if self.bytes.fetch_add(more, Ordering::Relaxed) == 0 {
            self.since.store(now(), Ordering::Relaxed);
            self.taken.store(0, Ordering::Relaxed);
            self.was_full.store(false, Ordering::Relaxed);
        }
        self.tell();
    }

    /// So much less.
    pub(super) fn subtract(&self, bytes: usize) {
        self.bytes.fetch_sub(signed(bytes), Ordering::Relaxed);
        self.tell();
    }

    fn tell(&self) {
        let (bytes, told) = (self.bytes(), self.told.load(Ordering::Relaxed));
        if (bytes - told).abs() < TOLD_IN_STEPS_OF {
            return;
        }
        // Another that comes between has told what it saw.
        let tells = self.told.compare_exchange(told, bytes, Ordering::Relaxed, Ordering::Relaxed);
        if tells.is_ok() {
            self.of.add(bytes - told);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.add(-*self.told.get_mut());
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.share.subtract(self.bytes.len());
    }
}

/// Whether so many bytes count.
pub(super) fn counts(bytes: usize, is_http2: bool) -> bool {
    bytes >= if is_http2 { LEAST_OF_HTTP2 } else { LEAST_OF_HTTP1 }
}

/// The same bytes, which count until nobody has them any more.
pub(super) fn counted(bytes: Bytes, share: &Arc<Share>) -> Bytes {
    share.add(bytes.len());
    Bytes::from_owner(Counted { bytes, share: Arc::clone(share) })
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_most_and_takes_least_goes_first() {
        let all = Arc::new(Unsent::new(256 << 20));
        let (long_ago, now) = (1, 5_000);
        let holds = |bytes, since, takes: &[usize]| {
            let share = Share::new(&all);
            share.add(bytes);
            share.since.store(since, Ordering::Relaxed);
            takes.iter().for_each(|bytes| share.takes(*bytes));
            share
        };
        let turn = |share: &Share, of_address| all.turn(share, of_address, now);
        let takes = turn(&holds(900 << 10, long_ago, &[64 << 10; 8]), 900 << 10);
        let comes = turn(&holds(1 << 20, now, &[]), 1 << 20);
        let takes_nothing = holds(1 << 20, long_ago, &[200 << 10]);
        takes_nothing.is_full();
        let takes_nothing = turn(&takes_nothing, 1 << 20);
        assert!(takes < comes && comes < takes_nothing, "{takes}, {comes}, {takes_nothing}");
        let small = holds(100 << 10, long_ago, &[]);
        let (alone, of_many) = (turn(&small, 100 << 10), turn(&small, 200 << 20));
        assert!(takes < alone && alone < takes_nothing, "{takes}, {alone}, {takes_nothing}");
        assert!(of_many > 5 * alone, "{of_many}, {alone}: an address has a share");
    }

    #[tokio::test]
    async fn bytes_count_until_they_are_dropped_and_too_much_is_told() {
        let all = Arc::new(Unsent::new(100 << 10));
        let (one, other) = (Arc::new(Share::new(&all)), Arc::new(Share::new(&all)));
        let mut first = counted(Bytes::from(vec![7; 64 << 10]), &one);
        let part = first.split_to(10);
        assert_eq!((all.bytes(), all.excess()), (64 << 10, -(36 << 10)));
        let second = counted(Bytes::from(vec![7; 64 << 10]), &other);
        all.too_much().await;
        assert_eq!(all.excess(), 28 << 10);
        drop(second);
        drop(first);
        assert_eq!((one.bytes(), other.bytes(), all.bytes()), (64 << 10, 0, 64 << 10));
        drop(part);
        assert_eq!(all.bytes(), 0);
        one.add(20 << 10);
        drop(one);
        assert_eq!(all.bytes(), 0);
    }
}
