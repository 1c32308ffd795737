//! What operators ask for: by the admin listener, in its words.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::board::Serving;
use super::carried::Unsettled;
use super::decide::{Decided, Word, decide};
use super::deployments::Deployment;
use super::no_room::{self, NO_ROOM};
use super::notice::Notice;
use super::parts::{Parts, SwapLate};
use super::providers::unless_imported;
use super::record::{RecordError, VersionRecord};
use super::revive::NotRevived;
use super::share::NotShared;
use super::status::{KeptVersion, RolledBack, ServiceStatus, Status};
use super::undeploy::undeploy_service;
use super::upload::{self, Spool, Upload};
use crate::deadline::{Late, within};
use crate::machine::is_shortage;
use crate::name::ServiceName;
use crate::service::{TrafficError, TrafficPlan};

/// Does what operators ask for. Cheap to clone.
#[derive(Clone)]
pub struct Operator {
    parts: Arc<Parts>,
}

/// What must hold for a change to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// The service is deployed, whatever its revision.
    Deployed,
    /// Its revision is one of these.
    Revision(Arc<[u64]>),
    /// The service is not deployed.
    Absent,
    /// Its revision is none of these.
    NoRevision(Arc<[u64]>),
}

/// A change that someone asks for, but for what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    /// What must hold for it.
    pub condition: Condition,
    /// Who asks, as they say themselves.
    pub who: Option<String>,
}

impl From<Condition> for Asking {
    fn from(condition: Condition) -> Self {
        Self { condition, who: None }
    }
}

impl Asking {
    /// Who it was, for the log and for who watches.
    pub(super) fn by(&self) -> String {
        self.who.clone().unwrap_or_else(|| "an operator".to_owned())
    }
}

/// A service after a change.
pub type Changed = ServiceStatus;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// There is no such service, version or deployment.
    #[error("{0}")]
    NotFound(String),
    /// Someone else changed it first.
    #[error("{0}")]
    Changed(String),
    /// Something else is under way, or there is nothing to do it to.
    #[error("{0}")]
    Busy(String),
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// More than is taken.
    #[error("{0}")]
    TooLarge(String),
    /// Every reason why it cannot be.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    /// The host's own record is busy. It was not begun, or may take effect yet: the text says
    /// which.
    #[error("{0}")]
    Late(String),
    /// The disk has no room for it; the text says what to do.
    #[error("{0}")]
    NoRoom(String),
    /// The host has too few descriptors, processes or memory at the moment.
    #[error("{0}")]
    Short(String),
    /// It could not be kept.
    #[error("{0}")]
    Failed(String),
}

impl NotDone {
    #[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
    pub(super) fn unkept(error: io::Error) -> Self {
        if no_room::is_of_disk(&error) {
            return Self::NoRoom(NO_ROOM.to_owned());
        }
        if is_shortage(&error) {
            return Self::Short(format!("it could not be kept: {error}; try again in a while"));
        }
        Self::Failed(format!("it could not be kept: {error}"))
    }
}

impl Operator {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Everything that is deployed.
    #[must_use]
    pub fn status(&self) -> Status {
        self.parts.board.status(&self.parts.registry)
    }

    /// The disk has room again: what was refused for want of it is looked at once more.
    pub fn has_room(&self) {
        self.parts.look_at_blocked();
    }

    /// One service.
    ///
    /// # Errors
    /// When there is none of the name.
    pub async fn service(&self, name: &str) -> Result<ServiceStatus, NotDone> {
        let found = self.status().services.into_iter().find(|service| service.name == name);
        match found {
            Some(found) => Ok(found),
            None => Err(not_deployed(&self.parts, name).await),
        }
    }

