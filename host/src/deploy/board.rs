//! What is known of every plugin file and every service, for status and for the
//! decisions that hang on it. `host.db` has the part that outlives the host.

mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::shown::{
    canary_status, candidate_of, candidate_of_file, draining_status, may_call, pending_status,
    refusal_status, service_of_file, upload_status, version_statuses,
};
use super::config::NOTICE_BACKLOG;
use super::deployments::{Deployment, Deployments, Progress};
use super::notice::Notice;
use super::origin::Origin;
use super::plugin_file::{Part, Stem};
use super::record::{CanaryRecord, RecordError, RecordFile, RefusalRecord, Seen, VersionRecord};
use super::relations::{Relations, relations};
use super::status::{FileStatus, ServiceState, ServiceStatus, Status};
use crate::digest::Digest;
use crate::name::ServiceName;
use crate::service::contracts::Contracts;
use crate::service::{Registry, Snapshot, Version};

/// What is known; readers and writers hold its lock for moments only.
#[derive(Debug)]
pub(super) struct Board {
    known: Mutex<Known>,
    deployments: Arc<Deployments>,
    /// Deployments that were called off, and why, until they have ended.
    called_off: Mutex<BTreeMap<String, String>>,
    /// Told when something is called off.
    calling_off: Notify,
    notices: broadcast::Sender<Notice>,
    /// Kept from the start for the first to ask.
    first: Mutex<Option<broadcast::Receiver<Notice>>>,
}

#[derive(Debug, Default)]
struct Known {
    serving: BTreeMap<ServiceName, Serving>,
    refusals: BTreeMap<Stem, RefusalRecord>,
    /// What each plugin file held when it was last deployed.
    acted: BTreeMap<Stem, Seen>,
    /// Services that could not be restored.
    lost: BTreeMap<ServiceName, Lost>,
    draining: Vec<Draining>,
}

/// What is known of a service that serves.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    /// The plugin file that it was last deployed from.
    pub(super) file: Option<Stem>,
    /// Counts the changes of its traffic.
    pub(super) revision: u64,
    /// The versions that share the traffic.
    pub(super) versions: Vec<VersionRecord>,
    pub(super) canary: Option<RunningCanary>,
}

/// A canary under way, and how it is ended.
#[derive(Clone, Debug)]
pub(super) struct RunningCanary {
    pub(super) record: CanaryRecord,
    pub(super) progress: Progress,
    /// Cancelled when someone else decides about the traffic.
    pub(super) overruled: CancellationToken,
}

#[derive(Debug)]
struct Lost {
    /// The plugin file that it came from.
    file: Option<Stem>,
    reason: String,
}

#[derive(Debug)]
struct Draining {
    version: Arc<Version>,
    since: String,
    /// When what is still on it is ended.
    deadline: watch::Sender<Instant>,
    /// The same as RFC 3339.
    until: String,
}

impl Board {
    pub(super) fn new(record: &RecordFile) -> Result<Self, RecordError> {
        let known =
            Known { refusals: record.refusals()?, acted: record.acted()?, ..Known::default() };
        let (notices, first) = broadcast::channel(NOTICE_BACKLOG);
        Ok(Self {
            known: Mutex::new(known),
            deployments: Arc::default(),
            called_off: Mutex::default(),
            calling_off: Notify::new(),
            notices,
            first: Mutex::new(Some(first)),
        })
    }

