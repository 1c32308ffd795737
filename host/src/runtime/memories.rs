//! Linear memory: what all instances have of it together, and one instance's share.
//!
//! Each has its own limit, `[limits] memory`, in a manifest that a team writes. Many of them at
//! that limit would be more than the machine has, and the kernel would end the host. So there is
//! one bound of all, the operator's. Who wants more beyond it is ended; those that have little
//! are not: it is not they who took it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An instance with no more than this may have it whatever the others have.
const SMALL: u64 = 2 << 20;

/// All instances' linear memory.
#[derive(Debug)]
pub(super) struct Memories {
    bytes: AtomicU64,
    limit: u64,
}

/// One instance's.
#[derive(Debug)]
pub(super) struct Share {
    memories: Arc<Memories>,
    bytes: u64,
}

/// All guests would have more memory than they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "guests have {all} bytes of memory and {its} of them are this one's; there are {limit} for all \
     together (guest-memory)"
)]
pub(super) struct NoMemory {
    all: u64,
    its: u64,
    limit: u64,
}

impl Memories {
    /// None yet, and never more than so many bytes.
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0), limit })
    }

    /// How many bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The share of an instance that has none yet.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { memories: Arc::clone(self), bytes: 0 }
    }
}

impl Share {
    /// Takes so much more.
    pub(super) fn grow(&mut self, more: u64) -> Result<(), NoMemory> {
        let all = self.memories.bytes.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        let (its, limit) = (self.bytes.saturating_add(more), self.memories.limit);
        if all > limit && its > SMALL {
            self.memories.bytes.fetch_sub(more, Ordering::Relaxed);
            return Err(NoMemory { all, its, limit });
        }
        self.bytes = its;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memories.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_bound_is_refused_and_what_is_given_back_counts_no_longer() {
        let memories = Memories::new(10 * SMALL);
        let (mut large, mut other) = (memories.share(), memories.share());
        large.grow(9 * SMALL).expect("there is room");
        let refused = other.grow(2 * SMALL).expect_err("there is none");
        let (all, its, limit) = (11 * SMALL, 2 * SMALL, 10 * SMALL);
        assert_eq!(refused, NoMemory { all, its, limit });
        assert_eq!(memories.bytes(), 9 * SMALL);
        drop(large);
        other.grow(2 * SMALL).expect("there is room again");
        drop(other);
        assert_eq!(memories.bytes(), 0);
    }

    #[test]
    fn who_has_little_may_have_it() {
        let memories = Memories::new(SMALL);
        let (mut large, mut small) = (memories.share(), memories.share());
        large.grow(SMALL).expect("there is room");
        small.grow(SMALL).expect("it is little");
        small.grow(1).expect_err("it is more");
    }
}
