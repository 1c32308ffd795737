//! The open stores: one per service, shared by all its versions, also by those
//! that still drain while the service is deployed anew.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::events::Events;
use crate::service::ServiceName;
use crate::state::{Store, StoreOptions};

/// The open stores.
#[derive(Debug)]
pub(super) struct Stores {
    folder: PathBuf,
    options: StoreOptions,
    events: Events,
    open: tokio::sync::Mutex<HashMap<ServiceName, Arc<Store>>>,
}

impl Stores {
    pub(super) fn new(folder: PathBuf, options: StoreOptions, events: Events) -> Self {
        Self { folder, options, events, open: tokio::sync::Mutex::default() }
    }

    /// The service's store. Its file is opened at first use.
    pub(super) async fn of(&self, service: &ServiceName) -> Arc<Store> {
        let mut open = self.open.lock().await;
        if let Some(store) = open.get(service) {
            return Arc::clone(store);
        }
        let path = self.folder.join(format!("{service}.db"));
        let store = Store::new(path, service.as_str(), self.options.clone());
        self.events.attach(service, &store).await;
        open.insert(service.clone(), Arc::clone(&store));
        store
    }

    /// Closes the service's store if `is_unused` still says so when nobody can
    /// come to use it in between.
    pub(super) async fn close_unused(
        &self,
        service: &ServiceName,
        is_unused: impl FnOnce() -> bool,
    ) {
        let mut open = self.open.lock().await;
        if is_unused()
            && let Some(store) = open.remove(service)
        {
            // Still under the lock: a file must not be open twice.
            self.events.release(service).await;
            store.close().await;
        }
    }

    /// Closes all stores, when nothing runs any more.
    pub(super) async fn close_all(&self) {
        let mut open = self.open.lock().await;
        futures_util::future::join_all(
            open.drain().map(|(_, store)| async move { store.close().await }),
        )
        .await;
    }
}
