//! How many threads serve.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

/// Threads that serve connections and run guests: one more than may wait for a disk at
/// once, so that a disk that stands still leaves one.
#[must_use]
pub fn serving_threads() -> usize {
    threads_at_a_disk() + 1
}

/// How many of them may be at something that is most likely in memory, and may be on a
/// disk, at once: as many as there are processors.
#[must_use]
pub fn threads_at_a_disk() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get)
}
