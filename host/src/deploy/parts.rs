//! What all steps of a deployment share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{MutexGuard, Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::blobs::Blobs;
use super::board::{self, Board};
use super::claims::Claims;
use super::compile::{Costly, Queue};
use super::config::{
    CONCURRENT_LARGE_READS, CONCURRENT_READS, CONCURRENT_SECOND_LOOKS, CONCURRENT_UPLOADS,
    DeployConfig, SWAP_PATIENCE,
};
use super::notice::Notice;
use super::plugin_file::{PairSignature, Part, Stem};
use super::record::{Record, RecordError, RefusalRecord};
use super::refusal::Refusal;
use super::secrets;
use super::settle::{Change, Settling};
use super::stores::Stores;
use super::told::{self, Told};
use crate::deadline;
use crate::events::Events;
use crate::manifest::Manifest;
use crate::runtime::{Runtime, Secrets};
use crate::service::{Registry, ServiceName, Version};
use crate::state::StoreOptions;
use crate::turns::Turns;

/// What all steps of a deployment share.
pub(super) struct Parts {
    pub(super) config: DeployConfig,
    pub(super) registry: Arc<Registry>,
    pub(super) runtime: Runtime,
    pub(super) record: Record,
    pub(super) blobs: Arc<Blobs>,
    pub(super) board: Board,
    pub(super) claims: Arc<Claims>,
    pub(super) turns: Turns,
    pub(super) stores: Stores,
    pub(super) events: Events,
    /// Who is to be compiled.
    pub(super) compiles: Arc<Queue>,
    pub(super) costly: Costly,
    pub(super) read_slots: Semaphore,
    pub(super) again_slots: Semaphore,
    pub(super) large_read_slots: Semaphore,
    pub(super) upload_slots: Arc<Semaphore>,
    /// Held while traffic is shared anew, from the last look at the routes on, so
    /// that no other service takes one of them in between.
    swapping: tokio::sync::Mutex<()>,
    pub(super) settling: Mutex<Settling>,
    /// Something was noted in `settling`.
    pub(super) noted: Notify,
    /// Events were missed, or may have come from behind a link.
    pub(super) rescan: Notify,
    /// Files with a worker, and whether they changed again since it began.
    pub(super) working: Mutex<HashMap<Stem, bool>>,
    /// What each file looked like when it was last acted on.
    pub(super) acted_on: Mutex<HashMap<Stem, PairSignature>>,
    /// What is to be recorded of files that serve nothing: refused so, or gone.
    pub(super) unrecorded: Mutex<BTreeMap<Stem, Option<RefusalRecord>>>,
    /// Held by whoever records it.
    pub(super) recording: tokio::sync::Mutex<()>,
    /// How many refusals were told of one by one.
    pub(super) told: Told,
    /// Whether the first scan has been dealt with.
    pub(super) ready: watch::Sender<bool>,
    pub(super) stopping: CancellationToken,
    /// Workers and drains.
    pub(super) tasks: TaskTracker,
}

/// Somebody else shares traffic anew, for too long.
#[derive(Debug, thiserror::Error)]
#[error(
    "host.db did not take another change of traffic within {SWAP_PATIENCE:?}: check the disk \
     that the data folder is on"
)]
pub(super) struct SwapLate;