    /// A service's versions that are kept, the newest first; also of one that is
    /// not deployed any more.
    ///
    /// # Errors
    /// When there are none.
    pub async fn versions(&self, name: &str) -> Result<Vec<KeptVersion>, NotDone> {
        let service: ServiceName = name.parse().map_err(|_| no_service(name))?;
        let snapshot = Arc::clone(&self.parts.registry.load());
        let plan = snapshot.services.get(&service).map(|service| service.traffic.plan());
        let records = self.kept(&service).await?;
        if records.is_empty() {
            return Err(no_service(name));
        }
        let weight = |number| plan.map_or(0, |plan| plan.weight(number));
        Ok(records.into_iter().map(|record| kept(&record, weight(record.id.number))).collect())
    }

    /// The deployments since the host's start, the newest first.
    #[must_use]
    pub fn deployments(&self) -> Vec<Deployment> {
        self.parts.board.deployments()
    }

    /// One of them.
    ///
    /// # Errors
    /// When there is none, or it is too long ago.
    pub fn deployment(&self, id: &str) -> Result<Deployment, NotDone> {
        let found = self.parts.board.deployment(id);
        found.ok_or_else(|| NotDone::NotFound(format!("there is no deployment {id}")))
    }

    /// What deployments announce from here on.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.parts.board.follow()
    }

    /// A place for a component that is uploaded.
    ///
    /// # Errors
    /// When too many are on their way, or there is no room.
    pub async fn spool(&self) -> Result<Spool, NotDone> {
        Spool::begin(&self.parts).await
    }

    /// Begins to deploy what was uploaded; returns the deployment's id. Its version
    /// gets traffic only if the condition still holds by then.
    ///
    /// # Errors
    /// When the condition does not hold, a deployment of the service is on its way
    /// already, or what was uploaded is no component with a good manifest.
    pub async fn deploy(&self, upload: Upload, condition: Condition) -> Result<String, NotDone> {
        let turn = self.turn(&upload.service)?;
        check(&upload.service, self.parts.board.serving(&upload.service).as_ref(), &condition)?;
        upload::deploy(&self.parts, turn, upload, condition).await
    }

    /// Shares a service's traffic among its kept versions.
    ///
    /// # Errors
    /// When it cannot be shared so, or the condition does not hold.
    pub async fn set_traffic(
        &self,
        name: &str,
        plan: TrafficPlan,
        asked: impl Into<Asking>,
    ) -> Result<Changed, NotDone> {
        self.decide(name, asked.into(), &Word::Share(plan)).await.map(|(changed, _)| changed)
    }

    /// Gives a version all of its service's traffic: by default the one on trial. Nothing changes
    /// where it has all of it.
    ///
    /// # Errors
    /// When there is no such version, or the condition does not hold.
    pub async fn promote(
        &self,
        name: &str,
        version: Option<u64>,
        asked: impl Into<Asking>,
    ) -> Result<Changed, NotDone> {
        self.decide(name, asked.into(), &Word::Promote(version)).await.map(|(changed, _)| changed)
    }

    /// Gives all of a service's traffic to an earlier version: by default the one
    /// that the version on trial is compared with, else the one that served before.
    /// What is on its way is called off. Where something is, no version is named and none is
    /// on trial, that is all: the traffic stays.
    ///
    /// # Errors
    /// When there is no such version, or the condition does not hold.
    pub async fn rollback(
        &self,
        name: &str,
        version: Option<u64>,
        reason: Option<String>,
        asked: impl Into<Asking>,
    ) -> Result<RolledBack, NotDone> {
        let asked = asked.into();
        let reason = reason.unwrap_or_else(|| format!("by {}", asked.by()));
        let word = Word::RollBack { to: version, reason };
        let (service, decided) = self.decide(name, asked, &word).await?;
        let Decided { called_off, is_shared } = decided;
        Ok(RolledBack { service, called_off, traffic_moved: is_shared })
    }

    /// Ends a service; its store and its versions are kept, and so is its file. Only by `force`
    /// where others import from it.
    ///
    /// # Errors
    /// When it is not deployed, others import from it, a deployment of it does not end in time,
    /// or the condition does not hold.
    pub async fn undeploy(&self, name: &str, force: bool, asked: Asking) -> Result<(), NotDone> {
        let service: ServiceName = name.parse().map_err(|_| no_service(name))?;
        check(&service, self.parts.board.serving(&service).as_ref(), &asked.condition)?;
        // Before anything is called off.
        if !force {
            unless_imported(&self.parts, &service, force)?;
        }
        // What is on its way would bring it back.
        let reason = format!("{} undeployed {service} meanwhile", asked.by());
        let called_off = self.parts.board.call_off(&service, &reason);
        let turn = within(self.parts.change_patience(), self.parts.turns.take(&service)).await;
        let turn = turn.map_err(|Late| on_its_way(&service))?;
        let swapping = self.parts.swap_turn().await?;
        let Some(serving) = self.parts.board.serving(&service) else {
            if called_off.is_empty() {
                return Err(not_deployed(&self.parts, name).await);
            }
            return Ok(());
        };
        check(&service, Some(&serving), &asked.condition)?;
        unless_imported(&self.parts, &service, force)?;
        undeploy_service(&self.parts, (turn, swapping), &service, asked.by()).await
    }

    /// Has what is still on versions without traffic ended after `within` at the
    /// latest: on all of a service's that drain, or on one.
    ///
    /// # Errors
    /// When there is no such version, it still has traffic, or the condition does not
    /// hold; not when nothing drains.
    pub async fn drain(
        &self,
        name: &str,
        version: Option<u64>,
        within: Duration,
        asked: Asking,
    ) -> Result<Changed, NotDone> {
        let service: ServiceName = name.parse().map_err(|_| no_service(name))?;
        // Nothing gets or loses its traffic meanwhile.
        let _swapping = self.parts.swap_turn().await?;
        let drains = self.service(name).await?;
        check(&service, self.parts.board.serving(&service).as_ref(), &asked.condition)?;
        let snapshot = self.parts.registry.load();
        let plan = snapshot.services.get(&service).map(|service| service.traffic.plan());
        let weight = |number| plan.map_or(0, |plan| plan.weight(number));
        if let Some((number, weight)) = version.map(|number| (number, weight(number)))
            && weight > 0
        {
            return Err(NotDone::Busy(format!(
                "{name} v{number} has {weight} % of the traffic: give it to others first"
            )));
        }
        if !self.parts.board.ends_after(&service, version, within) {
            if let Some(number) = version {
                must_be_kept(&self.parts, &service, number).await?;
            }
            return Ok(drains);
        }
        let (who, within_ms) = (asked.by(), within.as_millis());
        tracing::info!(service = name, version, within_ms, who, "ending drains");
        // As it was when they were told: they may be gone by now, and the service with them.
        Ok(self.service(name).await.unwrap_or(drains))
    }

    /// Does what the word is; the service as it is then, and what became of the word.
    async fn decide(
        &self,
        name: &str,
        asked: Asking,
        word: &Word,
    ) -> Result<(Changed, Decided), NotDone> {
        let service: ServiceName = name.parse().map_err(|_| no_service(name))?;
        let decided = decide(&self.parts, &service, &asked, word).await?;
        Ok((self.service(name).await?, decided))
    }

    async fn kept(&self, service: &ServiceName) -> Result<Vec<VersionRecord>, RecordError> {
        let service = service.clone();
        self.parts.record.read(move |record| record.versions(&service)).await
    }

    fn turn(&self, service: &ServiceName) -> Result<crate::turns::Turn, NotDone> {
        self.parts.turns.try_take(service).ok_or_else(|| on_its_way(service))
    }
}