    /// The first reader also gets what was announced before it came.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.unwrap_or_else(|| self.notices.subscribe())
    }

    /// What is announced from here on.
    pub(super) fn follow(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    pub(super) fn announce(&self, notice: Notice) {
        // Nobody listening is fine.
        _ = self.notices.send(notice);
    }

    /// Begins a deployment, or goes on with the one of this id after a restart.
    pub(super) fn begin(
        &self,
        id: Option<&str>,
        what: (&ServiceName, &Digest),
        whence: (&Origin, Option<&str>),
    ) -> Progress {
        self.deployments.begin(&self.notices, id, what, whence)
    }

    /// Calls off the deployments of a service that have no traffic yet, and why. Their ids, but for
    /// those that were called off before and have not ended yet.
    pub(super) fn call_off(&self, service: &ServiceName, reason: &str) -> Vec<String> {
        let candidates = self.deployments.candidates().into_iter();
        let of_it = candidates.filter(|candidate| candidate.service == service.as_str());
        let ids = of_it.map(|candidate| candidate.id);
        let mut called_off = self.called_off.lock().unwrap_or_else(PoisonError::into_inner);
        let ids: Vec<String> = ids.filter(|id| !called_off.contains_key(id)).collect();
        called_off.extend(ids.iter().map(|id| (id.clone(), reason.to_owned())));
        drop(called_off);
        self.calling_off.notify_waiters();
        ids
    }

    /// Resolves when the deployment is called off.
    pub(super) async fn called_off(&self, id: &str) {
        loop {
            // Registered before it is looked at, so that nothing is missed in between.
            let mut told = std::pin::pin!(self.calling_off.notified());
            told.as_mut().enable();
            if self.why_called_off(id).is_some() {
                return;
            }
            told.await;
        }
    }

    /// Why a deployment was called off, if it was; it ends with this.
    pub(super) fn why_called_off(&self, id: &str) -> Option<String> {
        self.called_off.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// The deployment has ended: nobody asks any more whether it was called off.
    pub(super) fn forget_called_off(&self, id: &str) {
        self.called_off.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub(super) fn deployments(&self) -> Vec<Deployment> {
        self.deployments.all()
    }

    pub(super) fn deployment(&self, id: &str) -> Option<Deployment> {
        self.deployments.get(id)
    }

    /// The service that the file's content serves.
    pub(super) fn service_of(&self, file: &Stem) -> Option<ServiceName> {
        let known = self.known();
        let mut serving = known.serving.iter();
        let found = serving.find(|(_, serving)| serving.file.as_ref() == Some(file));
        found.map(|(name, _)| name.clone())
    }

    /// Every file that something is known of.
    pub(super) fn files(&self) -> BTreeSet<Stem> {
        let known = self.known();
        let serving = known.serving.values().filter_map(|serving| serving.file.as_ref());
        serving.chain(known.refusals.keys()).chain(known.acted.keys()).cloned().collect()
    }

    /// What is known of a service that serves.
    pub(super) fn serving(&self, service: &ServiceName) -> Option<Serving> {
        self.known().serving.get(service).cloned()
    }

    /// A service is deployed, restored or shared anew: `share` has its versions serve. Whoever
    /// asks for the status meanwhile waits: no version is seen that serves and of which nothing
    /// is known.
    ///
    /// # Errors
    /// That of `share`; nothing changes then.
    pub(super) fn serves<T, E>(
        &self,
        service: ServiceName,
        serving: Serving,
        share: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut known = self.known();
        let shared = share()?;
        if let Some(file) = &serving.file {
            known.serving.retain(|_, other| other.file.as_ref() != Some(file));
        }
        known.lost.remove(&service);
        known.serving.insert(service, serving);
        Ok(shared)
    }

    /// The file was deployed and held this.
    pub(super) fn acted(&self, file: &Stem, seen: Seen) {
        let mut known = self.known();
        known.refusals.remove(file);
        known.acted.insert(file.clone(), seen);
    }

    /// Whether the file holds what it held when it was last deployed, and that
    /// was not lost.
    pub(super) fn has_acted(&self, file: &Stem, seen: Seen) -> bool {
        let known = self.known();
        let is_lost = known.lost.values().any(|lost| lost.file.as_ref() == Some(file));
        !is_lost && known.acted.get(file) == Some(&seen)
    }

    /// The file is gone. Whether anything was known of it.
    pub(super) fn forget_file(&self, file: &Stem) -> bool {
        let mut known = self.known();
        let acted = known.acted.remove(file).is_some();
        let refused = known.refusals.remove(file).is_some();
        let lost = known.lost.len();
        known.lost.retain(|_, lost| lost.file.as_ref() != Some(file));
        acted || refused || known.lost.len() < lost
    }

    /// Whether the service could not be restored, and was not deployed since.
    pub(super) fn is_lost(&self, service: &str) -> bool {
        self.known().lost.keys().any(|lost| lost.as_str() == service)
    }

    /// The service could not be restored.
    pub(super) fn lost(&self, service: ServiceName, file: Option<Stem>, reason: String) {
        self.known().lost.insert(service, Lost { file, reason });
    }

    pub(super) fn gone(&self, service: &ServiceName) {
        let mut known = self.known();
        known.serving.remove(service);
        known.lost.remove(service);
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

    /// The version drains from now on; when what is still on it is to be ended.
    pub(super) fn drains(&self, version: &Arc<Version>) -> watch::Receiver<Instant> {
        let limit = version.manifest.deploy.drain;
        let (deadline, told) = watch::channel(Instant::now() + limit);
        let (version, since, until) = (Arc::clone(version), now(), moment(limit));
        self.known().draining.push(Draining { version, since, deadline, until });
        told
    }

    /// Has a service's versions that drain, or the one of this number, ended after
    /// `limit` from now. Whether there are any.
    pub(super) fn ends_after(
        &self,
        service: &ServiceName,
        number: Option<u64>,
        limit: Duration,
    ) -> bool {
        let mut known = self.known();
        let wanted = known.draining.iter_mut().filter(|draining| {
            let id = &draining.version.id;
            id.service == *service && number.is_none_or(|number| id.number == number)
        });
        let told = wanted.map(|draining| {
            draining.until = moment(limit);
            draining.deadline.send_replace(Instant::now() + limit);
        });
        told.count() > 0
    }

    pub(super) fn drained(&self, version: &Arc<Version>) {
        self.known().draining.retain(|draining| !Arc::ptr_eq(&draining.version, version));
    }

    /// The services with a deployment that has no traffic yet.
    pub(super) fn under_way(&self) -> Vec<String> {
        let candidates = self.deployments.candidates().into_iter();
        candidates.map(|candidate| candidate.service).collect()
    }

    /// The versions that drain.
    pub(super) fn draining(&self) -> Vec<Arc<Version>> {
        self.known().draining.iter().map(|draining| Arc::clone(&draining.version)).collect()
    }

    /// Whether a version of the service drains.
    pub(super) fn is_draining(&self, service: &ServiceName) -> bool {
        self.known().draining.iter().any(|draining| draining.version.id.service == *service)
    }

    /// What operators see of the services of `registry`.
    pub(super) fn status(&self, registry: &Registry) -> Status {
        let candidates = self.deployments.candidates();
        let known = self.known();
        // Loaded where nothing comes to serve, see `serves`.
        let snapshot = &*registry.load();
        let draining = known.draining.iter().map(|draining| &draining.version.id.service);
        let names = snapshot.services.keys().chain(draining).chain(known.lost.keys());
        let names: BTreeSet<&ServiceName> = names.collect();
        let is_there = |service: &str| names.iter().any(|name| name.as_str() == service);
        let uploads = self.deployments.first_uploads(is_there);
        let uploads = uploads.into_iter().map(upload_status).collect();
        let mut relations = relations(&Contracts::of(snapshot));
        let services = names.into_iter().map(|name| {
            let Relations { provides, uses, callers, callees } =
                relations.remove(name).unwrap_or_default();
            ServiceStatus {
                deployment: self.deployments.latest(name.as_str()),
                provides,
                uses,
                callers,
                callees,
                ..known.service(name, snapshot, &candidates)
            }
        });
        let services = services.collect();
        let shown: BTreeSet<String> = known
            .serving
            .values()
            .filter_map(|serving| serving.file.as_ref())
            .map(|file| file.file(Part::Component))
            .collect();
        // There may be many: each is looked up, and not looked for.
        let refused = known.refusals.iter();
        let refused = refused.map(|(file, refusal)| (file.file(Part::Component), Some(refusal)));
        let on_their_way = candidates.iter().filter_map(|each| Some((each.file.clone()?, None)));
        let files: BTreeMap<String, Option<&RefusalRecord>> = on_their_way.chain(refused).collect();
        let files = files.into_iter().filter(|(file, _)| !shown.contains(file));
        let files = files.map(|(file, refusal)| {
            let candidate = candidate_of_file(&candidates, &file);
            FileStatus {
                service: service_of_file(candidate.as_ref(), refusal),
                candidate,
                refusal: refusal.and_then(|refusal| refusal_status(&file, refusal)),
                pending: refusal.and_then(|refusal| pending_status(&file, refusal)),
                file,
            }
        });
        Status { services, files: files.collect(), uploads }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn service(
        &self,
        name: &ServiceName,
        snapshot: &Snapshot,
        candidates: &[Deployment],
    ) -> ServiceStatus {
        let service = snapshot.services.get(name);
        let known = service.and_then(|_| self.serving.get(name));
        let file = known.and_then(|serving| serving.file.as_ref());
        let mut versions: Vec<_> = service.zip(known).map(version_statuses).unwrap_or_default();
        let primary = service.map(|service| service.traffic.primary().id.number);
        let primary = versions.iter().position(|version| Some(version.version) == primary);
        let draining = self.draining.iter().filter(|draining| draining.version.id.service == *name);
        let lost = self.lost.get(name).map(|lost| lost.reason.clone());
        ServiceStatus {
            name: name.to_string(),
            state: match (service, &lost) {
                (Some(_), _) => ServiceState::Serving,
                (None, Some(_)) => ServiceState::Lost,
                (None, None) => ServiceState::Draining,
            },
            lost,
            store: service.and_then(|service| service.store.unopened()),
            serving: primary.map(|index| versions.remove(index)),
            sharing: versions,
            traffic: service.map(|service| service.traffic.plan().clone()),
            revision: known.map(|serving| serving.revision),
            provides: Vec::new(),
            uses: Vec::new(),
            callers: Vec::new(),
            callees: Vec::new(),
            may_call: service.map(|service| may_call(service)).unwrap_or_default(),
            canary: known.and_then(|serving| serving.canary.as_ref()).map(canary_status),
            deployment: None,
            candidate: candidate_of(candidates, |each| each.service == name.as_str()),
            refusal: file.and_then(|file| self.refused(file, refusal_status)),
            pending: file.and_then(|file| self.refused(file, pending_status)),
            draining: draining.map(draining_status).collect(),
        }
    }

    fn refused<T>(
        &self,
        file: &Stem,
        shown: impl FnOnce(&str, &RefusalRecord) -> Option<T>,
    ) -> Option<T> {
        shown(&file.file(Part::Component), self.refusals.get(file)?)
    }
}

/// The present time as RFC 3339.
pub(super) fn now() -> String {
    moment(Duration::ZERO)
}

/// The time after so long from now.
fn moment(from_now: Duration) -> String {
    humantime::format_rfc3339_millis(crate::clock::now() + from_now).to_string()
}
