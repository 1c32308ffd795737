//! Step 6: the old version's last requests finish, then its memory and code go.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::notice::Notice;
use super::parts::Parts;
use crate::failpoint;
use crate::name::ServiceName;
use crate::service::Version;

/// How long invocations that are ended may take to be gone.
const END_GRACE: Duration = Duration::from_secs(1);

/// Drains `version` in the background; the next deployment doesn't wait for it.
pub(super) fn drain(parts: &Arc<Parts>, version: Arc<Version>) {
    let mut deadline = parts.board.drains(&version);
    version.retire();
    let id = version.id.clone();
    parts.board.announce(Notice::Draining { version: id.clone(), leases: version.lease_count() });
    let parts = Arc::clone(parts);
    parts.clone().tasks.spawn(async move {
        let leases_left = tokio::select! {
            biased;
            () = version.drained() => 0,
            () = passed(&mut deadline) => end(&version).await,
            // The listeners see to it that requests end.
            () = parts.stopping.cancelled() => return,
        };
        tracing::info!(service = id.service.as_str(), version = id.number, "drained");
        parts.board.drained(&version);
        drop(version);
        parts.board.announce(Notice::Drained { version: id.clone(), leases_left });
        close_store(&parts, &id.service).await;
        failpoint::pass("after draining");
    });
}

/// Resolves at the deadline, which an operator may change meanwhile.
async fn passed(deadline: &mut watch::Receiver<Instant>) {
    loop {
        let at = *deadline.borrow_and_update();
        tokio::select! {
            () = sleep_until(at) => return,
            changed = deadline.changed() => changed.expect("the board knows it until it is drained"),
        }
    }
}

/// The drain deadline has passed: what still runs is ended. Returns how many
/// that were.
async fn end(version: &Version) -> u64 {
    let leases = version.lease_count();
    tracing::warn!(
        service = version.id.service.as_str(),
        version = version.id.number,
        leases,
        "requests under way are ended: the drain deadline has passed"
    );
    version.end();
    // Each gives its lease back as soon as it is polled; one that does not is
    // ended by its own deadline, and nobody waits for that here.
    _ = timeout(END_GRACE, version.drained()).await;
    leases
}

/// Closes the store of a service that neither serves nor drains nor is on its
/// way in.
pub(super) async fn close_store(parts: &Parts, service: &ServiceName) {
    let is_unused = || {
        // A candidate claims its service before it asks for the store.
        !parts.claims.is_claimed(service) && !parts.board.is_draining(service)
    };
    parts.stores.close_unused(service, is_unused).await;
}
