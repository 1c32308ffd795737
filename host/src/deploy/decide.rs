//! What an operator decides about a service's traffic, in one turn with nobody
//! else's. The kept versions that it takes are brought back before the turn:
//! compiling one anew takes seconds, in which nothing else could be decided.

use std::sync::Arc;

use super::board::{RunningCanary, Serving};
use super::canary::keeping;
use super::deployments::DeploymentState;
use super::drain::close_store;
use super::notice::Notice;
use super::operator::{Asking, NotDone, check, must_be_kept, not_deployed};
use super::parts::{Parts, SwapTurn};
use super::revive::{NotRevived, revive};
use super::share::{self, Change, share};
use crate::name::{ServiceName, VersionId};
use crate::service::{Service, Share, TrafficPlan, Version};

/// An operator's word about a service's traffic.
pub(super) enum Word {
    /// Shared so.
    Share(TrafficPlan),
    /// All to this version: by default to the one on trial.
    Promote(Option<u64>),
    /// All to an earlier version: by default to the one that served before.
    RollBack { to: Option<u64>, reason: String },
}

/// How a service stands when it is decided about.
struct Now<'a> {
    service: &'a ServiceName,
    current: &'a Service,
    serving: &'a Serving,
}

/// What the word comes to.
struct Decision {
    plan: TrafficPlan,
    /// The version that loses its share for good, and why.
    rolled_back: Option<(u64, String)>,
    /// What the canary under way comes to, and why.
    canary_ends: (DeploymentState, String),
}

/// What became of the word.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// The deployments on their way that were called off.
    pub(super) called_off: Vec<String>,
    /// Whether the traffic is shared anew.
    pub(super) is_shared: bool,
}

/// Has the traffic shared as the word is, if the condition holds; the canary under
/// way ends with it. A rollback that names no version only calls off what is on its way,
/// where there is something and no canary.
pub(super) async fn decide(
    parts: &Arc<Parts>,
    service: &ServiceName,
    asked: &Asking,
    word: &Word,
) -> Result<Decided, NotDone> {
    let mut revived: Vec<Arc<Version>> = Vec::new();
    // Once more where a version had to be brought back, as something else may have
    // been decided in between.
    let mut called_off = Vec::new();
    loop {
        let swapping = parts.swap_turn().await?;
        let current = parts.registry.load().services.get(service).cloned();
        let Some((serving, current)) = parts.board.serving(service).zip(current) else {
            drop(swapping);
            return Err(not_deployed(parts, service.as_str()).await);
        };
        check(service, Some(&serving), &asked.condition)?;
        let now = Now { service, current: &current, serving: &serving };
        if let Word::RollBack { to, .. } = word {
            // Not what begins while a version is brought back: the traffic is to be moved then.
            let only_calls_off = to.is_none() && serving.canary.is_none() && revived.is_empty();
            called_off.extend(call_off(parts, service, asked, only_calls_off));
            if only_calls_off && !called_off.is_empty() {
                return Ok(Decided { called_off, is_shared: false });
            }
        }
        let decision = match now.decision(parts, word).await {
            // There was nothing else to take back.
            Err(NotDone::Busy(_)) if !called_off.is_empty() => {
                return Ok(Decided { called_off, is_shared: false });
            }
            decision => decision?,
        };
        if matches!(word, Word::Promote(_)) && now.is_shared_so(&decision.plan) {
            return Ok(Decided::default());
        }
        let missing = share::missing(parts, &current, &decision.plan, &revived).await?;
        if missing.is_empty() {
            let Decision { plan, rolled_back, canary_ends } = decision;
            let (shared, lost) = (plan.clone(), rolled_back.clone());
            let (who, is_rollback) = (asked.by(), matches!(word, Word::RollBack { .. }));
            // Of a rollback it is said with its reason, below.
            let announced = (!is_rollback).then(|| who.clone());
            let change = Change { plan, canary: None, rolled_back, revived, who: announced };
            let what = if matches!(word, Word::Promote(_)) { "promoted" } else { "shared" };
            let (of, canary) = (service.clone(), serving.canary);
            let then = move |parts: &Parts, swapping: SwapTurn| {
                // Still in the turn: its next step would undo this.
                end(canary, &shared, canary_ends);
                drop(swapping);
                if !is_rollback {
                    tracing::info!(service = of.as_str(), traffic = %shared, who, "{what}");
                }
                announce(parts, (&of, &shared), lost, who);
            };
            let shares = share(parts, swapping, service, change, then).await?;
            shares.within(parts.change_patience()).await??;
            return Ok(Decided { called_off, is_shared: true });
        }
        drop(swapping);
        for record in &missing {
            let version = revive(parts, record).await?;
            begin_subscriptions(parts, &version).await?;
            revived.push(version);
        }
    }
}

/// Calls off what is on its way, which would undo a rollback. `alone`: the traffic stays.
fn call_off(parts: &Parts, service: &ServiceName, asked: &Asking, alone: bool) -> Vec<String> {
    let who = asked.by();
    let reason = match alone {
        true => format!("{who} called it off"),
        false => format!("{who} rolled {service} back meanwhile"),
    };
    let called_off = parts.board.call_off(service, &reason);
    if !called_off.is_empty() {
        let deployments = called_off.join(", ");
        tracing::info!(service = service.as_str(), deployments, who, "called off");
    }
    called_off
}

