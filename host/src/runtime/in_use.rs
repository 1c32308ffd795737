//! What each service has of what all guests share: instance slots, memory, and what the host
//! holds for it. All of a service's versions and instances count together.
//!
//! The last quarter of each is kept for services that have little, so that no service takes
//! what another's first requests need.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::name::ServiceName;

/// The part of the bytes that is kept.
const KEPT_PART: u64 = 4;

/// The part of the bytes that is little.
const LITTLE_PART: u64 = 16;

/// Who has what.
#[derive(Debug, Default)]
pub(super) struct Services(Mutex<HashMap<ServiceName, Weak<InUse>>>);

/// What one service has.
#[derive(Debug, Default)]
pub(super) struct InUse {
    pub(super) slots: AtomicU32,
    /// Bytes of its instances' linear memories.
    pub(super) memory: AtomicU64,
    /// Bytes that the host holds for it.
    pub(super) held: AtomicI64,
}

impl Services {
    /// What this service has.
    pub(super) fn of(&self, service: &ServiceName) -> Arc<InUse> {
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|_, in_use| in_use.strong_count() > 0);
        let known = services.get(service).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let in_use = Arc::default();
            services.insert(service.clone(), Arc::downgrade(&in_use));
            in_use
        })
    }
}

/// Whether a service with so many bytes, of so many that all have, would have what is kept for
/// others.
pub(super) fn is_kept(its: u64, all: u64, limit: u64) -> bool {
    all > limit - limit / KEPT_PART && its > limit / LITTLE_PART
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_one_whoever_asks_for_it() {
        let services = Services::default();
        let name: ServiceName = "cart".parse().expect("a name");
        let first = services.of(&name);
        assert!(Arc::ptr_eq(&first, &services.of(&name)));
        assert!(!Arc::ptr_eq(&first, &services.of(&"order".parse().expect("a name"))));
    }

    #[test]
    fn the_last_quarter_is_for_those_that_have_little() {
        assert!(!is_kept(75, 75, 100));
        assert!(is_kept(76, 76, 100));
        assert!(is_kept(7, 76, 100));
        assert!(!is_kept(6, 99, 100));
    }
}
