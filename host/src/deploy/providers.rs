//! What a candidate imports from other services, and what others import from it: whether all of
//! it is there once the candidate has its traffic.

use std::sync::Arc;

use super::gathering::{Entry, Members, Stage};
use super::operator::NotDone;
use super::parts::Parts;
use super::plugin_file::Part;
use super::receive::Candidate;
use super::refusal::{Refusal, Stop};
use super::settle::Change;
use super::validate::renamed_from;
use crate::name::ServiceName;
use crate::runtime::Program;
use crate::service::contracts::{Broken, Contract, Contracts, NoCallee};
use crate::service::{Snapshot, Version};

/// What stands against a candidate, of what it imports and what others import from it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What it imports that leads nowhere.
    unmet: Vec<NoCallee>,
    /// What others import from it, and would lose.
    broken: Vec<Broken>,
}

/// A candidate among the others, and how it stands.
pub(super) struct Judged {
    pub(super) entry: Entry,
    pub(super) standing: Standing,
}

impl Standing {
    /// Whether nothing stands against it.
    pub(super) fn is_good(&self) -> bool {
        self.unmet.is_empty() && self.broken.is_empty()
    }

    /// Whether it only lacks what somebody may bring.
    pub(super) fn waits(&self) -> bool {
        !self.is_good() && self.broken.is_empty() && self.unmet.iter().all(NoCallee::waits)
    }

    /// Each reason, in words.
    fn reasons(&self, waits: bool) -> Vec<String> {
        let unmet = self.unmet.iter().map(|unmet| match waits {
            true => unmet.to_string(),
            false => refused(unmet),
        });
        unmet.chain(self.broken.iter().map(ToString::to_string)).collect()
    }
}

/// Enters the candidate among those on their way, and looks whether it has all that it imports,
/// and leaves to others what they import: with what is deployed, on its way, or waits.
pub(super) fn judge(parts: &Parts, candidate: &Candidate, program: &Program) -> Judged {
    let service = &candidate.manifest.service;
    let is_canary = candidate.canary.is_some() && parts.compared_with(service).is_some();
    let entry = parts.gathering.enter(
        candidate.progress.id(),
        &candidate.manifest,
        program,
        (candidate.origin.file(), candidate.seen, is_canary),
    );
    let standing = standing(parts, candidate, Stage::Waits);
    Judged { entry, standing }
}

/// Has the files looked at that wait for what the candidate brings, and may go live with it.
fn wake(parts: &Parts, candidate: &Candidate) {
    let (snapshot, members) = moment(parts);
    let before = deployed(parts, candidate, &snapshot);
    let (together, _) = before.with_most(&members.contracts(&before, Stage::Waits));
    if together.contains(&candidate.manifest.service) {
        for file in parts.gathering.files(|service| together.contains(service)) {
            parts.note(&file, Part::Component, Change::Other);
        }
    }
}

/// The candidate's file waits: it is looked at again when somebody comes who has what it lacks.
/// Whatever others were refused for may be otherwise with it.
pub(super) fn wait(parts: &Arc<Parts>, candidate: &Candidate, entry: Option<Entry>) {
    let (Some(entry), Some(file)) = (entry, candidate.origin.file()) else { return };
    let before = parts.board.refusal(file).filter(|before| before.waits);
    let hold = parts.blobs.hold(candidate.digest);
    // Not each time that it is looked at: those that wait would wake each other for ever.
    if entry.waits(before.map(|before| before.seen), hold) {
        parts.look_at_blocked();
    }
}

/// Waits until those that the candidate cannot do without have come as far, if it depends on
/// candidates at all. It is refused where they do not come.
pub(super) async fn gather(
    parts: &Parts,
    candidate: &Candidate,
    entry: &Entry,
) -> Result<(), Stop> {
    let (mut members, mut deployed) = (parts.gathering.watch(), parts.registry.changed());
    entry.is_warmed();
    loop {
        // Noted before it is looked, so that no change falls in between.
        members.borrow_and_update();
        deployed.borrow_and_update();
        if entry.stage() == Some(Stage::Released) {
            return Ok(());
        }
        if standing(parts, candidate, Stage::Warmed).is_good() {
            release(parts, candidate);
            return Ok(());
        }
        let hoped = standing(parts, candidate, Stage::Waits);
        if !hoped.is_good() {
            return Err(refusal(candidate, &hoped).into());
        }
        // Those that found it not there yet, and wait.
        wake(parts, candidate);
        // Neither sender is gone: both are in `parts`.
        tokio::select! {
            _ = members.changed() => {}
            _ = deployed.changed() => {}
        }
    }
}

/// Why the candidate cannot have its traffic among these versions of its service, as things are
/// within a turn of the swap.
pub(super) fn refused_now(
    parts: &Parts,
    candidate: &Candidate,
    versions: &[Arc<Version>],
) -> Option<Refusal> {
    let (snapshot, members) = moment(parts);
    let before = deployed(parts, candidate, &snapshot);
    let joining = members.contracts(&before, Stage::Released);
    let service = &candidate.manifest.service;
    let mut then = before.with_most(&joining).1;
    then.serve(
        service.clone(),
        versions.iter().map(|version| Contract::from(&**version)).collect(),
    );
    let unmet = versions.first().map(|new| then.unmet(Contract::from(&**new)));
    let broken = lost_by(&own_names(parts, candidate), Contracts::of(&snapshot).broken_by(&then));
    let standing = Standing { unmet: unmet.unwrap_or_default(), broken };
    (!standing.is_good()).then(|| refusal(candidate, &standing))
}

