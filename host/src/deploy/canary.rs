//! Canaries: a new version is given more of the traffic step by step, for as long
//! as it does as well as the old one; where it does worse, it loses what it had.
//!
//! Each step is watched for its pause. Where there is too little traffic to tell,
//! the step waits for more, and in the end for the operator: nothing is given to a
//! version that nobody has seen at work. An operator's word ends a canary at once.

mod judge;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::board::RunningCanary;
use super::deployments::DeploymentState;
use super::notice::Notice;
use super::parts::Parts;
use super::share::{Change, NotShared, share};
use crate::name::{ServiceName, VersionId};
use crate::service::{Kind, Leavers, Measurement, Share, TrafficPlan, Version};

use judge::{Look, Spending, Verdict};

/// Looks at the counters per pause.
const LOOKS: u32 = 10;
/// The time between two looks, at least and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What came of watching a step.
enum Watched {
    Passed,
    Failed(String),
    /// Too little traffic for too long.
    Starved(String),
    /// Someone else decided, or the host stops.
    Overruled,
}

/// The canary that tries this version, if one does.
pub(super) fn of(parts: &Parts, version: &VersionId) -> Option<RunningCanary> {
    let canary = parts.board.serving(&version.service)?.canary?;
    (canary.record.new == version.number).then_some(canary)
}

/// Begins the canary: its new version has its first share.
pub(super) fn run(parts: &Arc<Parts>, service: &ServiceName, canary: RunningCanary) {
    let (version, weight) = (canary.record.new, canary.record.settings.steps[canary.record.step]);
    tracing::info!(service = service.as_str(), version, weight, "canary begins");
    go_on(parts, service, canary);
}

/// Watches the canary in the background, from the step that it is at.
pub(super) fn go_on(parts: &Arc<Parts>, service: &ServiceName, canary: RunningCanary) {
    let (parts, service) = (Arc::clone(parts), service.clone());
    parts.clone().tasks.spawn(async move {
        let mut canary = canary;
        while let Some(next) = Box::pin(step(&parts, &service, canary)).await {
            canary = next;
        }
    });
}

/// Watches one step and does what follows from it; the canary as it goes on, if
/// it does.
async fn step(
    parts: &Arc<Parts>,
    service: &ServiceName,
    canary: RunningCanary,
) -> Option<RunningCanary> {
    let done = match watch(parts, service, &canary).await {
        Watched::Overruled => {
            log_superseded(parts, service, &canary).await;
            return None;
        }
        Watched::Failed(reason) => roll_back(parts, service, &canary, reason).await,
        Watched::Starved(reason) => hold(parts, service, &canary, reason).await,
        Watched::Passed => match canary.record.settings.steps.get(canary.record.step + 1) {
            Some(&weight) => advance(parts, service, &canary, weight).await,
            None => {
                let reason = "its last step is done: promote it or roll it back".to_owned();
                hold(parts, service, &canary, reason).await
            }
        },
    };
    done.unwrap_or_else(|error| {
        // Watched on as it is, and tried again.
        tracing::error!(service = service.as_str(), %error, "the canary could not go on");
        Some(canary)
    })
}

/// Has the log say that a newer version ended the canary, where one did. What an operator
/// decides is said where it is decided.
async fn log_superseded(parts: &Arc<Parts>, service: &ServiceName, canary: &RunningCanary) {
    if !canary.overruled.is_cancelled() {
        return;
    }
    // Whoever overruled it is in this turn until the board says what serves instead.
    let Ok(_swapping) = parts.swap_turn().await else { return };
    let serving = parts.board.serving(service).map(|serving| serving.versions).unwrap_or_default();
    let newest = serving.iter().map(|version| version.id.number).max();
    let version = canary.record.new;
    if let Some(by) = newest.filter(|newest| *newest > version) {
        tracing::info!(service = service.as_str(), version, by, "canary is superseded");
    }
}

/// Looks at both versions until it is clear what comes next.
async fn watch(parts: &Parts, service: &ServiceName, canary: &RunningCanary) -> Watched {
    let record = &canary.record;
    let compared = || {
        let snapshot = parts.registry.load();
        let service = snapshot.services.get(service)?;
        let version = |number| {
            service.traffic.versions().find(|version| version.id.number == number).cloned()
        };
        Some((version(record.old)?, version(record.new)?, Arc::clone(&service.metrics)))
    };
    let Some((old, new, metrics)) = compared() else { return Watched::Overruled };
    let leavers = &metrics.leavers;
    let takes = takes(&new);
    let mut window = Window::begin(leavers, &old, &new);
    let mut spending = Spending::at_step(record.step);
    let settings = &record.settings;
    let pause = (settings.pause / LOOKS).clamp(LOOK.0, LOOK.1);
    loop {
        tokio::select! {
            () = canary.overruled.cancelled() => return Watched::Overruled,
            () = parts.stopping.cancelled() => return Watched::Overruled,
            () = sleep(pause) => {}
        }
        let waited = window.began.elapsed();
        let starved = waited >= settings.pause.max(settings.wait);
        let (old_did, new_did) = window.since(&old, &new);
        let look = |chance| Look { settings, old: &old_did, new: &new_did, takes: &takes, chance };
        let verdict = look(spending.one_more_look()).judge();
        let ends = match &verdict {
            Verdict::Failed(_) => false,
            Verdict::Passed => waited >= settings.pause,
            Verdict::TooFew(_) => starved,
        };
        // The look that ends the step, or the pause that it is held, is the surest, and by
        // what there is.
        let worse = if ends { look(spending.last_look()).worse() } else { None };
        match verdict {
            Verdict::Failed(reason) => return Watched::Failed(reason),
            _ if worse.is_some() => return Watched::Failed(worse.unwrap_or_default()),
            // Held, it is only watched for its failure, by turns: what it did well for
            // days would hide what it does now.
            _ if ends && record.held => {
                window = Window::begin(leavers, &old, &new);
                spending.next_window();
            }
            _ if !ends => {}
            Verdict::Passed => return Watched::Passed,
            Verdict::TooFew(reason) => return Watched::Starved(reason),
        }
    }
}

