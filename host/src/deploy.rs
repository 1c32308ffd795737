//! Deployments: from a file in the plugin folder to a version with traffic.
//!
//! The [`Deployer`] watches the folder. A pair of files that has settled is
//! received (copied and known by its digest from there on) and goes through the
//! steps of `run`. A candidate that fails any of them changes nothing that
//! serves. `host.db` in the data folder remembers what serves, so that a restart
//! brings it back from the cache.
//!
//! `cart.wasm` gone means the service is gone, its store is kept; `cart.toml`
//! changed or gone is a change of the manifest.
//!
//! The [`Operator`] does the same by word: uploads, shares traffic, rolls back.
//! The two don't fight: a file acts once, when what it holds changes or it goes;
//! the operator acts when asked; whoever acted last has decided. A service belongs
//! to whoever deployed it last, so a file that goes takes its service with it only
//! if nothing was uploaded since.

mod access;
mod alone;
mod blobs;
mod board;
mod canary;
mod carried;
mod check;
mod claims;
mod compatibility;
mod compile;
mod config;
mod decide;
mod deployer;
mod deployments;
mod description;
mod diff;
mod drain;
mod exports;
mod gathering;
mod inspect;
mod no_room;
mod notice;
mod opened;
mod operator;
mod origin;
mod pack;
mod pair;
mod parts;
mod plugin_file;
mod preamble;
mod providers;
mod receive;
mod record;
mod refusal;
mod relations;
mod restore;
mod revive;
mod secrets;
mod settle;
mod share;
mod status;
mod stores;
mod swap;
mod told;
mod undeploy;
mod upload;
mod validate;
mod warm;
mod watch;
mod worker;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;

pub use access::Import;
pub use alone::{Compiler, deploy_alone, load_alone};
pub use check::{Checked, check};
pub use compile::child::{ChildError, compile_child};
pub use config::DeployConfig;
pub use deployer::{Deployer, StartError, StatusReader};
pub use deployments::{Deployment, DeploymentState, StepTime};
pub use description::Description;
pub use diff::{Diff, diff};
pub use exports::{exported, lost};
pub use inspect::{Asked, Inspection, inspect};
pub use notice::Notice;
pub use operator::{Asking, Changed, Condition, NotDone, Operator};
pub use pack::pack;
pub use pair::Pair;
pub use record::{RecordError, check_record};
pub use relations::{ProvidedInterface, UsedInterface};
pub use status::{
    CanaryStatus, CandidateStatus, DrainingStatus, FileStatus, KeptVersion, PendingStatus,
    RefusalStatus, RolledBack, ServiceState, ServiceStatus, Status, Step, UploadStatus,
    VersionOrigin, VersionStatus,
};
pub use upload::{Spool, Takeover, Upload};

use claims::Claim;
use gathering::Entry;
use parts::Parts;
use plugin_file::Part;
use receive::Candidate;
use refusal::{CHANGED, Refusal, Stop};

use crate::failpoint;

/// Takes a candidate through its deployment, in its service's turn, up to its
/// traffic; a canary goes on from there by itself.
async fn run(parts: &Arc<Parts>, candidate: Candidate) -> Result<(), Stop> {
    let mut entry = None;
    let result = AssertUnwindSafe(steps(parts, &candidate, &mut entry)).catch_unwind().await;
    let result = result.unwrap_or_else(|_| Err(candidate.panicked().into()));
    let (state, reasons) = match &result {
        Ok(()) => {
            parts.board.forget_called_off(candidate.progress.id());
            return result;
        }
        Err(Stop::Refused(refusal)) if refusal.waits => {
            providers::wait(parts, &candidate, entry.take());
            (DeploymentState::Pending, refusal.reasons.clone())
        }
        Err(Stop::Refused(refusal)) => (DeploymentState::Refused, refusal.reasons.clone()),
        Err(Stop::Superseded(reason)) => (DeploymentState::Superseded, vec![reason.clone()]),
        Err(Stop::Stopping) => {
            (DeploymentState::Superseded, vec!["the host was stopped".to_owned()])
        }
    };
    candidate.progress.ended(state, reasons);
    // Not before it has ended: until then whoever calls off once more is not told that it was
    // under way.
    parts.board.forget_called_off(candidate.progress.id());
    result
}