/// Not in anybody's turn but the service's own: its store may take its time.
async fn begin_subscriptions(parts: &Arc<Parts>, version: &Version) -> Result<(), NotRevived> {
    let service = &version.id.service;
    let failed = |reason: String| NotRevived::Events(version.id.clone(), reason);
    let store = parts.stores.of(service).await.map_err(|error| failed(error.to_string()))?;
    let prepared = parts.events.prepare(service, &store, &version.manifest).await;
    // It may have been undeployed meanwhile.
    let (of, undeployed) = (Arc::clone(parts), service.clone());
    parts.tasks.spawn(async move { close_store(&of, &undeployed).await });
    prepared.map_err(|error| failed(error.to_string()))
}

impl Now<'_> {
    async fn decision(&self, parts: &Arc<Parts>, word: &Word) -> Result<Decision, NotDone> {
        match word {
            Word::Share(plan) => Ok(Decision {
                plan: plan.clone(),
                rolled_back: None,
                canary_ends: (
                    DeploymentState::Superseded,
                    "the operator shared the traffic".to_owned(),
                ),
            }),
            Word::Promote(to) => self.promotion(parts, *to).await,
            Word::RollBack { to, reason } => self.rollback(parts, *to, reason).await,
        }
    }

    /// Whether the traffic is shared so, and no canary is to end.
    fn is_shared_so(&self, plan: &TrafficPlan) -> bool {
        self.serving.canary.is_none() && self.current.traffic.plan() == plan
    }

    async fn promotion(&self, parts: &Arc<Parts>, to: Option<u64>) -> Result<Decision, NotDone> {
        let newest = self.newest();
        let on_trial = self.serving.canary.as_ref().map(|canary| canary.record.new);
        let by_default = on_trial.or_else(|| self.current.traffic.is_split().then_some(newest));
        let to = match to.or(by_default) {
            Some(to) => to,
            None => self.unless_rolled_back(parts, newest).await?,
        };
        let state = match on_trial {
            Some(new) if new == to => DeploymentState::Serving,
            _ => DeploymentState::Superseded,
        };
        Ok(Decision {
            plan: self.all_to(to),
            rolled_back: None,
            canary_ends: (state, "the operator promoted it".to_owned()),
        })
    }

    /// The version that has all the traffic, where none that is newer lost its own: who promotes
    /// what came in at once finds it promoted, and who promotes a canary that failed does not.
    async fn unless_rolled_back(&self, parts: &Arc<Parts>, newest: u64) -> Result<u64, NotDone> {
        let service = self.service.clone();
        let kept = parts.record.read(move |record| record.versions(&service)).await?;
        match kept.iter().find(|record| record.id.number > newest) {
            None => Ok(newest),
            Some(newer) => Err(NotDone::Busy(format!(
                "{} v{newest} has all the traffic, and v{}, which is newer, lost its own: name one \
                 to promote it",
                self.service, newer.id.number
            ))),
        }
    }

    async fn rollback(
        &self,
        parts: &Arc<Parts>,
        to: Option<u64>,
        reason: &str,
    ) -> Result<Decision, NotDone> {
        if let Some(to) = to {
            must_be_kept(parts, self.service, to).await?;
        }
        let newest = self.newest();
        let compared_with = self.serving.canary.as_ref().map(|canary| canary.record.old);
        let to = match to.or(compared_with) {
            Some(to) => to,
            None => self.earlier(parts, newest).await?,
        };
        if to >= newest {
            return Err(NotDone::Busy(format!(
                "{} v{to} is not earlier than v{newest}, which has traffic: promote it",
                self.service
            )));
        }
        Ok(Decision {
            plan: self.all_to(to),
            rolled_back: Some((newest, reason.to_owned())),
            canary_ends: (DeploymentState::RolledBack, reason.to_owned()),
        })
    }

    /// What served before the newest version with traffic: the one that has the
    /// greatest share beside it, else the one that had it before; where that is
    /// worth nothing any more, the newest that had it at some time and is.
    async fn earlier(&self, parts: &Arc<Parts>, newest: u64) -> Result<u64, NotDone> {
        let primary = self.current.traffic.primary().id.number;
        if primary < newest {
            return Ok(primary);
        }
        let service = self.service.clone();
        let found = parts.record.read(move |record| record.earlier(&service, newest)).await?;
        found.ok_or_else(|| {
            NotDone::Busy(format!(
                "no version of {} before v{newest} is kept that served and was not rolled back: \
                 name one to roll back to it",
                self.service
            ))
        })
    }

    fn newest(&self) -> u64 {
        let mut versions = self.current.traffic.versions();
        versions.next().map_or(0, |version| version.id.number)
    }

    fn all_to(&self, version: u64) -> TrafficPlan {
        keeping(self.current.traffic.plan(), vec![Share { version, weight: 100 }])
    }
}

/// Ends the canary that was under way.
fn end(
    canary: Option<RunningCanary>,
    plan: &TrafficPlan,
    (state, reason): (DeploymentState, String),
) {
    let Some(canary) = canary else { return };
    canary.overruled.cancel();
    if state == DeploymentState::Serving {
        canary.progress.shares(canary.record.new, plan.weight(canary.record.new), None);
    }
    canary.progress.ended(state, vec![reason]);
}

/// Says which version lost its share for good.
fn announce(
    parts: &Parts,
    (service, plan): (&ServiceName, &TrafficPlan),
    lost: Option<(u64, String)>,
    who: String,
) {
    let (Some((number, reason)), Some(to)) = (lost, Share::greatest(&plan.versions)) else {
        return;
    };
    tracing::info!(service = service.as_str(), version = number, to, reason, who, "rolled back");
    let version = VersionId { service: service.clone(), number };
    parts.board.announce(Notice::RolledBack { version, to, reason, who: Some(who) });
}