fn on_its_way(service: &ServiceName) -> NotDone {
    NotDone::Busy(format!("a deployment of {service} is on its way; see /v1/deployments"))
}

/// Whether the condition holds of the service as it serves.
pub(super) fn check(
    service: &ServiceName,
    serving: Option<&Serving>,
    condition: &Condition,
) -> Result<(), NotDone> {
    let found = serving.map(|serving| serving.revision);
    match (condition, found) {
        (Condition::None, _)
        | (Condition::Deployed, Some(_))
        | (Condition::Absent | Condition::NoRevision(_), None) => Ok(()),
        (Condition::NoRevision(others), Some(found)) if !others.contains(&found) => Ok(()),
        (Condition::Absent, Some(found)) => Err(NotDone::Changed(format!(
            "{service} is deployed already: it is at revision {found}"
        ))),
        (Condition::NoRevision(_), Some(found)) => Err(NotDone::Changed(format!(
            "{service} is at revision {found}, which If-None-Match names"
        ))),
        (Condition::Revision(wanted), Some(found)) if wanted.contains(&found) => Ok(()),
        (_, Some(found)) => Err(NotDone::Changed(format!(
            "{service} was changed meanwhile: it is at revision {found}"
        ))),
        (_, None) => Err(NotDone::Changed(format!("service {service} is not deployed"))),
    }
}

