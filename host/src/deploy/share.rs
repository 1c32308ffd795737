//! How a service's traffic is shared anew: recorded, then stored with the routes
//! in one step, then whoever lost theirs drains.

use std::sync::Arc;

use super::board::{RunningCanary, Serving};
use super::carried::{Carried, Unsettled};
use super::drain::drain;
use super::notice::Notice;
use super::parts::{Parts, SwapLate, SwapTurn};
use super::providers;
use super::record::{CanaryRecord, RecordError, VersionRecord};
use super::revive::NotRevived;
use crate::failpoint;
use crate::name::ServiceName;
use crate::service::{RouteConflict, Service, Traffic, TrafficError, TrafficPlan, Version};

/// A change of a service's traffic among versions that are kept.
pub(super) struct Change {
    pub(super) plan: TrafficPlan,
    /// The canary that goes on, if one does.
    pub(super) canary: Option<RunningCanary>,
    /// The version that loses its share by its fault or the operator's word, and why.
    pub(super) rolled_back: Option<(u64, String)>,
    /// The versions that have no traffic yet and get some, with subscriptions that have
    /// begun; others may be among them.
    pub(super) revived: Vec<Arc<Version>>,
    /// The operator whose word it is, if it is one's and that is to be announced.
    pub(super) who: Option<String>,
}

/// Why traffic cannot be shared so.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotShared {
    #[error("service {0} is not deployed")]
    NotDeployed(ServiceName),
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    #[error(transparent)]
    Revive(#[from] NotRevived),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Routes(Vec<RouteConflict>),
    #[error("{}", .0.join("; "))]
    Calls(Vec<String>),
    #[error(transparent)]
    Late(#[from] SwapLate),
    #[error(transparent)]
    Unsettled(#[from] Unsettled),
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The records of the versions that are to get traffic, and are neither among those
/// that have some nor in `revived`.
pub(super) async fn missing(
    parts: &Arc<Parts>,
    current: &Service,
    plan: &TrafficPlan,
    revived: &[Arc<Version>],
) -> Result<Vec<VersionRecord>, NotShared> {
    plan.check()?;
    let mut records = records(parts, &current.name, plan).await?;
    let is_there = |record: &VersionRecord| {
        let mut there = current.traffic.versions().chain(revived);
        there.any(|version| version.id == record.id)
    };
    records.retain(|record| !is_there(record));
    Ok(records)
}

/// Begins to share the traffic of `service` as `change` says, in `swapping`'s turn; `then` is
/// done when it is, with what is left of the turn.
///
/// `host.db` is committed first: a host that dies between the two has answered as
/// it was shared before, and comes back as it is shared now.
pub(super) async fn share(
    parts: &Arc<Parts>,
    swapping: SwapTurn,
    service: &ServiceName,
    change: Change,
    then: impl FnOnce(&Parts, SwapTurn) + Send + 'static,
) -> Result<Carried<Result<(), NotShared>>, NotShared> {
    change.plan.check()?;
    let not_deployed = || NotShared::NotDeployed(service.clone());
    let current: Arc<Service> =
        parts.registry.load().services.get(service).cloned().ok_or_else(not_deployed)?;
    let serving = parts.board.serving(service).ok_or_else(not_deployed)?;
    let records = records(parts, service, &change.plan).await?;
    let mut versions: Vec<_> = current.traffic.versions().cloned().collect();
    for record in &records {
        if versions.iter().any(|version| version.id == record.id) {
            continue;
        }
        let revived = change.revived.iter().find(|revived| revived.id == record.id);
        versions.extend(revived.cloned());
    }
    let traffic = Traffic::new(change.plan.clone(), &versions)?;
    for version in traffic.versions() {
        let conflicts = parts.registry.conflicts(service, version.routes());
        let own = conflicts.into_iter().filter(|conflict| conflict.claimant == *service);
        let own: Vec<_> = own.collect();
        if !own.is_empty() {
            return Err(NotShared::Routes(own));
        }
    }
    let refused = providers::refused_traffic(parts, service, traffic.versions());
    if !refused.is_empty() {
        return Err(NotShared::Calls(refused));
    }
    let (within, service) = (Arc::clone(parts), service.clone());
    let Change { plan, canary, rolled_back, who, .. } = change;
    Ok(parts.carry(async move {
        let parts = &within;
        let recorded = canary.as_ref().map(|canary| canary.record.clone());
        let revision = record(parts, &service, &plan, recorded, rolled_back).await?;
        let now = Serving { file: serving.file, revision, versions: records, canary };
        let lost = parts.board.serves(service.clone(), now, || {
            parts.registry.share(&service, traffic, &current.store)
        });
        let lost = lost.expect("its routes were free, and nothing else shares traffic now");
        parts.board.announce(Notice::Shared { service, traffic: plan, who });
        for version in lost {
            drain(parts, version);
        }
        then(parts, swapping);
        // Others may wait for what the versions export that have the traffic now.
        parts.look_at_blocked();
        Ok(())
    }))
}

/// Records how the traffic is shared. Returns the service's revision.
async fn record(
    parts: &Parts,
    service: &ServiceName,
    plan: &TrafficPlan,
    canary: Option<CanaryRecord>,
    rolled_back: Option<(u64, String)>,
) -> Result<u64, RecordError> {
    let (service, plan) = (service.clone(), plan.clone());
    let recorded = parts.record.change(move |record| {
        let rolled_back = rolled_back.as_ref().map(|(number, reason)| (*number, reason.as_str()));
        failpoint::pass("before traffic is recorded");
        let recorded = record.share(&service, &plan, canary.as_ref(), rolled_back);
        failpoint::pass("after traffic is recorded");
        recorded
    });
    recorded.await
}

/// The records of the versions that the plan names.
async fn records(
    parts: &Arc<Parts>,
    service: &ServiceName,
    plan: &TrafficPlan,
) -> Result<Vec<VersionRecord>, NotShared> {
    let numbers: Vec<u64> = plan.versions.iter().map(|share| share.version).collect();
    let service = service.clone();
    let found = parts.record.read(move |record| {
        let find = |number| record.version(&service, number).map(|found| (number, found));
        numbers.into_iter().map(find).collect::<Result<Vec<_>, _>>()
    });
    let found = found.await?.into_iter();
    let known = found.map(|(number, found)| found.ok_or(TrafficError::NoSuchVersion(number)));
    Ok(known.collect::<Result<_, _>>()?)
}
