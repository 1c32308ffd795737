//! Start: the versions that had traffic have it again, from the cache, and a
//! canary that was under way goes on.

use std::convert::Infallible;
use std::sync::Arc;
use std::thread;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::board::{RunningCanary, Serving};
use super::canary::{self, keeping};
use super::compile::{Urgency, compile_into_cache};
use super::deployments::DeploymentState;
use super::notice::Notice;
use super::origin::Origin;
use super::parts::Parts;
use super::record::{CanaryRecord, DeployedRecord, RecordError, RecordFile, VersionRecord};
use super::revive::{make, try_load};
use super::validate::migrations;
use crate::manifest::Manifest;
use crate::runtime::Program;
use crate::service::{Share, Traffic, TrafficPlan, Version};
use crate::state::KeptStores;

/// A service that is to serve again, and its versions that share the traffic.
pub(super) type Deployed = (DeployedRecord, Vec<VersionRecord>);

/// A version, and its program where the cache has it in usable form.
type Loaded = (VersionRecord, Option<(Arc<Manifest>, Program)>);

/// Restores what served when the host ended. Returns what the cache didn't have
/// in usable form.
pub(super) async fn restore(parts: &Arc<Parts>) -> Result<Vec<Deployed>, RecordError> {
    let deployed = parts.record.read(RecordFile::deployed).await?;
    if deployed.is_empty() {
        warn_of_lost_record(parts).await?;
    }
    let records: Vec<_> = deployed.iter().flat_map(|(_, versions)| versions.clone()).collect();
    let mut loaded = parts.blocking(move |parts| load_all(parts, &records)).await.into_iter();
    let mut missing = Vec::new();
    for (record, versions) in deployed {
        let of_this: Vec<Loaded> = loaded.by_ref().take(versions.len()).collect();
        if of_this.iter().all(|(_, program)| program.is_some()) {
            serve(parts, record, of_this).await;
        } else {
            missing.push((record, versions));
        }
    }
    Ok(missing)
}

/// Warns where `host.db` seems to be another one than the stores'. An undeployed service's
/// versions are kept, so there are some wherever a service ever was deployed.
async fn warn_of_lost_record(parts: &Arc<Parts>) -> Result<(), RecordError> {
    if !parts.record.read(RecordFile::all_versions).await?.is_empty() {
        return Ok(());
    }
    let stores = parts.config.data.join("stores");
    let services = parts.blocking(move |_| KeptStores::new(&stores).services()).await;
    if !services.is_empty() {
        let services = services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::warn!(
            services,
            "host.db knows no version of any service, and there are stores of some: if it was \
             lost, stop the host and bring it back from a copy, or deploy again what was uploaded; \
             the stores are used then"
        );
    }
    Ok(())
}

/// Compiles anew what the cache didn't have, and gives each service its traffic back as soon as
/// its versions are there. What fails here is tried, and refused, as the file it is.
pub(super) async fn recompile(parts: &Arc<Parts>, missing: Vec<Deployed>) {
    // All wait for their turns at once, so that none that takes long comes before the others;
    // routes are given one after the other.
    let giving = &tokio::sync::Mutex::new(());
    let all = missing.into_iter().map(|(deployed, versions)| async move {
        let mut loaded = Vec::new();
        for record in versions {
            loaded.push((record.clone(), load_anew(parts, record).await));
            if parts.stopping.is_cancelled() {
                return;
            }
        }
        let _giving = giving.lock().await;
        serve(parts, deployed, loaded).await;
    });
    join_all(all).await;
}

