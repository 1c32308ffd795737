//! Whether a point read goes on where it is asked for, on a thread that serves.
//!
//! Most take some microseconds, less than a hop to another thread and back. One whose page
//! is on a disk that takes its time would hold up everyone whom that thread serves. That
//! cannot be known before. So after one that waited for a disk a store's reads are done
//! elsewhere for a while, and never do all threads that serve read at once: a disk that stands
//! still leaves one of them. On a busy machine one that only had to give its processor to
//! others takes as long, so the system is asked which it was.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::processors;

/// A read that takes longer may not have been from memory.
const LONG: Duration = Duration::from_millis(1);

/// One that takes longer was not, whatever the system says: it does not know of all disks.
const TOO_LONG: Duration = Duration::from_millis(50);

/// For how long reads are done elsewhere then.
const AFTER_A_LONG_ONE: Duration = Duration::from_secs(1);

/// The host's threads that serve, but for one. There are so many that all processors can
/// read at once.
static PLACES: LazyLock<Places> =
    LazyLock::new(|| Places { most: processors::threads_at_a_disk(), taken: AtomicUsize::new(0) });

thread_local! {
    /// Bytes that this thread had from disks when it was asked last, before its first read here at
    /// the latest.
    static FROM_DISKS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// How many read at once.
struct Places {
    most: usize,
    taken: AtomicUsize,
}

/// A store's reads on threads that serve.
pub(super) struct Inline {
    places: &'static Places,
    began: Instant,
    /// Until when reads are done elsewhere, in ms since `began`.
    until_ms: AtomicU64,
}

/// A read that is under way.
struct Reading<'a> {
    inline: &'a Inline,
    began: Instant,
}

impl Default for Inline {
    fn default() -> Self {
        Self::with(&PLACES)
    }
}

impl Inline {
    fn with(places: &'static Places) -> Self {
        Self { places, began: Instant::now(), until_ms: AtomicU64::default() }
    }

    /// Reads here, where there is no reason against it.
    pub(super) fn read<R>(&self, read: impl FnOnce() -> R) -> Option<R> {
        let _reading = self.begin()?;
        Some(read())
    }

    fn begin(&self) -> Option<Reading<'_>> {
        if FROM_DISKS.get().is_none() {
            had_from_disks();
        }
        let began = Instant::now();
        let until_ms = self.until_ms.load(Ordering::Relaxed);
        // Most never waited for a disk.
        if until_ms > 0 && self.ms(began) < until_ms {
            return None;
        }
        if self.places.taken.fetch_add(1, Ordering::Relaxed) >= self.places.most {
            self.places.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Reading { inline: self, began })
    }

    fn ms(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.began);
        if took > LONG && (took > TOO_LONG || had_from_disks()) {
            let until = self.inline.ms(now + AFTER_A_LONG_ONE);
            self.inline.until_ms.store(until, Ordering::Relaxed);
        }
        self.inline.places.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether this thread had anything from a disk since this was asked last.
fn had_from_disks() -> bool {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
    let bytes = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")?.parse().ok());
    let bytes = bytes.unwrap_or_default();
    FROM_DISKS.replace(Some(bytes)) != Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_all_threads_read_at_once_and_after_a_long_one_nobody_does() {
        static TWO: Places = Places { most: 2, taken: AtomicUsize::new(0) };
        let (cart, order) = (Inline::with(&TWO), Inline::with(&TWO));
        let first = cart.begin().expect("a place");
        let mut long = order.begin().expect("a place");
        assert!(cart.begin().is_none() && order.begin().is_none());
        long.began -= 2 * TOO_LONG;
        drop((first, long));
        assert!(order.begin().is_none());
        assert_eq!(cart.read(|| 1), Some(1));
        order.until_ms.store(0, Ordering::Relaxed);
        assert_eq!(order.read(|| 2), Some(2));

        // One that waited for a processor, whatever its thread had from disks before.
        let mut long = order.begin().expect("a place");
        long.began -= 2 * LONG;
        drop(long);
        assert_eq!(order.read(|| 3), Some(3));
    }
}
