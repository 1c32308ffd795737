//! A kept version comes back: from its compiled code, without being warmed, as
//! it ran here before.

use std::sync::Arc;

use super::compile::{Urgency, compile_into_cache};
use super::parts::Parts;
use super::record::VersionRecord;
use crate::manifest::Manifest;
use crate::name::VersionId;
use crate::runtime::{Pool, Program};
use crate::service::Version;

/// Why a kept version cannot run.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRevived {
    #[error("{0}: {1}")]
    Secrets(VersionId, String),
    #[error("{0} could not be compiled anew: {1}")]
    Compile(VersionId, String),
    #[error("{0}: its subscriptions could not begin: {1}")]
    Events(VersionId, String),
    #[error("{0}: this host does not run it")]
    Useless(VersionId),
}

/// The version, ready for traffic. Its code is compiled anew where the cache
/// doesn't have it in usable form, which takes as long as it takes.
pub(super) async fn revive(
    parts: &Arc<Parts>,
    record: &VersionRecord,
) -> Result<Arc<Version>, NotRevived> {
    let id = || record.id.clone();
    let load = || {
        let record = record.clone();
        parts.blocking(move |parts| try_load(parts, &record))
    };
    let (manifest, program) = match load().await {
        Some(loaded) => loaded,
        None => {
            let mut place = parts.compiles.enter(&record.id.service, Urgency::Awaited);
            place.turn().await;
            tracing::info!(version = %record.id, "compiling anew");
            let compiled = compile_into_cache(parts, &mut place, record.component).await;
            drop(place);
            compiled.map_err(|error| NotRevived::Compile(id(), error.to_string()))?;
            load().await.ok_or_else(|| NotRevived::Useless(id()))?
        }
    };
    make(parts, record, manifest, program).await
}

/// The version of a program that was loaded already.
pub(super) async fn make(
    parts: &Arc<Parts>,
    record: &VersionRecord,
    manifest: Arc<Manifest>,
    program: Program,
) -> Result<Arc<Version>, NotRevived> {
    let id = record.id.clone();
    let secrets = parts.secrets_of(&manifest).await;
    let secrets = secrets.map_err(|missing| NotRevived::Secrets(id.clone(), missing.join("; ")))?;
    let pool = Pool::new(&parts.runtime, program, id.clone(), Arc::clone(&manifest), secrets);
    Ok(Version::new(id, record.component, manifest, pool))
}

/// The version's program, where its code is in the cache and still runs here.
pub(super) fn try_load(parts: &Parts, record: &VersionRecord) -> Option<(Arc<Manifest>, Program)> {
    let path = parts.blobs.compiled(&record.component);
    if !path.exists() {
        return None;
    }
    // What this fails of is said by who asked for the version.
    let component = parts.runtime.load(&path).ok()?;
    let program = parts.runtime.link(&component).ok()?;
    let stem = record.origin.file().map_or(record.id.service.as_str(), |file| file.as_str());
    let manifest = Manifest::read(stem, record.manifest.as_ref()).ok()?;
    Some((Arc::new(manifest), program))
}
