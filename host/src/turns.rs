//! One at a time for each service: its deployment, until its version has traffic, and
//! whoever works on its subscriptions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::name::ServiceName;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    by_service: Mutex<HashMap<ServiceName, Arc<tokio::sync::Mutex<()>>>>,
}

/// A turn; the next one's when dropped.
pub(crate) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// Waits for the service's turn.
    pub(crate) async fn take(&self, service: &ServiceName) -> Turn {
        self.of(service).lock_owned().await
    }

    /// The service's turn, if it is nobody's.
    pub(crate) fn try_take(&self, service: &ServiceName) -> Option<Turn> {
        self.of(service).try_lock_owned().ok()
    }

    fn of(&self, service: &ServiceName) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.by_service.lock().unwrap_or_else(PoisonError::into_inner);
        // Names that nobody waits for are not collected.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(service.clone()).or_default())
    }
}
