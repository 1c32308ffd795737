//! Step 4: the version is instantiated and asked how it is, on its migrations, before these
//! are applied and any request reaches it.

use std::sync::Arc;

use super::no_room;
use super::parts::Parts;
use super::receive::Candidate;
use super::refusal::Stop;
use super::status::Step;
use super::validate::Validated;
use crate::failpoint;
use crate::invocation::probe;
use crate::name::VersionId;
use crate::runtime::Pool;
use crate::service::Version;
use crate::state::{Migration, Store};

/// A version that is fit for traffic.
pub(super) struct Warmed {
    pub(super) version: Arc<Version>,
    pub(super) store: Arc<Store>,
}

/// Makes the candidate a version.
///
/// A version that is not well leaves the store as it was. Its migrations stay if a later step
/// fails: they only add, as the version that serves must run on them anyway.
pub(super) async fn warm(
    parts: &Arc<Parts>,
    candidate: &Candidate,
    validated: Validated,
) -> Result<Warmed, Stop> {
    let Validated { program, secrets, on_trial } = validated;
    let service = candidate.manifest.service.clone();
    candidate.progress.step(Step::Warming);
    let refused = |reason: String| Stop::from(candidate.refused(vec![reason]));
    let store = parts.stores.of(&service).await.map_err(|error| refused(error.to_string()))?;
    let number = {
        let service = service.clone();
        parts.record.change(move |record| record.next_number(&service)).await
    };
    let number = number.map_err(|error| candidate.unrecorded(&error))?;
    let id = VersionId { service, number };
    let manifest = Arc::clone(&candidate.manifest);
    let pool = Pool::new(&parts.runtime, program, id.clone(), Arc::clone(&manifest), secrets);
    let version = Version::new(id, candidate.digest, manifest, pool);
    match make_ready(parts, &version, &store, &on_trial).await {
        Ok(()) => Ok(Warmed { version, store }),
        Err(reason) => {
            version.retire();
            Err(refused(reason))
        }
    }
}

/// Asks how it is, applies its migrations, and begins its subscriptions.
async fn make_ready(
    parts: &Arc<Parts>,
    version: &Arc<Version>,
    store: &Arc<Store>,
    on_trial: &[Migration],
) -> Result<(), String> {
    let service = &version.id.service;
    Box::pin(probe(version, store, on_trial)).await.map_err(|error| error.to_string())?;
    if !on_trial.is_empty() {
        let applied = store.migrate(on_trial).await;
        let applied = applied.map_err(|error| no_room::reason(&error, store.room()))?;
        failpoint::pass("after migrating");
        if !applied.is_empty() {
            tracing::info!(service = service.as_str(), migrations = applied.join(", "), "migrated");
        }
    }
    let prepared = parts.events.prepare(service, store, &version.manifest);
    prepared.await.map_err(|error| no_room::reason(&error, store.room()))
}
