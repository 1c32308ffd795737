//! What is known of every plugin file and every service, for status and for the
//! decisions that hang on it. `host.db` has the part that outlives the host.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use super::config::NOTICE_BACKLOG;
use super::notice::Notice;
use super::plugin_file::{Part, Stem};
use super::record::RefusalRecord;
use super::status::{
    CandidateStatus, DrainingStatus, FileStatus, RefusalStatus, ServiceState, ServiceStatus,
    Status, Step, VersionStatus,
};
use crate::digest::Digest;
use crate::service::{ServiceName, Snapshot, Version};

/// What is known; readers and writers hold its lock for moments only.
#[derive(Debug)]
pub(super) struct Board {
    known: Mutex<Known>,
    notices: broadcast::Sender<Notice>,
    /// Kept from the start for the first to ask.
    first: Mutex<Option<broadcast::Receiver<Notice>>>,
}

#[derive(Debug, Default)]
struct Known {
    serving: BTreeMap<ServiceName, Serving>,
    candidates: BTreeMap<Stem, CandidateStatus>,
    refusals: BTreeMap<Stem, RefusalRecord>,
    draining: Vec<Draining>,
}

/// Where what serves came from.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    pub(super) file: Stem,
    pub(super) deployed_at: String,
}

#[derive(Debug)]
struct Draining {
    version: Arc<Version>,
    since: String,
}

impl Board {
    pub(super) fn new(refusals: BTreeMap<Stem, RefusalRecord>) -> Self {
        let known = Known { refusals, ..Known::default() };
        let (notices, first) = broadcast::channel(NOTICE_BACKLOG);
        Self { known: Mutex::new(known), notices, first: Mutex::new(Some(first)) }
    }

    /// The first reader also gets what was announced before it came.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.unwrap_or_else(|| self.notices.subscribe())
    }

    pub(super) fn announce(&self, notice: Notice) {
        // Nobody listening is fine.
        _ = self.notices.send(notice);
    }

    /// The service that the file's content serves.
    pub(super) fn service_of(&self, file: &Stem) -> Option<ServiceName> {
        let known = self.known();
        known
            .serving
            .iter()
            .find(|(_, serving)| serving.file == *file)
            .map(|(name, _)| name.clone())
    }

    /// Every file that something is known of.
    pub(super) fn files(&self) -> BTreeSet<Stem> {
        let known = self.known();
        let serving = known.serving.values().map(|serving| &serving.file);
        serving.chain(known.refusals.keys()).cloned().collect()
    }

    pub(super) fn serves(&self, service: ServiceName, serving: Serving) {
        let mut known = self.known();
        known.refusals.remove(&serving.file);
        known.serving.retain(|_, other| other.file != serving.file);
        known.serving.insert(service, serving);
    }

    pub(super) fn gone(&self, service: &ServiceName) {
        self.known().serving.remove(service);
    }

    pub(super) fn step(&self, file: &Stem, service: &ServiceName, digest: &Digest, step: Step) {
        let candidate = CandidateStatus {
            file: file.file(Part::Component),
            service: service.to_string(),
            digest: digest.to_string(),
            step,
            since: now(),
        };
        self.known().candidates.insert(file.clone(), candidate);
    }

    /// The candidate serves, was refused or was given up.
    pub(super) fn done(&self, file: &Stem) {
        self.known().candidates.remove(file);
    }

    pub(super) fn refused(&self, file: &Stem, refusal: RefusalRecord) {
        self.known().refusals.insert(file.clone(), refusal);
    }

    pub(super) fn refusal(&self, file: &Stem) -> Option<RefusalRecord> {
        self.known().refusals.get(file).cloned()
    }

    pub(super) fn forget_refusal(&self, file: &Stem) -> bool {
        self.known().refusals.remove(file).is_some()
    }

    /// Files that were refused for what other services had.
    pub(super) fn blocked(&self) -> Vec<Stem> {
        let known = self.known();
        let blocked = known.refusals.iter().filter(|(_, refusal)| refusal.blocked);
        blocked.map(|(file, _)| file.clone()).collect()
    }

    pub(super) fn drains(&self, version: &Arc<Version>) {
        self.known().draining.push(Draining { version: Arc::clone(version), since: now() });
    }

    pub(super) fn drained(&self, version: &Arc<Version>) {
        self.known().draining.retain(|draining| !Arc::ptr_eq(&draining.version, version));
    }

    /// Whether a version of the service drains.
    pub(super) fn is_draining(&self, service: &ServiceName) -> bool {
        self.known().draining.iter().any(|draining| draining.version.id.service == *service)
    }

    pub(super) fn status(&self, snapshot: &Snapshot) -> Status {
        let known = self.known();
        let draining = known.draining.iter().map(|draining| &draining.version.id.service);
        let names: BTreeSet<&ServiceName> = snapshot.services.keys().chain(draining).collect();
        let services = names.into_iter().map(|name| known.service(name, snapshot)).collect();
        let shown: BTreeSet<&Stem> = known.serving.values().map(|serving| &serving.file).collect();
        let files: BTreeSet<&Stem> = known.candidates.keys().chain(known.refusals.keys()).collect();
        let files = files.difference(&shown).map(|file| known.file(file)).collect();
        Status { services, files }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn service(&self, name: &ServiceName, snapshot: &Snapshot) -> ServiceStatus {
        let serving = self.serving.get(name);
        let version = snapshot.services.get(name).map(|service| service.traffic.primary());
        let file = serving.map(|serving| &serving.file);
        let draining = self.draining.iter().filter(|draining| draining.version.id.service == *name);
        ServiceStatus {
            name: name.to_string(),
            state: if version.is_some() { ServiceState::Serving } else { ServiceState::Draining },
            serving: version
                .zip(serving)
                .map(|(version, serving)| version_status(version, serving)),
            candidate: file.and_then(|file| self.candidates.get(file)).cloned(),
            refusal: file.and_then(|file| self.refusal(file)),
            draining: draining.map(draining_status).collect(),
        }
    }

    fn file(&self, file: &Stem) -> FileStatus {
        FileStatus {
            file: file.file(Part::Component),
            candidate: self.candidates.get(file).cloned(),
            refusal: self.refusal(file),
        }
    }

    fn refusal(&self, file: &Stem) -> Option<RefusalStatus> {
        let refusal = self.refusals.get(file)?;
        Some(RefusalStatus {
            file: file.file(Part::Component),
            digest: refusal.seen.component.map(|digest| digest.to_string()),
            reasons: refusal.reasons.clone(),
            at: refusal.at.clone(),
        })
    }
}

/// The present time as RFC 3339.
pub(super) fn now() -> String {
    humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string()
}

fn version_status(version: &Version, serving: &Serving) -> VersionStatus {
    VersionStatus {
        version: version.id.number,
        digest: version.digest.to_string(),
        manifest_digest: version.manifest.digest.to_string(),
        routes: version.routes().iter().map(ToString::to_string).collect(),
        deployed_at: serving.deployed_at.clone(),
        file: serving.file.file(Part::Component),
        leases: version.lease_count(),
    }
}

fn draining_status(draining: &Draining) -> DrainingStatus {
    DrainingStatus {
        version: draining.version.id.number,
        digest: draining.version.digest.to_string(),
        leases: draining.version.lease_count(),
        since: draining.since.clone(),
    }
}
