//! Leases: how a version knows that nobody runs on it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::Version;

/// A request's hold on a version. While one lives, the version's code and
/// memory stay.
#[derive(Debug)]
pub struct Lease {
    version: Arc<Version>,
}

/// Counts a version's leases; the top bit says that it is retired.
#[derive(Debug, Default)]
pub(super) struct LeaseCount {
    state: AtomicU64,
    drained: Notify,
}

const RETIRED: u64 = 1 << 63;

impl Lease {
    /// Takes a lease, or `None` when the version is retired: the caller then
    /// looks at the newest snapshot again.
    pub(super) fn take(version: &Arc<Version>) -> Option<Self> {
        version.leases.enter().then(|| Self { version: Arc::clone(version) })
    }

    /// Another on the same version, also where it is retired: it is not drained while this
    /// one lives.
    #[must_use]
    pub fn another(&self) -> Self {
        self.version.leases.enter_again();
        Self { version: Arc::clone(&self.version) }
    }

    /// The version that is held.
    #[must_use]
    pub fn version(&self) -> &Arc<Version> {
        &self.version
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.version.leases.leave();
    }
}

impl LeaseCount {
    /// Counts one more beside one that is counted.
    fn enter_again(&self) {
        self.state.fetch_add(1, Ordering::AcqRel);
    }

    fn enter(&self) -> bool {
        // Counting first and looking at the bit in the same operation leaves no
        // moment in which a version is drained and a new lease on it is given.
        let before = self.state.fetch_add(1, Ordering::AcqRel);
        if before & RETIRED != 0 {
            self.leave();
            return false;
        }
        true
    }

    fn leave(&self) {
        let before = self.state.fetch_sub(1, Ordering::AcqRel);
        if before == RETIRED | 1 {
            self.drained.notify_waiters();
        }
    }

    /// No new leases from here on.
    pub(super) fn retire(&self) {
        self.state.fetch_or(RETIRED, Ordering::AcqRel);
    }

    /// How many leases there are.
    pub(super) fn count(&self) -> u64 {
        self.state.load(Ordering::Acquire) & !RETIRED
    }

    /// Resolves when the version is retired and its last lease is gone.
    pub(super) async fn drained(&self) {
        loop {
            // Registered before the count is read, so that a lease that ends in
            // between is not missed.
            let mut notified = std::pin::pin!(self.drained.notified());
            notified.as_mut().enable();
            if self.state.load(Ordering::Acquire) == RETIRED {
                return;
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_retired_version_gives_no_lease_and_drains_when_the_last_is_gone() {
        let leases = Arc::new(LeaseCount::default());
        assert!(leases.enter());
        assert!(leases.enter());
        leases.retire();
        assert!(!leases.enter());
        assert_eq!(leases.count(), 2);
        let waiting = tokio::spawn({
            let leases = Arc::clone(&leases);
            async move { leases.drained().await }
        });
        leases.leave();
        assert!(!waiting.is_finished());
        leases.leave();
        waiting.await.expect("the drain ends");
    }
}
