//! The open stores: one per service, shared by all its versions, also by those
//! that still drain while the service is deployed anew.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::config::STORE_PATIENCE;
use crate::deadline;
use crate::events::Events;
use crate::name::ServiceName;
use crate::room::Room;
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

/// A service's store is still being closed.
#[derive(Debug, thiserror::Error)]
#[error(
    "the store of {0} has been open since the service was deployed last, and could not be closed \
     within {STORE_PATIENCE:?}: see in the log what holds it, and deploy it again later"
)]
pub(super) struct StillOpen(ServiceName);

impl Stores {
    pub(super) fn new(folder: PathBuf, options: StoreOptions, events: Events) -> Self {
        Self { folder, options, events, slots: Mutex::default() }
    }

    /// The room on their disk.
    pub(super) fn room(&self) -> &Room {
        &self.options.room
    }

    /// The service's store. Its file is opened at first use.
    ///
    /// # Errors
    /// When it is being closed, and that takes too long.
    pub(super) async fn of(&self, service: &ServiceName) -> Result<Arc<Store>, StillOpen> {
        let slot = self.slot(service);
        let open = deadline::within(STORE_PATIENCE, slot.lock()).await;
        let mut open = open.map_err(|deadline::Late| StillOpen(service.clone()))?;
        if let Some(store) = &*open {
            return Ok(Arc::clone(store));
        }
        let path = self.folder.join(format!("{service}.db"));
        let store = Store::new(path, service.as_str(), self.options.clone());
        self.events.attach(service, &store).await;
        *open = Some(Arc::clone(&store));
        Ok(store)
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
            // Until it is closed, however often that is late: nobody may open the file a
            // second time meanwhile.
            while store.try_close().await.is_err() {}
        }
    }

    /// Closes all stores, when nothing runs any more.
    pub(super) async fn close_all(&self) {
        let slots: Vec<_> = self.lock().values().cloned().collect();
        let close = |slot: Arc<Slot>| async move {
            let mut open = slot.lock().await;
            if let Some(store) = &*open
                && store.try_close().await.is_ok()
            {
                *open = None;
            }
        };
        futures_util::future::join_all(slots.into_iter().map(close)).await;
    }

    /// The stores that are not closed, and why.
    pub(super) fn still_open(&self) -> Vec<String> {
        let still_open = |(service, slot): (&ServiceName, &Arc<Slot>)| match slot.try_lock() {
            Ok(open) => {
                let store = open.as_ref().filter(|store| store.is_open())?;
                Some(format!("the store of {service}: {}", store.in_the_way()))
            }
            Err(_) => Some(format!("the store of {service}, which is being closed")),
        };
        self.lock().iter().filter_map(still_open).collect()
    }

    fn slot(&self, service: &ServiceName) -> Arc<Slot> {
        Arc::clone(self.lock().entry(service.clone()).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceName, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