/// `entry` is the candidate's place among those that others may need, as soon as it has one.
async fn steps(
    parts: &Arc<Parts>,
    candidate: &Candidate,
    entry: &mut Option<Entry>,
) -> Result<(), Stop> {
    let claim = claim(parts, candidate)?;
    failpoint::panic_at("in a deployment");
    let compiled = wanted(parts, candidate, compile::compile(parts, candidate));
    let compiled = unless_stopped(parts, unless_replaced(parts, candidate, compiled)).await?;
    failpoint::pass("after compiling");
    let program =
        wanted(parts, candidate, validate::validate(parts, candidate, compiled.component, entry));
    let program = unless_stopped(parts, program).await?;
    failpoint::pass("after validating");
    // What is migrated is migrated for good: not what its file no longer has.
    let warmed = tokio::select! {
        biased;
        () = candidate.superseded(parts) => Err(Stop::Superseded(CHANGED.to_owned())),
        warmed = wanted(parts, candidate, warm::warm(parts, candidate, program)) => warmed,
    }?;
    failpoint::pass("after warming");
    if let Some(entry) = entry {
        let gathered = wanted(parts, candidate, providers::gather(parts, candidate, entry));
        let gathered = unless_stopped(parts, gathered).await;
        gathered.inspect_err(|_| warmed.version.retire())?;
    }
    let replaced = match swap::swap(parts, candidate, claim, &warmed).await {
        Ok(replaced) => replaced,
        Err(stop) => {
            warmed.version.retire();
            return Err(stop);
        }
    };
    failpoint::pass("after swapping");
    if canary::of(parts, &warmed.version.id).is_none() {
        announce(parts, &warmed.version, compiled.compile_time);
    }
    for version in replaced {
        drain::drain(parts, version);
    }
    Ok(())
}

/// A step, as long as the candidate is wanted: one that is called off computes nothing more, such
/// as a migration, for which the version that serves would wait.
async fn wanted<T>(
    parts: &Parts,
    candidate: &Candidate,
    step: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    let done = tokio::select! {
        biased;
        () = parts.board.called_off(candidate.progress.id()) => None,
        done = step => Some(done),
    };
    match done {
        Some(done) => done,
        None => Err(unless_called_off(parts, candidate)
            .err()
            .unwrap_or_else(|| Stop::Superseded("it was called off".to_owned()))),
    }
}

/// A step that may be given up, as long as the candidate's files are what they were: what they no
/// longer have, nobody waits for.
async fn unless_replaced<T>(
    parts: &Parts,
    candidate: &Candidate,
    step: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    tokio::select! {
        biased;
        done = step => done,
        () = replaced(parts, candidate) => Err(Stop::Superseded(CHANGED.to_owned())),
    }
}

/// Resolves when the candidate's files are others or gone, and not where they are only to be looked
/// at again; never, where it has none.
async fn replaced(parts: &Parts, candidate: &Candidate) {
    let Some(file) = candidate.origin.file() else { return std::future::pending().await };
    loop {
        candidate.superseded(parts).await;
        if parts.is_replaced(file) {
            return;
        }
        // It stays noted until its worker looks at it, which it does after this step.
        tokio::time::sleep(parts.config.quiet).await;
    }
}

/// An operator called it off, rolled its service back or undeployed it while it was on its way: it
/// is not what was meant to serve next.
fn unless_called_off(parts: &Parts, candidate: &Candidate) -> Result<(), Stop> {
    match parts.board.why_called_off(candidate.progress.id()) {
        // A file that is only superseded would act again at the next start.
        Some(reason) if candidate.origin.file().is_some() => {
            Err(candidate.refused(vec![reason]).into())
        }
        Some(reason) => Err(Stop::Superseded(reason)),
        None => Ok(()),
    }
}

/// Claims the candidate's service for its file; refused when another has it.
fn claim(parts: &Arc<Parts>, candidate: &Candidate) -> Result<Claim, Refusal> {
    let service = &candidate.manifest.service;
    let is_gone = |file: &plugin_file::Stem| matches!(file.signature(&parts.config.folder), Ok(signature) if signature.component.is_none());
    parts.claims.claim(service, &candidate.origin, is_gone).map_err(|holder| {
        let reason =
            format!("service {service} is already deployed from {}", holder.file(Part::Component));
        Refusal { blocked: true, ..candidate.refused(vec![reason]) }
    })
}

/// The first steps may end at any moment; from the first migration on a
/// deployment goes through.
async fn unless_stopped<T>(
    parts: &Parts,
    step: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    tokio::select! {
        done = step => done,
        () = parts.stopping.cancelled() => Err(Stop::Stopping),
    }
}

fn announce(
    parts: &Parts,
    version: &crate::service::Version,
    compile_time: Option<std::time::Duration>,
) {
    let routes: Vec<String> = version.routes().iter().map(ToString::to_string).collect();
    tracing::info!(
        service = version.id.service.as_str(),
        version = version.id.number,
        digest = version.digest.short(),
        routes = routes.join(" "),
        compile_ms = compile_time.map(|time| time.as_millis()),
        "serving"
    );
    parts.board.announce(Notice::Serving {
        version: version.id.clone(),
        routes,
        compile_time,
        restored: false,
    });
}
