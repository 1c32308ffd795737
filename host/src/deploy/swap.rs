//! Step 5: the new version gets traffic, in one step: all of it, or the first
//! share of its canary.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::board::{self, RunningCanary, Serving};
use super::canary;
use super::claims::Claim;
use super::deployments::DeploymentState;
use super::notice::Notice;
use super::operator;
use super::parts::Parts;
use super::plugin_file::Part;
use super::providers;
use super::receive::Candidate;
use super::record::{CanaryRecord, VersionRecord};
use super::refusal::{Refusal, Stop};
use super::settle::Change;
use super::validate::{of_events, renamed_from, route_conflicts};
use super::warm::Warmed;
use crate::failpoint;
use crate::service::{Service, Share, Traffic, TrafficPlan, Version};

/// Gives the version its share of its service's traffic. Returns the versions
/// that lost theirs.
///
/// `host.db` is committed first. A host that dies between the two has served
/// the old version only, and comes back with the new one: it is recorded whole,
/// and its component and code are synced. The other way round, requests would be
/// answered by a version that the next start knows nothing of.
pub(super) async fn swap(
    parts: &Arc<Parts>,
    candidate: &Candidate,
    claim: Claim,
    warmed: &Warmed,
) -> Result<Vec<Arc<Version>>, Stop> {
    // Held to the end, so that no other service takes a route in between and
    // the swap, once recorded, cannot be refused.
    let _swapping = parts.swap_turn().await.map_err(|late| candidate.blocked(late.to_string()))?;
    super::unless_called_off(parts, candidate)?;
    let conflicts = route_conflicts(parts, candidate, warmed.version.routes());
    if !conflicts.is_empty() {
        let reasons = conflicts.iter().map(ToString::to_string).collect();
        return Err(Refusal { blocked: true, ..candidate.refused(reasons) }.into());
    }
    let service = &warmed.version.id.service;
    let new = warmed.version.id.number;
    let current = parts.registry.load().services.get(service).cloned();
    let before = parts.board.serving(service);
    // Once more: what was decided while it was compiled and warmed is not undone.
    operator::check(service, before.as_ref(), &candidate.condition)
        .map_err(|changed| Stop::Superseded(changed.to_string()))?;
    let old = parts.compared_with(service).map(|old| old.id.number);
    let canary = old.and_then(|old| begun(candidate, old, new));
    let plan = plan(current.as_deref(), canary.as_ref(), new);
    let mut versions = vec![Arc::clone(&warmed.version)];
    versions.extend(current.iter().flat_map(|current| current.traffic.versions().cloned()));
    let is_in = |version: &&Arc<Version>| {
        plan.versions.iter().any(|share| share.version == version.id.number)
    };
    let with_traffic: Vec<_> = versions.iter().filter(is_in).cloned().collect();
    if let Some(refusal) = providers::refused_now(parts, candidate, &with_traffic) {
        return Err(refusal.into());
    }
    let weight = plan.weight(new);
    let lost = canary.as_ref().and_then(|_| lost_by_others(current.as_deref(), &plan));
    let note: Vec<String> = lost.into_iter().chain(kept_by_host(parts, &warmed.version)).collect();
    let note = (!note.is_empty()).then(|| note.join("; "));
    let record = VersionRecord {
        id: warmed.version.id.clone(),
        component: candidate.digest,
        manifest: candidate.text.clone(),
        origin: candidate.origin.clone(),
        who: candidate.who.clone(),
        deployed_at: board::now(),
        rolled_back: None,
    };
    let recorded = {
        let (record, seen, plan) = (record.clone(), candidate.seen, plan.clone());
        let canary = canary.as_ref().map(|canary| canary.record.clone());
        let recorded = parts.record.change(move |file| {
            failpoint::pass("before a deployment is recorded");
            let recorded = file.deploy(&record, &seen, &plan, canary.as_ref());
            failpoint::pass("after a deployment is recorded");
            recorded
        });
        recorded.await
    };
    let (revision, forgotten) = recorded.map_err(|error| candidate.unrecorded(&error))?;
    if forgotten {
        parts.sweep();
    }
    overrule(before.as_ref(), format!("version {new} was deployed meanwhile"));
    let mut replaced = give_up_renamed(parts, candidate);
    let traffic = Traffic::new(plan.clone(), &versions).expect("it names these versions only");
    let known = before.into_iter().flat_map(|before| before.versions);
    let kept = known.filter(|known| plan.weight(known.id.number) > 0);
    let versions = kept.chain([record]).collect();
    let file = candidate.origin.file().cloned();
    let serving = Serving { file, revision, versions, canary: canary.clone() };
    let shared = parts
        .board
        .serves(service.clone(), serving, || parts.registry.share(service, traffic, &warmed.store));
    replaced.extend(shared.expect("its routes were free, and nothing else shares traffic now"));
    if let Some(taken) = claim.taken_from().filter(|taken| Some(*taken) != candidate.origin.file())
        && candidate.origin.file().is_some()
    {
        // What is still known of the file that this one was renamed from goes.
        parts.note(taken, Part::Component, Change::Gone);
    }
    claim.keep();
    if let Some(file) = candidate.origin.file() {
        parts.board.acted(file, candidate.seen);
    }
    candidate.progress.shares(new, weight, note);
    parts.board.announce(Notice::Shared { service: service.clone(), traffic: plan, who: None });
    match canary {
        Some(canary) => canary::run(parts, service, canary),
        None => candidate.progress.ended(DeploymentState::Serving, Vec::new()),
    }
    Ok(replaced)
}

