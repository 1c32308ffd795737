//! Answers that are in memory and whose clients have not taken them.
//!
//! A piece of an answer counts from when it is there until whatever sends it drops it,
//! which it does once the piece is written or its stream was reset. Nobody has to say what
//! happened in between. Where all of a listener's answers are too much, the connections go
//! that have taken nothing for longest.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use super::clock::{Ms, NEVER, now};

/// A connection tells the sum when it differs by so much from what it told last.
const TOLD_IN_STEPS_OF: i64 = 16 << 10;

/// Pieces that are smaller are not counted. An HTTP/1 connection has one answer at a time, and
/// one of HTTP/2 many.
const LEAST_OF_HTTP1: usize = 4 << 10;
const LEAST_OF_HTTP2: usize = 256;

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
    /// When its client took something last, or it had nothing before.
    moved: AtomicU64,
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
        let moved = AtomicU64::new(NEVER);
        Self { of: Arc::clone(of), bytes: AtomicI64::new(0), told: AtomicI64::new(0), moved }
    }

    pub(super) fn bytes(&self) -> i64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When its client took something last.
    pub(super) fn moved(&self) -> Ms {
        self.moved.load(Ordering::Relaxed)
    }

    /// So much more waits for it.
    pub(super) fn add(&self, bytes: usize) {
        let more = signed(bytes);
        if self.bytes.fetch_add(more, Ordering::Relaxed) == 0 {
            self.moved.store(now(), Ordering::Relaxed);
        }
        self.tell();
    }

    /// So much less.
    pub(super) fn subtract(&self, bytes: usize) {
        self.bytes.fetch_sub(signed(bytes), Ordering::Relaxed);
        self.moved.store(now(), Ordering::Relaxed);
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
