//! Start: the versions that had the traffic have it again, from the cache.

use std::sync::Arc;
use std::thread;

use super::board::Serving;
use super::compile::compile_into_cache;
use super::notice::Notice;
use super::parts::Parts;
use super::record::{RecordError, VersionRecord};
use crate::manifest::Manifest;
use crate::runtime::{Pool, Program};
use crate::service::{Traffic, Version};

/// Restores what served when the host ended. Returns what the cache didn't have
/// in usable form.
pub(super) async fn restore(parts: &Arc<Parts>) -> Result<Vec<VersionRecord>, RecordError> {
    let records = parts.blocking(|parts| parts.record.serving()).await?;
    let loaded = parts.blocking(move |parts| load_all(parts, &records)).await;
    let mut missing = Vec::new();
    for (record, program) in loaded {
        match program {
            Some((manifest, program)) => serve(parts, &record, manifest, program).await,
            None => missing.push(record),
        }
    }
    Ok(missing)
}

/// Gives a version its traffic back.
pub(super) async fn serve(
    parts: &Arc<Parts>,
    record: &VersionRecord,
    manifest: Arc<Manifest>,
    program: Program,
) {
    let id = record.id.clone();
    let secrets = match parts.secrets_of(&manifest).await {
        Ok(secrets) => secrets,
        Err(missing) => {
            tracing::error!(version = %id, reasons = missing.join("; "), "could not be restored");
            return;
        }
    };
    let pool = Pool::new(&parts.runtime, program, id.clone(), Arc::clone(&manifest), secrets);
    let version = Version::new(id.clone(), record.component, manifest, pool);
    let store = parts.stores.of(&id.service).await;
    match parts.registry.share(&id.service, Traffic::all(&version), &store) {
        Ok(_) => {
            claim(parts, record);
            let serving =
                Serving { file: record.file.clone(), deployed_at: record.deployed_at.clone() };
            let refusal = parts.board.refusal(&record.file);
            parts.board.serves(id.service.clone(), serving);
            // A refusal is of what the file holds, not of what serves.
            if let Some(refusal) = refusal {
                parts.board.refused(&record.file, refusal);
            }
            let routes: Vec<_> = version.routes().iter().map(ToString::to_string).collect();
            let service = id.service.as_str();
            tracing::info!(service, version = id.number, routes = routes.join(" "), "restored");
            parts.board.announce(Notice::Serving {
                version: id,
                routes,
                compile_time: None,
                restored: true,
            });
        }
        Err(conflicts) => {
            let reasons: Vec<_> = conflicts.iter().map(ToString::to_string).collect();
            tracing::error!(version = %id, reasons = reasons.join("; "), "could not be restored");
        }
    }
}

fn claim(parts: &Parts, record: &VersionRecord) {
    // `host.db` has one file per service, so nobody else claims it.
    if let Ok(claim) = parts.claims.claim(&record.id.service, &record.file, |_| true) {
        claim.keep();
    }
}

type Loaded = (VersionRecord, Option<(Arc<Manifest>, Program)>);

/// Maps and links every version, on all processors: a thousand take a quarter
/// of a second.
fn load_all(parts: &Parts, records: &[VersionRecord]) -> Vec<Loaded> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = records.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let shares: Vec<_> = records
            .chunks(share)
            .map(|share| {
                scope.spawn(move || {
                    share.iter().map(|record| load(parts, record)).collect::<Vec<_>>()
                })
            })
            .collect();
        let joined = shares.into_iter().map(|share| share.join());
        joined
            .flat_map(|share| share.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn load(parts: &Parts, record: &VersionRecord) -> Loaded {
    (record.clone(), try_load(parts, record))
}

/// The version's program, where its code is in the cache and still runs here.
pub(super) fn try_load(parts: &Parts, record: &VersionRecord) -> Option<(Arc<Manifest>, Program)> {
    let path = parts.blobs.compiled(&record.component);
    if !path.exists() {
        return None;
    }
    // What this fails of is said when the file itself is looked at.
    let component = parts.runtime.load(&path).ok()?;
    let program = parts.runtime.link(&component).ok()?;
    let manifest = Manifest::read(record.file.as_str(), record.manifest.as_ref()).ok()?;
    Some((Arc::new(manifest), program))
}

/// Compiles anew what the cache didn't have, one after the other, and gives it
/// its traffic back. What fails here is tried, and refused, as the file it is.
pub(super) async fn recompile(parts: &Arc<Parts>, missing: Vec<VersionRecord>) {
    for record in missing {
        let version = &record.id;
        tracing::info!(%version, "compiling anew");
        let compiled = tokio::select! {
            compiled = compile_into_cache(parts, record.component) => compiled,
            () = parts.stopping.cancelled() => return,
        };
        let loaded = {
            let record = record.clone();
            parts.blocking(move |parts| try_load(parts, &record)).await
        };
        match (compiled, loaded) {
            (_, Some((manifest, program))) => serve(parts, &record, manifest, program).await,
            (Err(error), None) => tracing::error!(%version, %error, "could not be restored"),
            (Ok(_), None) => {
                tracing::error!(%version, "could not be restored: this host does not run it")
            }
        }
    }
}
