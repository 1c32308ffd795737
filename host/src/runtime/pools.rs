//! All versions' pools: whose idle instances go where another needs what they hold.

use std::sync::{Mutex, PoisonError};

use super::pool::{Pool, WeakPool};

/// The pools that there are, and some that are gone.
#[derive(Debug, Default)]
pub(super) struct Pools(Mutex<Vec<WeakPool>>);

impl Pools {
    pub(super) fn register(&self, pool: WeakPool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(pool);
    }

    /// Those that still exist; forgets those that don't.
    pub(super) fn all(&self) -> Vec<Pool> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(WeakPool::exists);
        pools.iter().filter_map(WeakPool::upgrade).collect()
    }
}
