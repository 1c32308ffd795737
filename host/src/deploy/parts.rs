//! What all steps of a deployment share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedMutexGuard, Semaphore, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::blobs::Blobs;
use super::board::{self, Board};
use super::claims::Claims;
use super::compile::{Costly, Queue};
use super::config::{
    CONCURRENT_LARGE_READS, CONCURRENT_READS, CONCURRENT_SECOND_LOOKS, CONCURRENT_UPLOADS,
    DeployConfig,
};
use super::gathering::Gathering;
use super::no_room::{NO_ROOM, SHORTAGE};
use super::notice::Notice;
use super::plugin_file::{PairSignature, Part, Stem};
use super::record::{Record, RecordFile, RefusalRecord};
use super::refusal::Refusal;
use super::secrets;
use super::settle::{Change, Settling};
use super::stores::Stores;
use super::told::{self, Told};
use crate::deadline;
use crate::events::Events;
use crate::manifest::Manifest;
use crate::name::ServiceName;
use crate::runtime::{Runtime, Secrets};
use crate::service::{Registry, Version};
use crate::state::StoreOptions;
use crate::turns::Turns;

/// When a file is looked at again for which the host was short of something.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(5);

/// What all steps of a deployment share.
pub(super) struct Parts {
    pub(super) config: DeployConfig,
    pub(super) registry: Arc<Registry>,
    pub(super) runtime: Runtime,
    pub(super) record: Record,
    pub(super) blobs: Arc<Blobs>,
    pub(super) board: Board,
    pub(super) claims: Arc<Claims>,
    /// The candidates that others may need.
    pub(super) gathering: Arc<Gathering>,
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
    swapping: Arc<tokio::sync::Mutex<()>>,
    pub(super) settling: Mutex<Settling>,
    /// Something was noted in `settling`.
    pub(super) noted: Notify,
    /// The same, for those who are at work.
    superseding: Notify,
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
    /// Whether somebody looks whether `host.db` is busy.
    probing: AtomicBool,
    /// Whether the first scan has been dealt with.
    pub(super) ready: watch::Sender<bool>,
    pub(super) stopping: CancellationToken,
    /// Workers and drains.
    pub(super) tasks: TaskTracker,
}

/// Somebody else shares traffic anew, for too long.
#[derive(Debug, thiserror::Error)]
#[error(
    "the host's own record, host.db, is busy: it did not take another change of traffic within \
     {0:?}; nothing was changed. Check the disk that the data folder is on, and ask again"
)]
pub(super) struct SwapLate(Duration);

/// Nobody else shares traffic anew until it is dropped.
pub(super) type SwapTurn = OwnedMutexGuard<()>;

