//! The deployer: what the rest of the host sees of deployments.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::blobs::Blobs;
use super::board::Board;
use super::config::DeployConfig;
use super::notice::Notice;
use super::operator::Operator;
use super::parts::Parts;
use super::plugin_file::{self, Part, Stem};
use super::record::{Record, RecordError, RecordFile};
use super::restore;
use super::settle::Change;
use super::status::Status;
use super::watch::{Look, Watch};
use super::worker::{Occasion, work};
use crate::events::Events;
use crate::machine::with_descriptors;
use crate::runtime::{Runtime, compatibility_key};
use crate::service::{Registry, Version};
use crate::state::StoreOptions;

/// Keeps what serves as the plugin folder says.
pub struct Deployer {
    parts: Arc<Parts>,
    coordinator: Mutex<Option<JoinHandle<()>>>,
}

/// Why deployments cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be used.
    #[error("{}: {error}", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The record cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Deployer {
    /// Restores what served when the host ended, and begins to look through the
    /// plugin folder and to watch it. Returns when what the cache has serves.
    ///
    /// The caller holds the data folder for itself.
    ///
    /// # Errors
    /// When a folder or `host.db` cannot be used.
    pub async fn start(
        config: DeployConfig,
        runtime: Runtime,
        registry: Arc<Registry>,
        store_options: StoreOptions,
        events: Events,
    ) -> Result<Self, StartError> {
        let opened = tokio::task::spawn_blocking(move || {
            open(config, runtime, registry, store_options, events)
        })
        .await;
        let parts = opened.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        let missing = restore::restore(&parts).await?;
        let coordinator = tokio::spawn({
            let parts = Arc::clone(&parts);
            async move {
                restore::recompile(&parts, missing).await;
                parts.tasks.spawn({
                    let parts = Arc::clone(&parts);
                    async move { restore::recompile_kept(&parts).await }
                });
                coordinate(&parts).await;
            }
        });
        Ok(Self { parts, coordinator: Mutex::new(Some(coordinator)) })
    }

    /// What deployments announce. The first to ask also gets what was announced
    /// since the start.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.parts.board.subscribe()
    }

    /// Tells what is deployed, for as long as it is kept.
    #[must_use]
    pub fn status(&self) -> StatusReader {
        StatusReader { parts: Arc::clone(&self.parts) }
    }

    /// Does what operators ask for, for as long as it is kept.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator::new(Arc::clone(&self.parts))
    }

    /// Stops watching and gives up candidates that aren't being warmed; those
    /// that are come to their end. Then closes all stores: this is for when no
    /// request runs any more.
    pub async fn shutdown(&self) {
        self.stop().await;
        self.close_stores().await;
    }

    /// Stops watching and gives up candidates that aren't being warmed; returns when
    /// those that are have come to their end.
    pub async fn stop(&self) {
        self.parts.stopping.cancel();
        self.parts.tasks.close();
        // What it begins is among the tasks; only a panic, which has been logged, ends it
        // early.
        let coordinator = self.coordinator.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(coordinator) = coordinator {
            _ = coordinator.await;
        }
        self.parts.tasks.wait().await;
    }

    /// Closes all stores, and `host.db`; this is for when no request runs any more.
    pub async fn close_stores(&self) {
        tokio::join!(self.parts.stores.close_all(), self.parts.record.close());
    }

    /// The stores that are not closed, and why.
    #[must_use]
    pub fn still_open(&self) -> Vec<String> {
        let mut open = self.parts.stores.still_open();
        if self.parts.record.is_open() {
            open.push("the host's own record, host.db".to_owned());
        }
        open
    }

    /// The services with a deployment that has no traffic yet.
    #[must_use]
    pub fn under_way(&self) -> Vec<String> {
        self.parts.board.under_way()
    }

    /// The versions that lost their traffic and still run something.
    #[must_use]
    pub fn draining(&self) -> Vec<Arc<Version>> {
        self.parts.board.draining()
    }
}

/// Tells what is deployed. Cheap to clone.
#[derive(Clone)]
pub struct StatusReader {
    parts: Arc<Parts>,
}

impl StatusReader {
    /// What `GET /v1/services` shows.
    #[must_use]
    pub fn read(&self) -> Status {
        self.parts.board.status(&self.parts.registry)
    }

    /// Whether a service of this name served before the start and could not be
    /// restored.
    #[must_use]
    pub fn is_lost(&self, service: &str) -> bool {
        self.parts.board.is_lost(service)
    }

    /// Whether every file that was there at the start has been dealt with.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.parts.ready.borrow()
    }

    /// Resolves when every file that was there at the start has been dealt with.
    pub async fn ready(&self) {
        // The sender is in `parts`, so it cannot be gone.
        _ = self.parts.ready.subscribe().wait_for(|ready| *ready).await;
    }
}

impl fmt::Debug for StatusReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusReader").finish_non_exhaustive()
    }
}