/// Why these versions cannot share a service's traffic: what others import from it would be
/// gone, or what a version imports that has no traffic yet leads nowhere.
pub(super) fn refused_traffic<'a>(
    parts: &Parts,
    service: &ServiceName,
    versions: impl Iterator<Item = &'a Arc<Version>>,
) -> Vec<String> {
    let snapshot = Arc::clone(&parts.registry.load());
    let before = Contracts::of(&snapshot);
    let mut then = before.clone();
    let versions: Vec<_> = versions.map(|version| (version, Contract::from(&**version))).collect();
    then.serve(service.clone(), versions.iter().map(|(_, contract)| *contract).collect());
    let current = snapshot.services.get(service);
    let has_traffic = |version: &Arc<Version>| {
        let mut current = current.into_iter().flat_map(|service| service.traffic.versions());
        current.any(|with_traffic| Arc::ptr_eq(with_traffic, version))
    };
    let fresh = versions.iter().filter(|(version, _)| !has_traffic(version));
    let unmet = fresh.flat_map(|(version, contract)| {
        let unmet = then.unmet(*contract).into_iter();
        unmet.map(|unmet| format!("{}: {}", version.id, refused(&unmet)))
    });
    let broken = lost_by(std::slice::from_ref(service), before.broken_by(&then)).into_iter();
    unmet.chain(broken.map(|broken| broken.to_string())).collect()
}

/// What others would lose if the service were gone.
pub(super) fn dependents(parts: &Parts, service: &ServiceName) -> Vec<Broken> {
    let snapshot = Arc::clone(&parts.registry.load());
    let before = Contracts::of(&snapshot);
    let mut then = before.clone();
    then.remove(service);
    before.broken_by(&then)
}

/// Refuses to take away what other services import, unless that is what is meant.
pub(super) fn unless_imported(
    parts: &Parts,
    service: &ServiceName,
    force: bool,
) -> Result<(), NotDone> {
    let dependents = dependents(parts, service);
    let reasons: Vec<String> = dependents.iter().map(ToString::to_string).collect();
    if reasons.is_empty() {
        return Ok(());
    }
    if force {
        let reasons = reasons.join("; ");
        tracing::warn!(service = service.as_str(), reasons, "undeployed by force");
        return Ok(());
    }
    let by_force = format!("`hotdock undeploy --force {service}` undeploys it all the same");
    Err(NotDone::Refused(reasons.into_iter().chain([by_force]).collect()))
}

/// The refusal of a candidate that stands so: its file is looked at again when others change.
pub(super) fn refusal(candidate: &Candidate, standing: &Standing) -> Refusal {
    let waits = standing.waits() && candidate.origin.file().is_some();
    Refusal { blocked: true, waits, ..candidate.refused(standing.reasons(waits)) }
}

/// How the candidate stands once all those have their traffic that could go live together, of
/// those that have come as far as `least`.
fn standing(parts: &Parts, candidate: &Candidate, least: Stage) -> Standing {
    let service = &candidate.manifest.service;
    let (snapshot, members) = moment(parts);
    let before = deployed(parts, candidate, &snapshot);
    let waiting = members.contracts(&before, least);
    let (_, mut then) = before.with_most(&waiting);
    // Where it lacks something, it is told what with all others being there.
    let Some(own) = waiting.get(service) else { return Standing::default() };
    then.serve(service.clone(), own.clone());
    let unmet = own.first().map(|new| then.unmet(*new)).unwrap_or_default();
    let broken = lost_by(&own_names(parts, candidate), Contracts::of(&snapshot).broken_by(&then));
    Standing { unmet, broken }
}

/// The candidate goes live, and those that go live with it.
fn release(parts: &Parts, candidate: &Candidate) {
    let (snapshot, members) = moment(parts);
    let before = deployed(parts, candidate, &snapshot);
    let (together, _) = before.with_most(&members.contracts(&before, Stage::Warmed));
    parts.gathering.release(|service| together.contains(service));
}

fn moment(parts: &Parts) -> (Arc<Snapshot>, Members) {
    (Arc::clone(&parts.registry.load()), parts.gathering.members())
}

/// Why an import leads to no service, to somebody who does not wait.
fn refused(unmet: &NoCallee) -> String {
    match unmet {
        NoCallee::Missing { interface, missing } => format!(
            "import {interface} is exported by no service that may be called: {}; deploy that one \
             first, or put the component into the plugin folder, where it waits",
            missing.join(", ")
        ),
        unmet => unmet.to_string(),
    }
}

/// What is deployed, but for what goes as the candidate's file serves it under another name.
fn deployed<'a>(parts: &Parts, candidate: &Candidate, snapshot: &'a Snapshot) -> Contracts<'a> {
    let mut deployed = Contracts::of(snapshot);
    if let Some(renamed) = renamed_from(parts, candidate) {
        deployed.remove(&renamed);
    }
    deployed
}

/// The candidate's service, and what its file serves under another name until then.
fn own_names(parts: &Parts, candidate: &Candidate) -> Vec<ServiceName> {
    let renamed = renamed_from(parts, candidate);
    [candidate.manifest.service.clone()].into_iter().chain(renamed).collect()
}

/// Of what is lost, what is by the doing of these services.
fn lost_by(services: &[ServiceName], broken: Vec<Broken>) -> Vec<Broken> {
    let is_its = |broken: &Broken| {
        let is_one_too_many = match &broken.why {
            NoCallee::Ambiguous { exported_by, .. } => {
                exported_by.iter().any(|each| services.contains(each))
            }
            _ => false,
        };
        services.contains(&broken.callee) || is_one_too_many
    };
    broken.into_iter().filter(is_its).collect()
}
