//! Step 4: the migrations are applied, and the version is instantiated and asked
//! how it is, before any request reaches it.

use std::sync::Arc;

use super::parts::Parts;
use super::receive::Candidate;
use super::refusal::Stop;
use super::status::Step;
use super::validate::{Validated, migrations};
use crate::failpoint;
use crate::runtime::{Pool, probe};
use crate::service::{Version, VersionId};
use crate::state::Store;

/// A version that is fit for traffic.
pub(super) struct Warmed {
    pub(super) version: Arc<Version>,
    pub(super) store: Arc<Store>,
}

/// Makes the candidate a version.
///
/// Migrations stay even if a later step fails: they only add, as the version
/// that serves must run on them anyway.
pub(super) async fn warm(
    parts: &Arc<Parts>,
    candidate: &Candidate,
    validated: Validated,
) -> Result<Warmed, Stop> {
    let Validated { program, secrets } = validated;
    let service = candidate.manifest.service.clone();
    candidate.progress.step(Step::Warming);
    let refused = |reason: String| Stop::from(candidate.refused(vec![reason]));
    let store = parts.stores.of(&service).await.map_err(|error| refused(error.to_string()))?;
    if !candidate.manifest.migrations.is_empty() {
        let applied = store
            .migrate(&migrations(&candidate.manifest))
            .await
            .map_err(|error| refused(error.to_string()))?;
        failpoint::pass("after migrating");
        if !applied.is_empty() {
            tracing::info!(service = service.as_str(), migrations = applied.join(", "), "migrated");
        }
    }
    let number = {
        let service = service.clone();
        parts.blocking(move |parts| parts.record.next_number(&service)).await
    };
    let id = VersionId { service, number: number.map_err(|error| refused(error.to_string()))? };
    let manifest = Arc::clone(&candidate.manifest);
    let pool = Pool::new(&parts.runtime, program, id.clone(), Arc::clone(&manifest), secrets);
    let version = Version::new(id, candidate.digest, manifest, pool);
    match Box::pin(probe(&version, &store)).await {
        Ok(()) => {
            let prepared = parts.events.prepare(&version.id.service, &store, &version.manifest);
            match prepared.await {
                Ok(()) => Ok(Warmed { version, store }),
                Err(error) => {
                    version.retire();
                    Err(refused(error.to_string()))
                }
            }
        }
        Err(error) => {
            version.retire();
            Err(refused(error.to_string()))
        }
    }
}
