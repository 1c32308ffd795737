//! Linear memory: what all instances have of it together, and one instance's share.
//!
//! Each has its own limit, `[limits] memory`, in a manifest that a team writes. Many of them at
//! that limit would be more than the machine has, and the kernel would end the host. So there is
//! one bound of all, the operator's. Who wants more beyond it is ended; those that have little
//! are not: it is not they who took it. The last quarter is for services that have little. What
//! idle instances have is given up for whoever would be refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::account::outside;
use super::in_use::{InUse, is_kept};
use super::pool::Pool;
use super::pools::Pools;

/// All instances' linear memory.
#[derive(Debug)]
pub(super) struct Memories {
    bytes: AtomicU64,
    limit: u64,
    /// An instance with no more than this may have it whatever the others have.
    small: u64,
    pools: Arc<Pools>,
}

/// One instance's.
#[derive(Debug)]
pub(super) struct Share {
    memories: Arc<Memories>,
    service: Arc<InUse>,
    bytes: u64,
}

/// All guests would have more memory than they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "guests have {all} bytes of memory, {services} of them are its service's and {its} its own; \
     there are {limit} for all together, and the last quarter is for services that have little \
     (guest-memory)"
)]
pub(crate) struct NoMemory {
    all: u64,
    services: u64,
    its: u64,
    limit: u64,
}

impl Memories {
    /// None yet, and never more than so many bytes, but for instances that have little.
    pub(super) fn new(limit: u64, small: u64, pools: &Arc<Pools>) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0), limit, small, pools: Arc::clone(pools) })
    }

    /// How many bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The share of an instance of this service that has none yet.
    pub(super) fn share(self: &Arc<Self>, service: &Arc<InUse>) -> Share {
        Share { memories: Arc::clone(self), service: Arc::clone(service), bytes: 0 }
    }
}

impl Share {
    /// How many bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes so much more; frees idle instances where it would be refused.
    pub(super) fn grow(&mut self, more: u64) -> Result<(), NoMemory> {
        self.try_grow(more).or_else(|refused| self.grow_for_idle(more, refused))
    }

    /// Has idle instances go, of the service that has most first, until it fits. None goes where
    /// all of them would not do.
    #[cold]
    fn grow_for_idle(&mut self, more: u64, mut refused: NoMemory) -> Result<(), NoMemory> {
        // What they held is not what the guest gives back that grows here.
        outside(|| {
            let pools = self.memories.pools.all();
            let (mut all, mut services) = (refused.all, refused.services);
            for pool in &pools {
                let idle = pool.idle_memory();
                all = all.saturating_sub(idle);
                if Arc::ptr_eq(pool.in_use(), &self.service) {
                    services = services.saturating_sub(idle);
                }
            }
            if is_refused(services, all, refused.limit) {
                return Err(refused);
            }
            let has = |pool: &&Pool| pool.in_use().memory.load(Ordering::Relaxed);
            while let Some(pool) = pools.iter().filter(|pool| pool.idle_count() > 0).max_by_key(has)
            {
                pool.free_oldest_idle();
                match self.try_grow(more) {
                    Ok(()) => return Ok(()),
                    Err(again) => refused = again,
                }
            }
            Err(refused)
        })
    }

    fn try_grow(&mut self, more: u64) -> Result<(), NoMemory> {
        let add = |bytes: &AtomicU64| bytes.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        let (all, services) = (add(&self.memories.bytes), add(&self.service.memory));
        let (its, limit) = (self.bytes.saturating_add(more), self.memories.limit);
        if its > self.memories.small && is_refused(services, all, limit) {
            self.give_back(more);
            return Err(NoMemory { all, services, its, limit });
        }
        self.bytes = its;
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.memories.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.service.memory.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn is_refused(services: u64, all: u64, limit: u64) -> bool {
    all > limit || is_kept(services, all, limit)
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: u64 = 2 << 20;

    fn service() -> Arc<InUse> {
        Arc::default()
    }

    #[test]
    fn what_is_beyond_the_bound_is_refused_and_what_is_given_back_counts_no_longer() {
        let memories = Memories::new(32 * SMALL, SMALL, &Arc::default());
        let (mut large, mut other) = (memories.share(&service()), memories.share(&service()));
        large.grow(24 * SMALL).expect("there is room");
        let refused = other.grow(9 * SMALL).expect_err("there is none");
        let (all, services, its, limit) = (33 * SMALL, 9 * SMALL, 9 * SMALL, 32 * SMALL);
        assert_eq!(refused, NoMemory { all, services, its, limit });
        assert_eq!(memories.bytes(), 24 * SMALL);
        drop(large);
        other.grow(9 * SMALL).expect("there is room again");
        drop(other);
        assert_eq!(memories.bytes(), 0);
    }

    #[test]
    fn who_has_little_may_have_it() {
        let memories = Memories::new(SMALL, SMALL, &Arc::default());
        let (mut large, mut small) = (memories.share(&service()), memories.share(&service()));
        large.grow(SMALL).expect("there is room");
        small.grow(SMALL).expect("it is little");
        small.grow(1).expect_err("it is more");
    }

    #[test]
    fn no_service_has_the_last_quarter_by_however_many_instances() {
        let memories = Memories::new(64 * SMALL, SMALL, &Arc::default());
        let (greedy, modest) = (service(), service());
        let mut shares: Vec<Share> = Vec::new();
        loop {
            let mut share = memories.share(&greedy);
            if share.grow(2 * SMALL).is_err() {
                break;
            }
            shares.push(share);
        }
        assert_eq!(memories.bytes(), 48 * SMALL);
        let mut other = memories.share(&modest);
        other.grow(4 * SMALL).expect("it is kept for it");
        other.grow(1).expect_err("it has no longer little");
        shares.pop();
        shares.pop();
        shares.pop();
        memories.share(&greedy).grow(2 * SMALL).expect("there is room again");
    }
}