/// What this version can be given at all.
fn takes(version: &Version) -> Vec<Kind> {
    let requests = (!version.routes().is_empty()).then_some(Kind::Request);
    let events = (!version.manifest.subscriptions.is_empty()).then_some(Kind::Delivery);
    let calls = (!version.provides().is_empty()).then_some(Kind::Call);
    requests.into_iter().chain(events).chain(calls).collect()
}

/// The time that both versions are compared over.
struct Window {
    began: Instant,
    old: Measurement,
    new: Measurement,
}

impl Window {
    /// In which each client counts once among those that leave.
    fn begin(leavers: &Leavers, old: &Version, new: &Version) -> Self {
        leavers.forget();
        Self { began: Instant::now(), old: old.metrics.read(), new: new.metrics.read() }
    }

    /// What the old version and the new did in it.
    fn since(&self, old: &Version, new: &Version) -> (Measurement, Measurement) {
        (old.metrics.read().since(&self.old), new.metrics.read().since(&self.new))
    }
}

/// What came of a change: the canary as it goes on, or none.
type Done = Result<Option<RunningCanary>, NotShared>;

/// The next step's share, or all of the traffic.
async fn advance(
    parts: &Arc<Parts>,
    service: &ServiceName,
    canary: &RunningCanary,
    weight: u8,
) -> Done {
    let RunningCanary { record, .. } = canary;
    let mut next = canary.clone();
    next.record.step += 1;
    let goes_on = (weight < 100).then_some(next);
    let versions = match goes_on {
        Some(_) => vec![
            Share { version: record.old, weight: 100 - weight },
            Share { version: record.new, weight },
        ],
        None => vec![Share { version: record.new, weight }],
    };
    if !change(parts, service, canary, versions, goes_on.clone(), None).await? {
        return Ok(None);
    }
    tracing::info!(service = service.as_str(), version = record.new, weight, "canary goes on");
    canary.progress.shares(record.new, weight, None);
    if goes_on.is_none() {
        canary.progress.ended(DeploymentState::Serving, Vec::new());
        let snapshot = parts.registry.load();
        let version = snapshot.services.get(service).map(|service| service.traffic.primary());
        if let Some(version) = version {
            super::announce(parts, version, None);
        }
    }
    Ok(goes_on)
}

/// The old version has all of the traffic again.
async fn roll_back(
    parts: &Arc<Parts>,
    service: &ServiceName,
    canary: &RunningCanary,
    reason: String,
) -> Done {
    let RunningCanary { record, .. } = canary;
    let versions = vec![Share { version: record.old, weight: 100 }];
    let rolled_back = Some((record.new, reason.clone()));
    if !change(parts, service, canary, versions, None, rolled_back).await? {
        return Ok(None);
    }
    tracing::warn!(service = service.as_str(), version = record.new, reason, "rolled back");
    canary.progress.ended(DeploymentState::RolledBack, vec![reason.clone()]);
    let version = VersionId { service: service.clone(), number: record.new };
    parts.board.announce(Notice::RolledBack { version, to: record.old, reason, who: None });
    Ok(None)
}

/// It keeps its share and waits for the operator.
async fn hold(
    parts: &Arc<Parts>,
    service: &ServiceName,
    canary: &RunningCanary,
    reason: String,
) -> Done {
    let mut held = canary.clone();
    held.record.held = true;
    held.record.reason = Some(reason.clone());
    let weight = canary.record.settings.steps[canary.record.step];
    let versions = vec![
        Share { version: canary.record.old, weight: 100 - weight },
        Share { version: canary.record.new, weight },
    ];
    if !change(parts, service, canary, versions, Some(held.clone()), None).await? {
        return Ok(None);
    }
    tracing::warn!(
        service = service.as_str(),
        version = canary.record.new,
        reason,
        "canary is held"
    );
    canary.progress.held(reason.clone());
    let version = VersionId { service: service.clone(), number: canary.record.new };
    parts.board.announce(Notice::Held { version, reason });
    Ok(Some(held))
}

/// Shares the traffic anew unless the canary was overruled; whether it did.
async fn change(
    parts: &Arc<Parts>,
    service: &ServiceName,
    canary: &RunningCanary,
    versions: Vec<Share>,
    goes_on: Option<RunningCanary>,
    rolled_back: Option<(u64, String)>,
) -> Result<bool, NotShared> {
    let swapping = parts.swap_turn().await?;
    // Whoever overrules it does so in this turn.
    if canary.overruled.is_cancelled() {
        return Ok(false);
    }
    let current = parts.registry.load().services.get(service).cloned();
    let current = current.ok_or_else(|| NotShared::NotDeployed(service.clone()))?;
    let plan = keeping(current.traffic.plan(), versions);
    // Both versions have traffic, so none is brought back.
    let change = Change { plan, canary: goes_on, rolled_back, revived: Vec::new(), who: None };
    let shares = share(parts, swapping, service, change, |_, _| {}).await?;
    shares.end().await?;
    Ok(true)
}

/// These shares, with the rules and the stickiness that there were, as far as the
/// rules' versions still have a share.
pub(super) fn keeping(before: &TrafficPlan, versions: Vec<Share>) -> TrafficPlan {
    let has_share = |number| versions.iter().any(|share| share.version == number);
    let rules = before.rules.iter().filter(|rule| has_share(rule.version)).cloned().collect();
    TrafficPlan { rules, sticky: before.sticky.clone(), versions }
}