fn kept(record: &VersionRecord, weight: u8) -> KeptVersion {
    KeptVersion {
        version: record.id.number,
        digest: record.component.to_string(),
        weight,
        deployed_at: record.deployed_at.clone(),
        origin: (&record.origin).into(),
        file: record.origin.file_name(),
        reference: record.origin.reference().map(str::to_owned),
        who: record.who.clone(),
        rolled_back: record.rolled_back.clone(),
    }
}

/// Refuses a version that there is not.
pub(super) async fn must_be_kept(
    parts: &Arc<Parts>,
    service: &ServiceName,
    number: u64,
) -> Result<(), NotDone> {
    let service = service.clone();
    let found = parts.record.read(move |record| record.version(&service, number)).await?;
    let missing = || NotDone::NotFound(TrafficError::NoSuchVersion(number).to_string());
    found.map(drop).ok_or_else(missing)
}

/// There is no such service; of one that was undeployed, how it comes back.
pub(super) async fn not_deployed(parts: &Parts, name: &str) -> NotDone {
    let Ok(service) = name.parse::<ServiceName>() else { return no_service(name) };
    let kept = parts.record.read(move |record| record.versions(&service)).await;
    match kept.unwrap_or_default().as_slice() {
        [] => no_service(name),
        [newest, ..] => NotDone::NotFound(format!(
            "service {name} is not deployed, though versions of it up to v{} are kept: `hotdock \
             deploy` brings it back, also with a component that it had before, or its file in the \
             plugin folder once that is changed; then versions can be given traffic again",
            newest.id.number
        )),
    }
}

pub(super) fn no_service(name: &str) -> NotDone {
    NotDone::NotFound(format!("there is no service {name}"))
}

impl From<RecordError> for NotDone {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Busy(_) => Self::Late(error.to_string()),
            RecordError::NoRoom => Self::NoRoom(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<NotShared> for NotDone {
    fn from(error: NotShared) -> Self {
        match error {
            NotShared::NotDeployed(_) | NotShared::Traffic(TrafficError::NoSuchVersion(_)) => {
                Self::NotFound(error.to_string())
            }
            NotShared::Late(_) | NotShared::Unsettled(_) => Self::Late(error.to_string()),
            NotShared::Record(error) => error.into(),
            NotShared::Routes(conflicts) => {
                Self::Refused(conflicts.iter().map(ToString::to_string).collect())
            }
            NotShared::Calls(reasons) => Self::Refused(reasons),
            NotShared::Traffic(_) | NotShared::Revive(_) => Self::Refused(vec![error.to_string()]),
        }
    }
}

impl From<SwapLate> for NotDone {
    fn from(error: SwapLate) -> Self {
        Self::Late(error.to_string())
    }
}

impl From<Unsettled> for NotDone {
    fn from(error: Unsettled) -> Self {
        Self::Late(error.to_string())
    }
}

impl From<NotRevived> for NotDone {
    fn from(error: NotRevived) -> Self {
        Self::Refused(vec![error.to_string()])
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator").finish_non_exhaustive()
    }
}
