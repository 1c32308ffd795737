//! What a version's subscriptions begin with, before it gets traffic.

use std::sync::Arc;

use super::Events;
use crate::bus::{Bus, BusError, Mirror};
use crate::manifest::{Manifest, StartPosition, Subscription};
use crate::name::ServiceName;
use crate::state::{self, Cursor, Store};

/// Why a version's subscriptions could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Its store.
    #[error("its subscriptions could not be recorded in its store: {0}")]
    Store(#[from] state::Error),
    /// The bus.
    #[error("its subscriptions could not be recorded on the bus: {0}")]
    Bus(#[from] BusError),
}

impl Events {
    /// Gives the subscriptions of a version that is about to get traffic their
    /// start, where they are new. Durable when it returns.
    ///
    /// # Errors
    /// When the store or the bus cannot be written.
    pub async fn prepare(
        &self,
        service: &ServiceName,
        store: &Arc<Store>,
        manifest: &Manifest,
    ) -> Result<(), PrepareError> {
        self.end_dropped(service, store).await?;
        let subscriptions: Vec<&Subscription> = manifest.subscriptions.iter().collect();
        self.begin(service, store, &subscriptions).await
    }

    /// Takes out of a store what was dropped while its service was gone.
    async fn end_dropped(
        &self,
        service: &ServiceName,
        store: &Arc<Store>,
    ) -> Result<(), PrepareError> {
        let bus = &self.inner.bus;
        for name in bus.dropped().await? {
            if let Some((of, subscription)) = name.split_once('/')
                && of == service.as_str()
            {
                store.end_subscription(&Arc::from(subscription)).await?;
                bus.end_dropped(&name).await?;
            }
        }
        Ok(())
    }

    /// Gives those subscriptions their start that have none.
    pub(super) async fn begin(
        &self,
        service: &ServiceName,
        store: &Arc<Store>,
        subscriptions: &[&Subscription],
    ) -> Result<(), PrepareError> {
        if subscriptions.is_empty() {
            return Ok(());
        }
        let bus = &self.inner.bus;
        let cursors = subscriptions.iter().map(|subscription| start(bus, subscription));
        store.begin_subscriptions(cursors.collect()).await?;
        let wanted = |name: &str| subscriptions.iter().any(|each| each.name == name);
        let cursors = store.cursors().await?.into_iter();
        let mirrors = cursors.filter(|cursor| wanted(&cursor.subscription)).map(|cursor| Mirror {
            subscription: format!("{service}/{}", cursor.subscription),
            position: cursor.position,
            active: true,
        });
        bus.mirror(mirrors.collect()).await?;
        Ok(())
    }
}

/// Where a new subscription begins.
fn start(bus: &Bus, subscription: &Subscription) -> Cursor {
    let position = match subscription.from {
        StartPosition::Now => bus.last(),
        StartPosition::Beginning => bus.first().saturating_sub(1),
    };
    Cursor { subscription: subscription.name.clone(), position, until: None }
}