impl fmt::Debug for Deployer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployer").field("config", &self.parts.config).finish_non_exhaustive()
    }
}

fn open(
    config: DeployConfig,
    runtime: Runtime,
    registry: Arc<Registry>,
    store_options: StoreOptions,
    events: Events,
) -> Result<Arc<Parts>, StartError> {
    let at = |path: PathBuf| move |error| StartError::Folder { path, error };
    // Without the folder every service would look as if it had been removed.
    plugin_file::scan(&config.folder).map_err(at(config.folder.clone()))?;
    let stores = config.data.join("stores");
    std::fs::create_dir_all(&stores).map_err(at(stores.clone()))?;
    let blobs = Blobs::open(&config.data, compatibility_key()).map_err(at(config.data.clone()))?;
    let path = config.data.join("host.db");
    let record = RecordFile::open(&path, config.keep_versions, store_options.alarm.clone())?;
    let board = Board::new(&record)?;
    let room = store_options.room.clone();
    let record = Record::start(record, config.record_patience, room).map_err(at(path))?;
    let known = (record, board);
    Ok(Arc::new(Parts::new(config, registry, runtime, known, blobs, store_options, events)))
}

/// Starts a worker for each file that has settled, until the host stops.
async fn coordinate(parts: &Arc<Parts>) {
    // Watched before it is scanned, so that no change falls in between.
    let mut watch = Watch::begin(parts);
    // Bounded by one message per worker, and workers by one per file.
    let (done, mut ended) = mpsc::unbounded_channel();
    let mut awaited = scan(parts, &done).await;
    if awaited.is_empty() {
        ready(parts);
    }
    let mut look_around = interval(parts.config.rescan);
    look_around.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look_around.reset();
    loop {
        let (settled, next_due) = {
            let mut settling = parts.settling.lock().unwrap_or_else(PoisonError::into_inner);
            (settling.take_settled(Instant::now()), settling.next_due())
        };
        for file in settled {
            work(parts, file, Occasion::Change, done.clone());
        }
        let next_due = next_due.unwrap_or_else(|| Instant::now() + parts.config.rescan);
        tokio::select! {
            () = parts.stopping.cancelled() => return,
            () = sleep_until(next_due.into()) => {}
            () = parts.noted.notified() => {}
            () = parts.rescan.notified() => watch.look_around(parts, Look::Prompted).await,
            _ = look_around.tick() => {
                parts.catch_up();
                watch.look_around(parts, Look::Routine).await;
            }
            Some(file) = ended.recv() => dealt_with(parts, &mut awaited, &file),
        }
    }
}

/// Begins with every file that is there or was there when the host ended.
/// Returns those files.
async fn scan(parts: &Arc<Parts>, done: &mpsc::UnboundedSender<Stem>) -> BTreeSet<Stem> {
    let found = parts.blocking(|parts| {
        let folder = &parts.config.folder;
        let mut files = with_descriptors(|| plugin_file::scan(folder))?.stems;
        files.extend(parts.board.files());
        let signatures = files.into_iter().map(|file| {
            let signature = file.signature(folder).unwrap_or_default();
            (file, signature)
        });
        Ok::<_, io::Error>(signatures.collect::<HashMap<_, _>>())
    });
    let found = found.await.unwrap_or_else(|error| {
        tracing::error!(%error, "the plugin folder cannot be read");
        HashMap::new()
    });
    for (file, signature) in &found {
        // Someone may be writing it, and whoever began before us is not seen.
        if signature.is_younger_than(parts.config.quiet) {
            parts.note(file, Part::Component, Change::Other);
        } else {
            work(parts, file.clone(), Occasion::Start, done.clone());
        }
    }
    found.into_keys().collect()
}

/// A file has been looked at. One that waits for what other services are to export stays among
/// those that are awaited: one that comes may bring it. Once all that are left only wait, nothing
/// comes by itself any more.
fn dealt_with(parts: &Arc<Parts>, awaited: &mut BTreeSet<Stem>, file: &Stem) {
    if awaited.is_empty() {
        return;
    }
    let is_coming = |file: &Stem| {
        let settling = parts.settling.lock().unwrap_or_else(PoisonError::into_inner);
        // One that changed while it was read is still to come.
        settling.is_pending(file)
            || parts.working.lock().unwrap_or_else(PoisonError::into_inner).contains_key(file)
    };
    let waits = |file: &Stem| parts.board.refusal(file).is_some_and(|refusal| refusal.waits);
    if !is_coming(file) && !waits(file) {
        awaited.remove(file);
    }
    if awaited.iter().all(|file| !is_coming(file) && waits(file)) {
        awaited.clear();
        ready(parts);
    }
}

fn ready(parts: &Arc<Parts>) {
    parts.ready.send_replace(true);
    // What other hosts and refused candidates left.
    parts.sweep();
}

#[cfg(test)]
mod tests;