/// Compiles the other kept versions anew where the cache doesn't have them, so that
/// a rollback is from the cache also after another host has been installed. Those
/// that served before come first.
pub(super) async fn recompile_kept(parts: &Arc<Parts>) {
    let kept = match parts.record.read(RecordFile::all_versions).await {
        Ok(kept) => kept,
        Err(error) => return tracing::error!(%error, "the kept versions could not be read"),
    };
    for record in kept {
        if parts.blobs.compiled(&record.component).exists() {
            continue;
        }
        let version = &record.id;
        let compiled = async {
            let mut place = parts.compiles.enter(&version.service, Urgency::Kept);
            place.turn().await;
            tracing::info!(%version, "compiling anew");
            compile_into_cache(parts, &mut place, record.component).await
        };
        tokio::select! {
            compiled = compiled => if let Err(error) = compiled {
                tracing::warn!(%version, %error, "could not be compiled anew");
            },
            () = parts.stopping.cancelled() => return,
        }
    }
}

/// Gives a service its traffic back.
async fn serve(parts: &Arc<Parts>, deployed: DeployedRecord, loaded: Vec<Loaded>) {
    let (service, file) = (deployed.service.clone(), deployed.file.clone());
    if let Err(reason) = try_serve(parts, deployed, loaded).await {
        tracing::error!(service = service.as_str(), reason, "could not be restored");
        parts.board.lost(service, file, reason);
    }
}

async fn try_serve(
    parts: &Arc<Parts>,
    mut deployed: DeployedRecord,
    loaded: Vec<Loaded>,
) -> Result<(), String> {
    let mut versions: Vec<Arc<Version>> = Vec::with_capacity(loaded.len());
    let mut records = Vec::with_capacity(loaded.len());
    let on_trial = deployed.canary.as_ref().map(|canary| canary.new);
    let mut failed = None;
    for (record, program) in loaded {
        match remake(parts, &record, program).await {
            Ok(version) => {
                versions.push(version);
                records.push(record);
            }
            Err(reason) if on_trial == Some(record.id.number) => failed = Some((record, reason)),
            Err(reason) => return Err(reason),
        }
    }
    if let Some((tried, reason)) = failed {
        roll_back(parts, &mut deployed, &tried, reason).await?;
    }
    let DeployedRecord { service, file, revision, plan, canary } = deployed;
    let store = parts.stores.of(&service).await.map_err(|error| error.to_string())?;
    let newest = versions.iter().max_by_key(|version| version.id.number);
    if let Some(newest) = newest.filter(|_| !store.has_file()) {
        // It was deleted while the host was down, and its tables with it.
        let migrations = migrations(&newest.manifest);
        // One without either has a file once it writes, which it may never have done.
        let had_one = !migrations.is_empty() || !newest.manifest.subscriptions.is_empty();
        if had_one {
            tracing::warn!(
                service = service.as_str(),
                "its store, stores/{service}.db, is gone: it begins anew and empty; to have what \
                 was in it, stop the host and bring the file back from a copy"
            );
        }
        let migrated = store.migrate(&migrations).await;
        migrated.map_err(|error| error.to_string())?;
    }
    let shares = shares(&plan);
    let traffic = Traffic::new(plan, &versions).map_err(|error| error.to_string())?;
    let primary = Arc::clone(traffic.primary());
    let mut serving = Serving { file: file.clone(), revision, versions: records, canary: None };
    let shared = parts.board.serves(service.clone(), serving.clone(), || {
        parts.registry.share(&service, traffic, &store)
    });
    shared.map_err(|conflicts| {
        conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    })?;
    let origin = file.map_or(Origin::Upload, Origin::File);
    // `host.db` has one file per service, so nobody else claims it.
    if let Ok(claim) = parts.claims.claim(&service, &origin, |_| true) {
        claim.keep();
    }
    if let Some(canary) = canary {
        let on_trial = serving.versions.iter().find(|record| record.id.number == canary.new);
        let canary = go_on(parts, canary, on_trial.unwrap_or(&serving.versions[0]));
        serving.canary = Some(canary.clone());
        let Ok(()) = parts.board.serves(service.clone(), serving, || Ok::<_, Infallible>(()));
        canary::go_on(parts, &service, canary);
    }
    let routes: Vec<_> = primary.routes().iter().map(ToString::to_string).collect();
    let (service, version) = (service.as_str(), primary.id.number);
    tracing::info!(service, version, shares, routes = routes.join(" "), "restored");
    parts.board.announce(Notice::Serving {
        version: primary.id.clone(),
        routes,
        compile_time: None,
        restored: true,
    });
    Ok(())
}

