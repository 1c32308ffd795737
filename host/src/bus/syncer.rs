//! The second half of a commit, on a thread of its own: what the writer has committed is
//! synced, then shown to readers and told to those who wait, while the writer fills the
//! next group.
//!
//! SQLite commits without a sync (`synchronous = NORMAL`, which leaves the syncs that keep
//! the file whole: of the log before it is carried over or begun anew, and of the file
//! after); the log's frames are on disk once its file is synced, through any descriptor.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::watch;

use super::Recorded;
use super::group::Waiting;
use super::shared::{Broken, Extent, Shared};
use crate::failpoint;

/// A group that SQLite has committed.
pub(super) struct Committed {
    pub(super) appended: Vec<Recorded>,
    pub(super) extent: Extent,
    /// Whether it wrote anything. What it was told may be of an earlier group all the same,
    /// and is not told before that is synced.
    pub(super) changed: bool,
    pub(super) waiting: Vec<Waiting>,
}

/// The writer's end of it.
pub(super) struct Syncer {
    queue: mpsc::Sender<Committed>,
    handed_over: u64,
    /// How many of them are done.
    done: watch::Receiver<u64>,
    thread: JoinHandle<()>,
}

impl Syncer {
    /// Starts the thread; the file is open, and has its write-ahead log beside it.
    pub(super) fn start(database: &Path, shared: Arc<Shared>) -> std::io::Result<Self> {
        // As SQLite names it, which follows links.
        let mut log = database.canonicalize()?.into_os_string();
        log.push("-wal");
        let log = File::open(log)?;
        let (queue, groups) = mpsc::channel();
        let (progress, done) = watch::channel(0);
        let thread = thread::Builder::new().name("bus-sync".to_owned()).spawn(move || {
            let _broken = Broken::of("its syncing thread panicked", &shared);
            sync(&log, &groups, &shared, &progress);
        })?;
        Ok(Self { queue, handed_over: 0, done, thread })
    }

    /// How many groups are not told yet.
    pub(super) fn under_way(&self) -> u64 {
        self.handed_over - *self.done.borrow()
    }

    /// Returns when one of them may be; false where none ever will, since the thread
    /// panicked. Nothing is lost where it is given up.
    pub(super) async fn progress(&mut self) -> bool {
        self.done.changed().await.is_ok()
    }

    pub(super) fn hand_over(&mut self, group: Committed) {
        self.handed_over += 1;
        if let Err(mpsc::SendError(group)) = self.queue.send(group) {
            // It panicked, and the alarm has rung.
            for tell in group.waiting {
                tell(Err(super::BusError::Failed("its syncing thread panicked".to_owned())));
            }
        }
    }

    /// Returns when all are told.
    pub(super) fn finish(self) {
        drop(self.queue);
        // A panic has rung the alarm.
        let _ = self.thread.join();
    }
}

fn sync(
    log: &File,
    groups: &mpsc::Receiver<Committed>,
    shared: &Shared,
    progress: &watch::Sender<u64>,
) {
    while let Ok(first) = groups.recv() {
        let mut together = vec![first];
        together.extend(groups.try_iter());
        if let Some(before_sync) = &shared.options.before_sync {
            before_sync();
        }
        if together.iter().any(|group| group.changed)
            && let Err(error) = log.sync_data()
        {
            shared.poison(format_args!("its write-ahead log could not be synced: {error}"));
        }
        failpoint::pass("after bus commit");
        let count = together.len() as u64;
        for Committed { appended, extent, waiting, .. } in together {
            // Another file may have failed meanwhile, too.
            let result = shared.check();
            if result.is_ok() {
                shared.publish(appended, extent);
            }
            for tell in waiting {
                tell(result.clone());
            }
        }
        progress.send_modify(|done| *done += count);
    }
}
