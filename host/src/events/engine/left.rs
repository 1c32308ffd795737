//! What is left of subscriptions that are over, and of services that are not deployed.

use std::sync::Arc;

use super::{Active, Events, Name};
use crate::bus::Mirror;
use crate::name::ServiceName;
use crate::state::Cursor;

impl Events {
    /// Notes what is left of a subscription whose dispatcher has ended, since nobody wants it any
    /// more: its dead letters, and where it is.
    pub(super) async fn left_behind(&self, name: &Name, active: &Active) {
        self.note_dead(name, active);
        // One that ended by itself is started anew, or was a replay that is over.
        if !active.stop.is_cancelled() {
            return;
        }
        // Without it the bus keeps the copy that it has, which is a few seconds old.
        let Ok(cursors) = active.store.cursors().await else { return };
        let own = cursors.into_iter().find(|cursor| cursor.subscription == *name.subscription);
        let Some(Cursor { position, .. }) = own else { return };
        let copy = Mirror { subscription: name.to_string(), position, active: false };
        if let Err(error) = self.inner.bus.mirror(vec![copy]).await {
            error.warn("where a subscription ended could not be copied to the bus");
        }
    }

    /// Notes the dead letters of a subscription whose dispatcher has ended, also that it has none:
    /// what was noted before it began is no longer so.
    pub(super) fn note_dead(&self, name: &Name, active: &Active) {
        let mut table = self.table();
        match active.status.counts().dead {
            0 => _ = table.dead_of_ended.remove(name),
            dead => _ = table.dead_of_ended.insert(name.clone(), dead),
        }
    }

    /// Counts the dead letters of services that are not deployed. To be called once those are
    /// that were before.
    pub async fn count_dead_of_undeployed(&self) {
        for service in self.undeployed().await {
            let _turn = self.inner.turns.take(&service).await;
            // It has been deployed meanwhile: its own are counted.
            if self.inner.registry.load().services.contains_key(&service) {
                continue;
            }
            match self.inner.kept.dead_counts(&service).await {
                Ok(counts) => {
                    let name = |subscription: String| Name {
                        service: service.clone(),
                        subscription: Arc::from(subscription),
                    };
                    let counts = counts.into_iter().map(|(name_of, dead)| (name(name_of), dead));
                    self.table().dead_of_ended.extend(counts);
                }
                Err(error) => {
                    let service = service.as_str();
                    tracing::warn!(service, %error, "its dead letters cannot be counted");
                }
            }
        }
    }

    /// The services that have a store and are not deployed.
    pub(in crate::events) async fn undeployed(&self) -> Vec<ServiceName> {
        let kept = self.inner.kept.clone();
        // It is only given up when the host stops.
        let kept = tokio::task::spawn_blocking(move || kept.services()).await.unwrap_or_default();
        let snapshot = self.inner.registry.load();
        kept.into_iter().filter(|service| !snapshot.services.contains_key(service)).collect()
    }
}
