//! The deployments since the host's start: each with its steps, when they began,
//! and how it ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::board::now;
use super::config::KEPT_DEPLOYMENTS;
use super::notice::Notice;
use super::origin::Origin;
use super::status::Step;
use crate::digest::Digest;
use crate::name::ServiceName;

/// A candidate's way to its traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Deployment {
    /// Unique among all hosts.
    pub id: String,
    /// The service.
    pub service: String,
    /// The plugin file; none for an upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What it was in a registry: `oci://…@sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Who brought it, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The component's SHA-256.
    pub digest: String,
    /// The version that it became; none before it is warmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// How it stands.
    pub state: DeploymentState,
    /// Its steps so far, in order.
    pub steps: Vec<StepTime>,
    /// Why it is held, waits, was refused, was rolled back or was ended.
    pub reasons: Vec<String>,
    /// When it ended (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// How a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeploymentState {
    /// It is on its way.
    Running,
    /// Its version has a share and waits for the operator's word.
    Held,
    /// Its version has the traffic.
    Serving,
    /// It never got any traffic: it imports what no service exports yet. Its file waits, and is
    /// deployed anew once one does.
    Pending,
    /// It never got any traffic.
    Refused,
    /// Its version had a share and lost it.
    RolledBack,
    /// The operator or another deployment decided otherwise before it was done.
    Superseded,
}

/// When a step began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StepTime {
    /// Which.
    pub step: Step,
    /// The version's share from there on, in per cent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u8>,
    /// What else is to be known: what others lose than the version it is compared with, and what
    /// of its routes the host keeps for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When (RFC 3339).
    pub at: String,
}

/// What is known of deployments, the newest last.
#[derive(Debug, Default)]
pub(super) struct Deployments {
    known: Mutex<VecDeque<Deployment>>,
}

/// A hold on one deployment. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    deployments: Arc<Deployments>,
    announce: tokio::sync::broadcast::Sender<Notice>,
    id: Arc<str>,
    /// Until its first step: a file that turns out to be as it was is no deployment.
    draft: Arc<Mutex<Option<Deployment>>>,
}

impl DeploymentState {
    /// Whether nothing more happens by itself or the operator's word.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Running | Self::Held)
    }
}

impl Deployment {
    /// Whether it is on its way in, before it has any traffic.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.state == DeploymentState::Running
            && self.steps.last().is_some_and(|last| last.step.is_before_traffic())
    }
}

impl Deployments {
    /// A deployment that is about to begin, or goes on with the one of this id after a restart.
    pub(super) fn begin(
        self: &Arc<Self>,
        announce: &tokio::sync::broadcast::Sender<Notice>,
        id: Option<&str>,
        (service, digest): (&ServiceName, &Digest),
        (origin, who): (&Origin, Option<&str>),
    ) -> Progress {
        let id = id.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
        let deployment = Deployment {
            id: id.clone(),
            service: service.to_string(),
            file: origin.file_name(),
            reference: origin.reference().map(str::to_owned),
            who: who.map(str::to_owned),
            digest: digest.to_string(),
            version: None,
            state: DeploymentState::Running,
            steps: Vec::new(),
            reasons: Vec::new(),
            ended_at: None,
        };
        let draft = Arc::new(Mutex::new(Some(deployment)));
        let (deployments, announce) = (Arc::clone(self), announce.clone());
        Progress { deployments, announce, id: id.into(), draft }
    }

    /// All of them, the newest first.
    pub(super) fn all(&self) -> Vec<Deployment> {
        self.known().iter().rev().cloned().collect()
    }

    pub(super) fn get(&self, id: &str) -> Option<Deployment> {
        self.known().iter().find(|each| each.id == id).cloned()
    }

    /// The service's newest.
    pub(super) fn latest(&self, service: &str) -> Option<Deployment> {
        self.known().iter().rev().find(|each| each.service == service).cloned()
    }

    /// Of services that are not there, by their names: those whose newest is an upload that has no
    /// traffic yet, or was refused.
    pub(super) fn first_uploads(&self, is_there: impl Fn(&str) -> bool) -> Vec<Deployment> {
        let known = self.known();
        let newest: BTreeMap<&str, &Deployment> =
            known.iter().map(|each| (each.service.as_str(), each)).collect();
        let first = newest.into_iter().filter(|(service, each)| {
            let is_told = each.is_on_its_way() || each.state == DeploymentState::Refused;
            each.file.is_none() && is_told && !is_there(service)
        });
        first.map(|(_, each)| each.clone()).collect()
    }

    /// Those on their way in, before they have any traffic.
    pub(super) fn candidates(&self) -> Vec<Deployment> {
        self.known().iter().filter(|each| each.is_on_its_way()).cloned().collect()
    }

    fn insert(known: &mut VecDeque<Deployment>, deployment: Deployment) {
        if known.len() >= KEPT_DEPLOYMENTS {
            // The oldest that is over; were none, there'd be as many services on their way.
            let over = known.iter().position(|each| each.state.is_over());
            over.map(|index| known.remove(index));
        }
        known.push_back(deployment);
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<Deployment>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// A step begins.
    pub(super) fn step(&self, step: Step) {
        self.change(|deployment| {
            deployment.steps.push(StepTime { step, weight: None, note: None, at: now() });
        });
    }

    /// The version gets this share, and with it comes what `note` says.
    pub(super) fn shares(&self, version: u64, weight: u8, note: Option<String>) {
        self.change(|deployment| {
            deployment.version = Some(version);
            deployment.state = DeploymentState::Running;
            deployment.reasons.clear();
            let step = if weight == 100 { Step::Serving } else { Step::Canary };
            deployment.steps.push(StepTime { step, weight: Some(weight), note, at: now() });
        });
    }

    /// The operator is waited for.
    pub(super) fn held(&self, reason: String) {
        self.change(|deployment| {
            deployment.state = DeploymentState::Held;
            deployment.reasons = vec![reason];
        });
    }

    /// It is over.
    pub(super) fn ended(&self, state: DeploymentState, reasons: Vec<String>) {
        self.change(|deployment| {
            deployment.state = state;
            deployment.reasons = reasons;
            deployment.ended_at = Some(now());
        });
    }

    fn change(&self, change: impl FnOnce(&mut Deployment)) {
        let mut known = self.deployments.known();
        if let Some(draft) = self.draft.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Deployments::insert(&mut known, draft);
        }
        let Some(deployment) = known.iter_mut().rev().find(|each| *each.id == *self.id) else {
            return;
        };
        if deployment.ended_at.is_some() {
            return;
        }
        change(deployment);
        let notice = Notice::Deployment(Box::new(deployment.clone()));
        drop(known);
        // Nobody listening is fine.
        _ = self.announce.send(notice);
    }
}