/// The canary that the candidate begins with, if it is to have one.
fn begun(candidate: &Candidate, old: u64, new: u64) -> Option<RunningCanary> {
    let settings = candidate.canary.clone()?;
    if settings.steps.first() == Some(&100) {
        return None;
    }
    let deployment = candidate.progress.id().to_owned();
    let record =
        CanaryRecord { deployment, old, new, settings, step: 0, held: false, reason: None };
    let progress = candidate.progress.clone();
    Some(RunningCanary { record, progress, overruled: CancellationToken::new() })
}

/// All to the new version, or its first share with the rest to the old one.
/// What keeps clients on their versions stays as it was; rules stay with theirs.
fn plan(current: Option<&Service>, canary: Option<&RunningCanary>, new: u64) -> TrafficPlan {
    let before = current.map(|current| current.traffic.plan());
    let sticky = before.and_then(|before| before.sticky.clone());
    let Some(RunningCanary { record, .. }) = canary else {
        return TrafficPlan { sticky, ..TrafficPlan::all(new) };
    };
    let weight = record.settings.steps[0];
    let versions =
        vec![Share { version: record.old, weight: 100 - weight }, Share { version: new, weight }];
    let rules = before.into_iter().flat_map(|before| before.rules.clone());
    let rules = rules.filter(|rule| rule.version == record.old).collect();
    TrafficPlan { versions, rules, sticky: record.settings.sticky.clone().or(sticky) }
}

/// What other versions than the two that are compared had until now.
fn lost_by_others(current: Option<&Service>, plan: &TrafficPlan) -> Option<String> {
    let before = current?.traffic.plan().versions.iter();
    let lost = before.filter(|share| share.weight > 0 && plan.weight(share.version) == 0);
    let lost: Vec<_> =
        lost.map(|share| format!("v{} loses its {} %", share.version, share.weight)).collect();
    (!lost.is_empty()).then(|| lost.join(", "))
}

/// What of the version's routes the host keeps for itself; the log says so, too.
fn kept_by_host(parts: &Parts, version: &Version) -> Vec<String> {
    if !parts.config.takes_events {
        return Vec::new();
    }
    let kept = of_events(version.routes()).map(|route| {
        tracing::warn!(
            service = version.id.service.as_str(),
            version = version.id.number,
            %route,
            "requests for this path itself never reach the service: the host takes events there \
             ([events] accept)"
        );
        format!(
            "route {route} reaches it only below {}: the host takes events there ([events] accept)",
            route.path
        )
    });
    kept.collect()
}

/// Ends the canary that was under way: someone else decides now.
pub(super) fn overrule(before: Option<&Serving>, reason: String) {
    if let Some(canary) = before.and_then(|before| before.canary.as_ref()) {
        canary.overruled.cancel();
        canary.progress.ended(DeploymentState::Superseded, vec![reason]);
    }
}

/// What the candidate's file served under another name goes, as this comes.
fn give_up_renamed(parts: &Parts, candidate: &Candidate) -> Vec<Arc<Version>> {
    let (Some(renamed), Some(file)) = (renamed_from(parts, candidate), candidate.origin.file())
    else {
        return Vec::new();
    };
    parts.claims.release(&renamed, file);
    let reason = format!("its file serves {} now", candidate.manifest.service);
    overrule(parts.board.serving(&renamed).as_ref(), reason);
    // First, as the new name may have the same routes.
    let removed = parts.registry.remove(&renamed);
    removed.map(|service| service.traffic.versions().cloned().collect()).unwrap_or_default()
}
