//! Where a subscription's events go.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::delivery::{Attempt, Ending, to_service};
use crate::event::Event;
use crate::service::{Registry, ServiceName};
use crate::state::Store;

/// Whoever handles a subscription's events.
#[derive(Clone)]
pub(super) enum Target {
    /// A service, in the version that has its traffic.
    Service { registry: Arc<Registry>, name: ServiceName },
}

impl Target {
    pub(super) async fn deliver(
        &self,
        store: &Arc<Store>,
        subscription: &Arc<str>,
        attempt: &Attempt,
        event: Arc<Event>,
        slot: OwnedSemaphorePermit,
    ) -> Ending {
        match self {
            Self::Service { registry, name } => {
                to_service(registry, name, store, subscription, attempt, event, slot).await
            }
        }
    }
}