impl Parts {
    pub(super) fn new(
        config: DeployConfig,
        registry: Arc<Registry>,
        runtime: Runtime,
        (record, board): (Record, Board),
        blobs: Blobs,
        store_options: StoreOptions,
        events: Events,
    ) -> Self {
        let settling = Settling::new(config.pair, config.quiet, config.stalled);
        Self {
            stores: Stores::new(config.data.join("stores"), store_options, events.clone()),
            events,
            config,
            registry,
            runtime,
            blobs: Arc::new(blobs),
            board,
            record,
            claims: Arc::default(),
            gathering: Arc::default(),
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
            swapping: Arc::default(),
            settling: Mutex::new(settling),
            noted: Notify::new(),
            superseding: Notify::new(),
            rescan: Notify::new(),
            working: Mutex::default(),
            acted_on: Mutex::default(),
            probing: AtomicBool::new(false),
            ready: watch::Sender::new(false),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Waits until nobody else shares traffic anew. Nothing but `host.db` is written in
    /// that turn, and no service's store is asked.
    pub(super) async fn swap_turn(&self) -> Result<SwapTurn, SwapLate> {
        let patience = self.change_patience();
        let turn = Arc::clone(&self.swapping).lock_owned();
        deadline::within(patience, turn).await.map_err(|deadline::Late| {
            let error = SwapLate(patience);
            tracing::error!(%error, "traffic is not shared anew");
            error
        })
    }

    /// How long someone waits for a change of `host.db` to come to its end. More than for it to
    /// begin: what is not done by then was begun.
    pub(super) fn change_patience(&self) -> Duration {
        2 * self.config.record_patience
    }

    /// What was refused since `host.db` was busy is looked at again once it is not.
    pub(super) fn catch_up(self: &Arc<Self>) {
        if self.probing.load(Ordering::Relaxed) || !self.record.was_behind() {
            return;
        }
        self.probing.store(true, Ordering::Relaxed);
        let parts = Arc::clone(self);
        self.tasks.spawn(async move {
            let probed = parts.record.change(RecordFile::probe).await;
            parts.probing.store(false, Ordering::Relaxed);
            if probed.is_ok() {
                parts.look_at_blocked();
            }
        });
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
        self.superseding.notify_waiters();
    }

    /// Resolves when the file changes again.
    pub(super) async fn superseded(&self, file: &Stem) {
        loop {
            // Registered before it is looked at, so that nothing is missed in between.
            let mut told = std::pin::pin!(self.superseding.notified());
            told.as_mut().enable();
            if self.is_superseded(file) {
                return;
            }
            told.await;
        }
    }

    /// Whether the file changed again since its worker began, as far as anybody has noted.
    pub(super) fn is_superseded(&self, file: &Stem) -> bool {
        if self.settling.lock().unwrap_or_else(PoisonError::into_inner).is_pending(file) {
            return true;
        }
        let working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        working.get(file).copied().unwrap_or_default()
    }

    /// Whether a file looks other than when its worker read it.
    pub(super) fn is_replaced(&self, file: &Stem) -> bool {
        let read = self.acted_on.lock().unwrap_or_else(PoisonError::into_inner).get(file).copied();
        file.signature(&self.config.folder).is_ok_and(|found| Some(found) != read)
    }

    /// Says why a file's content does not come to serve: once in the log, and
    /// for as long as the file stays as it is in the status.
    pub(super) async fn refuse(self: &Arc<Self>, file: &Stem, refusal: Refusal) {
        let name = file.file(Part::Component);
        let Refusal { service, seen, reasons, blocked, waits } = refusal;
        // For want of room it is no fault of the file's: it is tried again when there is some.
        let (room, no_room) = (self.stores.room(), reasons.iter().any(|reason| reason == NO_ROOM));
        // Looked at in any case: it is what notes that the disk is full.
        let is_full = room.is_full();
        let is_short = reasons.iter().any(|reason| reason == SHORTAGE);
        let blocked = blocked || no_room || is_full || is_short;
        let service = service.or_else(|| self.board.service_of(file)).or_else(|| file.service());
        // Whoever deployed it: an upload or another file, too.
        let still_serving =
            service.as_ref().is_some_and(|service| self.board.serving(service).is_some());
        let shown = service.as_ref().map_or("-", |service| service.as_str());
        // The disk's is said once for all of them.
        let is_told = no_room && room.was_full();
        if waits {
            tracing::info!(service = shown, file = name, reasons = reasons.join("; "), "pending");
        } else if !is_told && told::one_by_one(self) {
            tracing::warn!(
                service = shown,
                file = name,
                reasons = reasons.join("; "),
                still_serving,
                "refused"
            );
        }
        let record = RefusalRecord {
            seen,
            service: service.clone(),
            reasons: reasons.clone(),
            blocked,
            waits,
            host: host(self.blobs.key()),
            at: board::now(),
        };
        self.board.refused(file, record.clone());
        // What it could not be known by again is not recorded: the next start says it anew.
        if seen.component.is_some() {
            self.record_file(file, Some(record)).await;
        }
        if is_short {
            self.look_again_at(file.clone());
        }
        self.board.announce(match waits {
            true => Notice::Pending { service, file: name, reasons },
            false => Notice::Refused { service, file: Some(name), reasons },
        });
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
        if let Err(error) = self.record.change(move |record| record.note_files(&files)).await {
            // The next start then tries the files again.
            error.log(None, "what became of plugin files could not be recorded");
        }
    }

    /// What other services had may be free now: files that were refused for it
    /// get another look.
    pub(super) fn look_at_blocked(&self) {
        for file in self.board.blocked() {
            self.note(&file, Part::Component, Change::Other);
        }
    }

    /// Nobody says when there is enough again of what the host was short of.
    fn look_again_at(self: &Arc<Self>, file: Stem) {
        let parts = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = parts.stopping.cancelled() => {}
                () = sleep(SHORTAGE_PAUSE) => parts.note(&file, Part::Component, Change::Other),
            }
        });
    }

    /// Removes components and code that no kept version needs, in the background.
    pub(super) fn sweep(self: &Arc<Self>) {
        let parts = Arc::clone(self);
        self.tasks.spawn(async move {
            let swept = parts.blocking(|parts| {
                parts.blobs.sweep(|| {
                    // On a thread that may block, and not for ever.
                    let kept = parts.record.read(RecordFile::kept_components);
                    Handle::current().block_on(kept).map_err(std::io::Error::other)
                })
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