/// Who has how much of the traffic: `v2 90 %, v3 10 %`.
fn shares(plan: &TrafficPlan) -> String {
    let share = |share: &Share| format!("v{} {} %", share.version, share.weight);
    plan.versions.iter().map(share).collect::<Vec<_>>().join(", ")
}

async fn remake(
    parts: &Arc<Parts>,
    record: &VersionRecord,
    program: Option<(Arc<Manifest>, Program)>,
) -> Result<Arc<Version>, String> {
    let (manifest, program) =
        program.ok_or_else(|| format!("{}: this host does not run it", record.id))?;
    make(parts, record, manifest, program).await.map_err(|error| error.to_string())
}

/// The version on trial cannot run here: the old one is to have all of the traffic.
async fn roll_back(
    parts: &Arc<Parts>,
    deployed: &mut DeployedRecord,
    tried: &VersionRecord,
    reason: String,
) -> Result<(), String> {
    let Some(canary) = deployed.canary.take() else { return Ok(()) };
    let (old, new, service) = (canary.old, canary.new, deployed.service.clone());
    deployed.plan = keeping(&deployed.plan, vec![Share { version: old, weight: 100 }]);
    let (plan, why) = (deployed.plan.clone(), reason.clone());
    let recorded =
        parts.record.change(move |record| record.share(&service, &plan, None, Some((new, &why))));
    deployed.revision = recorded.await.map_err(|error| error.to_string())?;
    tracing::error!(version = %tried.id, reason, "could not be restored, and is rolled back");
    let RunningCanary { progress, .. } = go_on(parts, canary, tried);
    progress.ended(DeploymentState::RolledBack, vec![reason.clone()]);
    let version = tried.id.clone();
    parts.board.announce(Notice::RolledBack { version, to: old, reason, who: None });
    Ok(())
}

/// The canary's deployment goes on where it was, with the version on trial.
fn go_on(parts: &Parts, record: CanaryRecord, version: &VersionRecord) -> RunningCanary {
    let what = (&version.id.service, &version.component);
    let whence = (&version.origin, version.who.as_deref());
    let progress = parts.board.begin(Some(&record.deployment), what, whence);
    let weight = record.settings.steps.get(record.step).copied().unwrap_or(100);
    progress.shares(record.new, weight, None);
    if record.held {
        progress.held(
            record.reason.clone().unwrap_or_else(|| "it was before the host started".to_owned()),
        );
    }
    RunningCanary { record, progress, overruled: CancellationToken::new() }
}

async fn load_anew(parts: &Arc<Parts>, record: VersionRecord) -> Option<(Arc<Manifest>, Program)> {
    let load = || {
        let record = record.clone();
        parts.blocking(move |parts| try_load(parts, &record))
    };
    if let Some(loaded) = load().await {
        return Some(loaded);
    }
    let version = &record.id;
    tracing::info!(%version, "compiling anew");
    let mut place = parts.compiles.enter(&version.service, Urgency::Awaited);
    let compiled = tokio::select! {
        compiled = compile_into_cache(parts, &mut place, record.component) => compiled,
        () = parts.stopping.cancelled() => return None,
    };
    drop(place);
    if let Err(error) = compiled {
        tracing::error!(%version, %error, "could not be compiled anew");
    }
    load().await
}

/// Maps and links every version, on all processors: a thousand take a quarter
/// of a second.
fn load_all(parts: &Parts, records: &[VersionRecord]) -> Vec<Loaded> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = records.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let load = |record: &VersionRecord| (record.clone(), try_load(parts, record));
        let shares: Vec<_> = records
            .chunks(share)
            .map(|share| scope.spawn(move || share.iter().map(load).collect::<Vec<_>>()))
            .collect();
        let joined = shares.into_iter().map(|share| share.join());
        joined
            .flat_map(|share| share.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
