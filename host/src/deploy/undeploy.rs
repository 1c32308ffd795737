//! A plugin file that is gone takes its service with it; the store is kept.

use std::sync::Arc;

use super::drain::drain;
use super::notice::Notice;
use super::parts::Parts;
use super::plugin_file::{Part, Stem};

/// Ends what the file served, and forgets what was refused of it.
pub(super) async fn undeploy(parts: &Arc<Parts>, file: &Stem) {
    let swapping = parts.swapping.lock().await;
    let service = parts.board.service_of(file);
    if let Some(service) = &service
        && parts.claims.holder(service).as_ref() != Some(file)
    {
        // Renamed: the other file's candidate takes the service over, without
        // a moment in which nothing serves. Should it fail, this file is looked
        // at again.
        return;
    }
    parts.board.forget_refusal(file);
    let recorded = {
        let file = file.clone();
        // Before the routes go: a host that dies in between has still undeployed.
        parts.blocking(move |parts| parts.record.remove(&file)).await
    };
    let name = file.file(Part::Component);
    if let Err(error) = recorded {
        tracing::error!(file = name, %error, "the removal could not be recorded");
    }
    let Some(service) = service else { return };
    let removed = parts.registry.remove(&service);
    parts.board.gone(&service);
    parts.claims.release(&service, file);
    drop(swapping);
    tracing::info!(service = service.as_str(), file = name, "undeployed");
    parts.board.announce(Notice::Undeployed { service, file: name });
    if let Some(removed) = removed {
        for version in removed.traffic.versions() {
            drain(parts, Arc::clone(version));
        }
    }
    parts.look_at_blocked();
}