impl Parts {
    pub(super) fn new(
        config: DeployConfig,
        registry: Arc<Registry>,
        runtime: Runtime,
        record: Record,
        blobs: Blobs,
        store_options: StoreOptions,
        events: Events,
    ) -> Result<Self, RecordError> {
        let settling = Settling::new(config.pair, config.quiet, config.stalled);
        Ok(Self {
            stores: Stores::new(config.data.join("stores"), store_options, events.clone()),
            events,
            config,
            registry,
            runtime,
            blobs: Arc::new(blobs),
            board: Board::new(&record)?,
            record,
            claims: Arc::default(),
            turns: Turns::default(),
            compiles: Arc::default(),
            costly: Costly::default(),
            read_slots: Semaphore::new(CONCURRENT_READS),
            again_slots: Semaphore::new(CONCURRENT_SECOND_LOOKS),
            large_read_slots: Semaphore::new(CONCURRENT_LARGE_READS),
            unrecorded: Mutex::default(),
            recording: tokio::sync::Mutex::default(),
            told: Told::default(),
            upload_slots: Arc::new(Semaphore::new(CONCURRENT_UPLOADS)),
            swapping: tokio::sync::Mutex::default(),
            settling: Mutex::new(settling),
            noted: Notify::new(),
            rescan: Notify::new(),
            working: Mutex::default(),
            acted_on: Mutex::default(),
            ready: watch::Sender::new(false),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Waits until nobody else shares traffic anew. Nothing but `host.db` is written in
    /// that turn, and no service's store is asked.
    pub(super) async fn swap_turn(&self) -> Result<MutexGuard<'_, ()>, SwapLate> {
        deadline::within(SWAP_PATIENCE, self.swapping.lock()).await.map_err(|deadline::Late| {
            let error = SwapLate;
            tracing::error!(%error, "traffic is not shared anew");
            error
        })
    }

    /// Does `work` where blocking is allowed.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let parts = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&parts)).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being dropped, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// The version that a newer one of the service stands against: the one with
    /// the traffic, not one on trial.
    pub(super) fn compared_with(&self, service: &ServiceName) -> Option<Arc<Version>> {
        let current = self.registry.load().services.get(service).cloned()?;
        let serving = self.board.serving(service);
        let canary = serving.and_then(|serving| serving.canary);
        let old = canary.and_then(|canary| {
            let mut versions = current.traffic.versions();
            versions.find(|version| version.id.number == canary.record.old).cloned()
        });
        Some(old.unwrap_or_else(|| Arc::clone(current.traffic.primary())))
    }

    /// What the operator supplies of what the manifest names.
    pub(super) async fn secrets_of(
        self: &Arc<Self>,
        manifest: &Arc<Manifest>,
    ) -> Result<Secrets, Vec<String>> {
        if manifest.capabilities.secrets.is_empty() {
            return Ok(Secrets::default());
        }
        let manifest = Arc::clone(manifest);
        self.blocking(move |parts| secrets::read(parts.config.secrets.as_deref(), &manifest)).await
    }

    /// Takes note that a file is to be looked at.
    pub(super) fn note(&self, file: &Stem, part: Part, change: Change) {
        let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        settling.note(file, part, change, Instant::now());
        drop(settling);
        self.noted.notify_one();
    }

    /// Whether the file changed again since its worker began.
    pub(super) fn is_superseded(&self, file: &Stem) -> bool {
        let working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        working.get(file).copied().unwrap_or_default()
    }

    /// Says why a file's content does not come to serve: once in the log, and
    /// for as long as the file stays as it is in the status.
    pub(super) async fn refuse(self: &Arc<Self>, file: &Stem, refusal: Refusal) {
        let name = file.file(Part::Component);
        let Refusal { service, seen, reasons, blocked } = refusal;
        // For want of room it is no fault of the file's: it is tried again when there is some.
        let blocked = blocked || self.stores.room().is_full();
        let serving = self.board.service_of(file);
        let service = service.or_else(|| serving.clone()).or_else(|| file.service());
        let shown = service.as_ref().map_or("-", |service| service.as_str());
        if told::one_by_one(self) {
            tracing::warn!(
                service = shown,
                file = name,
                reasons = reasons.join("; "),
                still_serving = serving.is_some(),
                "refused"
            );
        }
        let record = RefusalRecord {
            seen,
            service: service.clone(),
            reasons: reasons.clone(),
            blocked,
            host: host(self.blobs.key()),
            at: board::now(),
        };
        self.board.refused(file, record.clone());
        // What it could not be known by again is not recorded: the next start says it anew.
        if seen.component.is_some() {
            self.record_file(file, Some(record)).await;
        }
        self.board.announce(Notice::Refused { service, file: Some(name), reasons });
    }

    /// Records of a file that serves nothing that it was refused, or is gone; with what others
    /// have to record meanwhile, as each change of the record waits for the disk.
    pub(super) async fn record_file(self: &Arc<Self>, file: &Stem, refusal: Option<RefusalRecord>) {
        let unrecorded = || self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        unrecorded().insert(file.clone(), refusal);
        let _recording = self.recording.lock().await;
        let files = std::mem::take(&mut *unrecorded());
        if files.is_empty() {
            // Whoever was first took it along.
            return;
        }
        if let Err(error) = self.blocking(move |parts| parts.record.note_files(&files)).await {
            // The next start then tries the files again.
            tracing::error!(%error, "what became of plugin files could not be recorded");
        }
    }

    /// What other services had may be free now: files that were refused for it
    /// get another look.
    pub(super) fn look_at_blocked(&self) {
        for file in self.board.blocked() {
            self.note(&file, Part::Component, Change::Other);
        }
    }

    /// Removes components and code that no kept version needs, in the background.
    pub(super) fn sweep(self: &Arc<Self>) {
        let parts = Arc::clone(self);
        self.tasks.spawn(async move {
            let swept = parts.blocking(|parts| {
                parts.blobs.sweep(|| parts.record.kept_components().map_err(std::io::Error::other))
            });
            if let Err(error) = swept.await {
                tracing::warn!(%error, "old components could not be removed");
            }
        });
    }
}

/// Which host accepts or refuses; another may decide otherwise.
pub(super) fn host(key: &str) -> String {
    format!("{} {key}", env!("CARGO_PKG_VERSION"))
}
