//! The writer: the one connection that writes, on a thread of its own.

use std::sync::Arc;
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{BusError, JobError};
use super::group::Group;
use super::ids::Ids;
use super::shared::{Extent, Shared};

/// After how many bytes the write-ahead log is carried over into the file.
const CHECKPOINT_BYTES: u64 = 16 << 20;

/// What a commit adds to the log besides the events' texts: a few pages, also
/// where it has no events.
const COMMIT_BYTES: u64 = 16 << 10;

/// Pages that the log may have before the writer waits for readers to be done
/// with it, so that it starts over.
const MAX_LOG_PAGES: i64 = 64 << 10;

/// Something to be done in a group.
pub(super) trait Job: Send {
    /// Does it. An error gives the group up.
    fn run(self: Box<Self>, group: &mut Group<'_>) -> rusqlite::Result<()>;

    /// Tells who waits that there is no group.
    fn refuse(self: Box<Self>, error: BusError);
}

/// Work whose result is told to `reply` once the group is durable.
pub(super) struct Work<T, F> {
    pub(super) work: F,
    pub(super) reply: oneshot::Sender<Result<T, BusError>>,
}

impl<T, F> Job for Work<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Group<'_>) -> Result<T, JobError> + Send,
{
    fn run(self: Box<Self>, group: &mut Group<'_>) -> rusqlite::Result<()> {
        let Self { work, reply } = *self;
        // Nothing is done for one that left.
        if reply.is_closed() {
            return Ok(());
        }
        match work(group) {
            Ok(value) => {
                group.tell(move |committed| drop(reply.send(committed.map(|()| value))));
                Ok(())
            }
            Err(JobError::Refused(error)) => {
                let _ = reply.send(Err(error));
                Ok(())
            }
            Err(JobError::Sqlite(error)) => {
                let lost = || BusError::Unavailable("a statement failed".to_owned());
                group.tell(move |committed| {
                    drop(reply.send(Err(committed.err().unwrap_or_else(lost))));
                });
                Err(error)
            }
        }
    }

    fn refuse(self: Box<Self>, error: BusError) {
        let _ = self.reply.send(Err(error));
    }
}

pub(super) struct Writer {
    connection: Connection,
    shared: Arc<Shared>,
    ids: Ids,
    extent: Extent,
    since_checkpoint: u64,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        shared: Arc<Shared>,
        ids: Ids,
        extent: Extent,
    ) -> Self {
        Self { connection, shared, ids, extent, since_checkpoint: 0 }
    }

    /// Starts the thread, which ends when the queue is closed. What is returned
    /// says so.
    pub(super) fn start(self, jobs: mpsc::Receiver<Box<dyn Job>>) -> std::io::Result<Ended> {
        let (running, ended) = watch::channel(());
        let thread = thread::Builder::new().name("bus".to_owned());
        thread.spawn(move || {
            let broken = Broken(Arc::clone(&self.shared));
            self.run(jobs);
            drop(broken);
            drop(running);
        })?;
        Ok(Ended(ended))
    }

    fn run(mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(job) = jobs.blocking_recv() {
            match self.run_group(job, &mut jobs) {
                Ok(()) => self.checkpoint_if_due(),
                Err(error) => tracing::warn!(%error, "a commit of the bus did not go through"),
            }
        }
    }

    /// Commits what is queued now; it never waits for more.
    fn run_group(
        &mut self,
        first: Box<dyn Job>,
        jobs: &mut mpsc::Receiver<Box<dyn Job>>,
    ) -> Result<(), BusError> {
        let begun = self.shared.check().and_then(|()| {
            let begun = self.connection.execute_batch("BEGIN IMMEDIATE");
            begun.map_err(|error| self.shared.failed(&error))
        });
        if let Err(error) = begun {
            first.refuse(error.clone());
            return Err(error);
        }
        let mut group = Group::new(&self.connection, &self.shared, &mut self.ids, self.extent);
        let mut done = first.run(&mut group);
        while done.is_ok() && !group.is_large() {
            let Ok(job) = jobs.try_recv() else { break };
            done = job.run(&mut group);
        }
        let done = done.and_then(|()| group.commit());
        let Group { extent, appended, changed_bytes, waiting, .. } = group;
        let result = match done {
            Ok(()) => {
                self.since_checkpoint += changed_bytes + COMMIT_BYTES;
                self.extent = extent;
                self.ids.keep();
                self.shared.publish(appended, extent);
                // Another file may have failed meanwhile.
                self.shared.check()
            }
            Err(error) => {
                self.ids.give_up();
                let error = self.shared.failed(&error);
                self.roll_back();
                Err(error)
            }
        };
        for tell in waiting {
            tell(result.clone());
        }
        result
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            self.shared.poison(error);
        }
    }

    /// Carries the write-ahead log over into the file. Not a part of COMMIT, as
    /// SQLite would have it, since there someone waits.
    fn checkpoint_if_due(&mut self) {
        if self.since_checkpoint < CHECKPOINT_BYTES {
            return;
        }
        self.since_checkpoint = 0;
        let checkpointed = self.checkpoint("PASSIVE").and_then(|pages| {
            // Readers kept it from starting over.
            if pages > MAX_LOG_PAGES { self.checkpoint("RESTART") } else { Ok(pages) }
        });
        if let Err(error) = checkpointed {
            let error = self.shared.failed(&error);
            tracing::warn!(%error, "the bus's write-ahead log is carried over later");
        }
    }

    /// Returns how many pages the log has.
    fn checkpoint(&self, mode: &str) -> rusqlite::Result<i64> {
        let pragma = format!("PRAGMA wal_checkpoint({mode})");
        self.connection.query_row(&pragma, [], |row| row.get(1))
    }
}

/// Says when the writer's thread has ended.
#[derive(Clone, Debug)]
pub(super) struct Ended(watch::Receiver<()>);

impl Ended {
    pub(super) async fn wait(&mut self) {
        // Nothing is ever sent: what ends is the sender.
        let _ = self.0.changed().await;
    }
}

/// Nobody writes any more after a panic.
struct Broken(Arc<Shared>);

impl Drop for Broken {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison("its writer panicked");
        }
    }
}
