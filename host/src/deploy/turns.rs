//! One deployment of a service at a time, until its version has traffic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::service::ServiceName;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns {
    by_service: Mutex<HashMap<ServiceName, Arc<tokio::sync::Mutex<()>>>>,
}

/// A deployment's turn; the next one's when dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// Waits for the service's turn.
    pub(super) async fn take(&self, service: &ServiceName) -> Turn {
        self.of(service).lock_owned().await
    }

    /// The service's turn, if it is nobody's.
    pub(super) fn try_take(&self, service: &ServiceName) -> Option<Turn> {
        self.of(service).try_lock_owned().ok()
    }

    fn of(&self, service: &ServiceName) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.by_service.lock().unwrap_or_else(PoisonError::into_inner);
        // Names that nobody waits for are not collected.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(service.clone()).or_default())
    }
}
