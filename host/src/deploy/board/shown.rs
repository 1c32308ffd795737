//! What is known, as the status shows it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Draining, RunningCanary, Serving};
use crate::deploy::deployments::Deployment;
use crate::deploy::record::{CanaryRecord, RefusalRecord};
use crate::deploy::status::{
    CanaryStatus, CandidateStatus, DrainingStatus, PendingStatus, RefusalStatus, UploadStatus,
    VersionStatus,
};
use crate::service::{Service, Version};

pub(super) fn refusal_status(file: &str, refusal: &RefusalRecord) -> Option<RefusalStatus> {
    let RefusalRecord { seen, reasons, at, waits, .. } = refusal.clone();
    let digest = seen.component.map(|digest| digest.to_string());
    (!waits).then(|| RefusalStatus { file: file.to_owned(), digest, reasons, at })
}

pub(super) fn pending_status(file: &str, refusal: &RefusalRecord) -> Option<PendingStatus> {
    let RefusalRecord { seen, reasons, at, waits, .. } = refusal.clone();
    let digest = seen.component.map(|digest| digest.to_string());
    waits.then(|| PendingStatus { file: file.to_owned(), digest, reasons, at })
}

pub(super) fn candidate_of(
    candidates: &[Deployment],
    wanted: impl Fn(&Deployment) -> bool,
) -> Option<CandidateStatus> {
    let deployment = candidates.iter().rev().find(|each| wanted(each))?;
    let last = deployment.steps.last()?;
    Some(CandidateStatus {
        deployment: deployment.id.clone(),
        file: deployment.file.clone(),
        service: deployment.service.clone(),
        digest: deployment.digest.clone(),
        step: last.step,
        since: last.at.clone(),
    })
}

pub(super) fn candidate_of_file(candidates: &[Deployment], file: &str) -> Option<CandidateStatus> {
    candidate_of(candidates, |each| each.file.as_deref() == Some(file))
}

/// An upload of a service that is not there yet.
pub(super) fn upload_status(deployment: Deployment) -> UploadStatus {
    let candidate = candidate_of(std::slice::from_ref(&deployment), Deployment::is_on_its_way);
    UploadStatus { name: deployment.service.clone(), candidate, deployment }
}

/// The service that the file is to be, or was refused as.
pub(super) fn service_of_file(
    candidate: Option<&CandidateStatus>,
    refusal: Option<&RefusalRecord>,
) -> Option<String> {
    let refused = || Some(refusal?.service.as_ref()?.to_string());
    candidate.map(|candidate| candidate.service.clone()).or_else(refused)
}

pub(super) fn version_statuses((service, known): (&Arc<Service>, &Serving)) -> Vec<VersionStatus> {
    let record = |version: &Arc<Version>| {
        known.versions.iter().find(|record| record.id.number == version.id.number)
    };
    let versions = service.traffic.versions();
    let with_record = versions.filter_map(|version| record(version).map(|found| (version, found)));
    with_record
        .map(|(version, record)| {
            let measured = version.metrics.read();
            VersionStatus {
                version: version.id.number,
                digest: version.digest.to_string(),
                manifest_digest: version.manifest.digest.to_string(),
                routes: version.routes().iter().map(ToString::to_string).collect(),
                weight: service.traffic.plan().weight(version.id.number),
                deployed_at: record.deployed_at.clone(),
                origin: (&record.origin).into(),
                file: record.origin.file_name(),
                reference: record.origin.reference().map(str::to_owned),
                who: record.who.clone(),
                leases: version.lease_count(),
                requests: measured.requests.all(),
                errors: measured.requests.errors(),
                deliveries: measured.deliveries.all(),
                delivery_errors: measured.deliveries.errors(),
            }
        })
        .collect()
}

pub(super) fn may_call(service: &Service) -> Vec<String> {
    let versions = service.traffic.versions();
    let calls = versions.flat_map(|version| &version.manifest.capabilities.calls);
    calls.collect::<BTreeSet<_>>().into_iter().map(ToString::to_string).collect()
}

pub(super) fn canary_status(canary: &RunningCanary) -> CanaryStatus {
    let CanaryRecord { deployment, old, new, settings, step, held, .. } = canary.record.clone();
    CanaryStatus { deployment, old, new, steps: settings.steps, step, held }
}

pub(super) fn draining_status(draining: &Draining) -> DrainingStatus {
    DrainingStatus {
        version: draining.version.id.number,
        digest: draining.version.digest.to_string(),
        leases: draining.version.lease_count(),
        since: draining.since.clone(),
        until: draining.until.clone(),
    }
}
