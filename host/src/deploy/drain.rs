//! Step 6: the old version's last requests finish, then its memory and code go.

use std::sync::Arc;

use tokio::time::timeout;

use super::notice::Notice;
use super::parts::Parts;
use crate::service::{ServiceName, Version};

/// Drains `version` in the background; the next deployment doesn't wait for it.
pub(super) fn drain(parts: &Arc<Parts>, version: Arc<Version>) {
    parts.board.drains(&version);
    version.retire();
    let id = version.id.clone();
    parts.board.announce(Notice::Draining { version: id.clone(), leases: version.lease_count() });
    let parts = Arc::clone(parts);
    parts.clone().tasks.spawn(async move {
        let limit = version.manifest.deploy.drain;
        tokio::select! {
            drained = timeout(limit, version.drained()) => match drained {
                Ok(()) => tracing::info!(service = id.service.as_str(), version = id.number, "drained"),
                Err(_) => tracing::warn!(
                    service = id.service.as_str(),
                    version = id.number,
                    leases = version.lease_count(),
                    "requests go on beyond the drain deadline"
                ),
            },
            // The listeners see to it that requests end.
            () = parts.stopping.cancelled() => return,
        }
        parts.board.drained(&version);
        let leases_left = version.lease_count();
        drop(version);
        parts.board.announce(Notice::Drained { version: id.clone(), leases_left });
        close_store(&parts, &id.service).await;
    });
}

/// Closes the store of a service that neither serves nor drains nor is on its
/// way in.
pub(super) async fn close_store(parts: &Parts, service: &ServiceName) {
    let is_unused = || {
        // A candidate claims its service before it asks for the store.
        parts.claims.holder(service).is_none() && !parts.board.is_draining(service)
    };
    parts.stores.close_unused(service, is_unused).await;
}
