//! What an invocation may take of a processor, in its guest and in its SQL together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// An invocation's time on a processor. Clones are the same; one without an end counts nothing.
#[derive(Clone, Debug, Default)]
pub struct Budget(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    limit: Duration,
    /// Nanoseconds that it took itself.
    guest: AtomicU64,
    /// Nanoseconds that its SQL took.
    sql: AtomicU64,
    over: AtomicBool,
}

impl Budget {
    /// A budget that nothing was taken of.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        let zero = || AtomicU64::new(0);
        let over = AtomicBool::new(false);
        Self(Some(Arc::new(Shared { limit, guest: zero(), sql: zero(), over })))
    }

    /// Counts what the guest took.
    pub fn take(&self, time: Duration) {
        if let Some(shared) = &self.0 {
            shared.guest.fetch_add(nanos(time), Ordering::Relaxed);
        }
    }

    /// Counts what its SQL took.
    pub(super) fn take_sql(&self, time: Duration) {
        if let Some(shared) = &self.0 {
            shared.sql.fetch_add(nanos(time), Ordering::Relaxed);
        }
    }

    /// What its SQL took so far.
    #[must_use]
    pub fn sql(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |shared| shared.sql())
    }

    /// Whether more was taken than there was.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.left().is_none()
    }

    /// What is left of it; `None` where more was taken.
    pub(super) fn left(&self) -> Option<Duration> {
        let Some(shared) = &self.0 else { return Some(Duration::MAX) };
        let guest = Duration::from_nanos(shared.guest.load(Ordering::Relaxed));
        shared.limit.checked_sub(guest + shared.sql())
    }

    /// The limit.
    pub(super) fn limit(&self) -> Duration {
        self.0.as_ref().map_or(Duration::MAX, |shared| shared.limit)
    }

    /// The invocation is over: what still runs of it ends.
    pub fn end(&self) {
        if let Some(shared) = &self.0 {
            shared.over.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.over.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn sql(&self) -> Duration {
        Duration::from_nanos(self.sql.load(Ordering::Relaxed))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
