//! The open stores: one per service, shared by all its versions, also by those
//! that still drain while the service is deployed anew.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::events::Events;
use crate::service::ServiceName;
use crate::state::{Store, StoreOptions};

/// The open stores.
#[derive(Debug)]
pub(super) struct Stores {
    folder: PathBuf,
    options: StoreOptions,
    events: Events,
    slots: Mutex<HashMap<ServiceName, Arc<Slot>>>,
}

/// Where a service's store is while it is open. Held while it is opened or closed, since
/// a file must not be open twice: closing it waits for what is under way, and no
/// other service does.
type Slot = tokio::sync::Mutex<Option<Arc<Store>>>;

impl Stores {
    pub(super) fn new(folder: PathBuf, options: StoreOptions, events: Events) -> Self {
        Self { folder, options, events, slots: Mutex::default() }
    }

    /// The service's store. Its file is opened at first use.
    pub(super) async fn of(&self, service: &ServiceName) -> Arc<Store> {
        let slot = self.slot(service);
        let mut open = slot.lock().await;
        if let Some(store) = &*open {
            return Arc::clone(store);
        }
        let path = self.folder.join(format!("{service}.db"));
        let store = Store::new(path, service.as_str(), self.options.clone());
        self.events.attach(service, &store).await;
        *open = Some(Arc::clone(&store));
        store
    }

    /// Closes the service's store if `is_unused` still says so when nobody can
    /// come to use it in between.
    pub(super) async fn close_unused(
        &self,
        service: &ServiceName,
        is_unused: impl FnOnce() -> bool,
    ) {
        let slot = self.slot(service);
        let mut open = slot.lock().await;
        if is_unused()
            && let Some(store) = open.take()
        {
            self.events.release(service).await;
            store.close().await;
        }
    }

    /// Closes all stores, when nothing runs any more.
    pub(super) async fn close_all(&self) {
        let slots = std::mem::take(&mut *self.lock());
        let close = |slot: Arc<Slot>| async move {
            if let Some(store) = slot.lock().await.take() {
                store.close().await;
            }
        };
        futures_util::future::join_all(slots.into_values().map(close)).await;
    }

    fn slot(&self, service: &ServiceName) -> Arc<Slot> {
        Arc::clone(self.lock().entry(service.clone()).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceName, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
