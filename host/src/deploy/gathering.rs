//! Candidates that need one another come together: each waits before its swap until those that
//! it cannot do without have come as far, so that services that call each other in a circle go
//! live together. Files whose candidates lack something that nobody exports yet are remembered,
//! and looked at again when somebody comes who does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::blobs::Hold;
use super::plugin_file::Stem;
use super::record::Seen;
use crate::manifest::Manifest;
use crate::name::ServiceName;
use crate::runtime::Program;
use crate::runtime::functions::Interface;
use crate::service::contracts::{Contract, Contracts};

/// The candidates that are on their way or wait, by their services.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    members: Mutex<BTreeMap<ServiceName, Member>>,
    changes: watch::Sender<u64>,
}

/// How far a candidate has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Its file waits for what it lacks.
    Waits,
    /// It is looked at, or warmed.
    OnItsWay,
    /// It waits for others to come as far.
    Warmed,
    /// Those that it needs are as far: it gets its traffic now.
    Released,
}

/// What a candidate brings, as far as others have to know it.
#[derive(Debug)]
pub(super) struct Member {
    /// Its deployment's.
    id: String,
    pub(super) stage: Stage,
    pub(super) file: Option<Stem>,
    seen: Seen,
    brings: Arc<Brings>,
    /// Whether the versions that serve keep a share of the traffic beside it.
    is_canary: bool,
    /// Of one that waits: its code is not compiled anew each time that it is looked at.
    hold: Option<Hold>,
}

/// A contract that outlives its program.
#[derive(Debug)]
struct Brings {
    manifest: Arc<Manifest>,
    provides: Vec<Interface>,
    uses: Vec<Interface>,
}

/// A candidate's place among the others; given up when it is dropped, unless its file waits.
#[derive(Debug)]
pub(super) struct Entry {
    gathering: Arc<Gathering>,
    service: ServiceName,
    id: String,
    /// Another file's candidate of the service, which waited in this place and does so again.
    before: Option<Member>,
}

/// Those who were members at one moment.
pub(super) struct Members(Vec<(ServiceName, Stage, bool, Arc<Brings>)>);

impl Gathering {
    /// Enters a candidate, in the place of what waited of its service.
    pub(super) fn enter(
        self: &Arc<Self>,
        id: &str,
        manifest: &Arc<Manifest>,
        program: &Program,
        (file, seen, is_canary): (Option<&Stem>, Seen, bool),
    ) -> Entry {
        let brings = Brings {
            manifest: Arc::clone(manifest),
            provides: program.provides().to_vec(),
            uses: program.uses().to_vec(),
        };
        let member = Member {
            id: id.to_owned(),
            stage: Stage::OnItsWay,
            file: file.cloned(),
            seen,
            brings: Arc::new(brings),
            is_canary,
            hold: None,
        };
        let service = manifest.service.clone();
        let before = self.lock().insert(service.clone(), member);
        let before = before.filter(|each| each.stage == Stage::Waits && each.file.as_ref() != file);
        self.changed();
        Entry { gathering: Arc::clone(self), service, id: id.to_owned(), before }
    }

    /// The files that wait, of these services.
    pub(super) fn files(&self, of: impl Fn(&ServiceName) -> bool) -> Vec<Stem> {
        let members = self.lock();
        let waiting =
            members.iter().filter(|(service, each)| each.stage == Stage::Waits && of(service));
        waiting.filter_map(|(_, each)| each.file.clone()).collect()
    }

    /// The file holds something else now, or does not wait any more.
    pub(super) fn forget(&self, file: &Stem) {
        let waits = |each: &Member| each.stage == Stage::Waits && each.file.as_ref() == Some(file);
        self.lock().retain(|_, each| !waits(each));
        self.changed();
    }

    /// Those who are members now.
    pub(super) fn members(&self) -> Members {
        let members = self.lock();
        let members = members.iter().map(|(service, each)| {
            (service.clone(), each.stage, each.is_canary, Arc::clone(&each.brings))
        });
        Members(members.collect())
    }

    /// Tells when a member comes, goes or gets further.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Those of these services that are warmed get their traffic now.
    pub(super) fn release(&self, of: impl Fn(&ServiceName) -> bool) {
        for (service, each) in self.lock().iter_mut() {
            if each.stage == Stage::Warmed && of(service) {
                each.stage = Stage::Released;
            }
        }
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    /// Their contracts, each with those of the versions that would keep a share of the traffic,
    /// of members that have come as far as `least`.
    pub(super) fn contracts<'a>(
        &'a self,
        deployed: &Contracts<'a>,
        least: Stage,
    ) -> BTreeMap<ServiceName, Vec<Contract<'a>>> {
        let as_far = self.0.iter().filter(|(_, stage, ..)| *stage >= least);
        let contracts = as_far.map(|(service, _, is_canary, brings)| {
            let beside = if *is_canary { deployed.versions(service) } else { &[] };
            let versions = [brings.contract()].into_iter().chain(beside.iter().copied());
            (service.clone(), versions.collect())
        });
        contracts.collect()
    }
}

impl Brings {
    fn contract(&self) -> Contract<'_> {
        Contract { manifest: &self.manifest, provides: &self.provides, uses: &self.uses }
    }
}

impl Entry {
    /// How far it has come; none where another candidate has its place.
    pub(super) fn stage(&self) -> Option<Stage> {
        let members = self.gathering.lock();
        members.get(&self.service).filter(|each| each.id == self.id).map(|each| each.stage)
    }

    /// Its candidate waits for others to come as far.
    pub(super) fn is_warmed(&self) {
        self.becomes(Stage::Warmed);
        self.gathering.changed();
    }

    /// Its file waits. Whether it is news: not the same content that waited before.
    pub(super) fn waits(self, before: Option<Seen>, hold: Hold) -> bool {
        let mut members = self.gathering.lock();
        let own = members.get_mut(&self.service).filter(|each| each.id == self.id);
        let Some(member) = own else { return false };
        member.stage = Stage::Waits;
        member.hold = Some(hold);
        before != Some(member.seen)
    }

    fn becomes(&self, stage: Stage) {
        let mut members = self.gathering.lock();
        if let Some(member) = members.get_mut(&self.service).filter(|each| each.id == self.id) {
            member.stage = stage;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut members = self.gathering.lock();
        let own = members.get(&self.service).filter(|each| each.id == self.id);
        if own.is_some_and(|own| own.stage != Stage::Waits) {
            members.remove(&self.service);
            if let Some(before) = self.before.take() {
                members.insert(self.service.clone(), before);
            }
        }
        drop(members);
        self.gathering.changed();
    }
}
