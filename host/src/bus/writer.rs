//! The writer: the one connection that writes, on a thread of its own. What it commits is
//! synced by another ([`super::syncer`]).

use std::sync::Arc;
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::checkpoints::Checkpoints;
use super::error::{BusError, JobError};
use super::group::Group;
use super::ids::Ids;
use super::schema::OpenError;
use super::shared::{Broken, Extent, Shared};
use super::shares::Shares;
use super::syncer::{Committed, Syncer};

/// What a commit adds to the log besides the events' texts: a few pages, also
/// where it has no events.
const COMMIT_BYTES: u64 = 16 << 10;

/// A group of so many bytes is committed also while another is being synced; a smaller one
/// takes what comes meanwhile, since each commit writes a few pages anew, however little it
/// adds.
const WORTH_A_COMMIT: u64 = 64 << 10;

/// Groups that may be committed and not synced.
const MAX_UNDER_WAY: u64 = 2;

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
    shares: Shares,
    extent: Extent,
    syncer: Syncer,
    checkpoints: Checkpoints,
}

impl Writer {
    /// Starts the threads that are its own.
    pub(super) fn new(
        connection: Connection,
        shared: Arc<Shared>,
        ids: Ids,
        shares: Shares,
        extent: Extent,
    ) -> Result<Self, OpenError> {
        let checkpoints = Checkpoints::start(&shared.path, Arc::clone(&shared))?;
        let syncer = Syncer::start(&shared.path, Arc::clone(&shared))?;
        Ok(Self { connection, shared, ids, shares, extent, syncer, checkpoints })
    }

    /// Starts the thread, which ends when the queue is closed. What is returned
    /// says so.
    pub(super) fn start(self, jobs: mpsc::Receiver<Box<dyn Job>>) -> std::io::Result<Ended> {
        let (running, ended) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        thread::Builder::new().name("bus".to_owned()).spawn(move || {
            let broken = Broken::of("its writer panicked", &self.shared);
            runtime.block_on(self.run(jobs));
            drop(broken);
            drop(running);
        })?;
        Ok(Ended(ended))
    }

    async fn run(mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(job) = jobs.recv().await {
            match self.run_group(job, &mut jobs).await {
                Ok(bytes) => self.checkpoints.committed(&self.connection, bytes),
                Err(error) => error.warn("a commit of the bus did not go through"),
            }
        }
        self.syncer.finish();
        self.checkpoints.finish();
    }

    /// Commits what is queued, and what comes while others are being synced. Returns how
    /// many bytes that were.
    async fn run_group(
        &mut self,
        first: Box<dyn Job>,
        jobs: &mut mpsc::Receiver<Box<dyn Job>>,
    ) -> Result<u64, BusError> {
        let begun = self.shared.check().and_then(|()| {
            let begun = self.connection.execute_batch("BEGIN IMMEDIATE");
            begun.map_err(|error| self.shared.failed(&error))
        });
        if let Err(error) = begun {
            first.refuse(error.clone());
            return Err(error);
        }
        let changes = self.connection.total_changes();
        let (ids, shares) = (&mut self.ids, &mut self.shares);
        let mut group = Group::new(&self.connection, &self.shared, ids, shares, self.extent);
        let filled = fill(&mut group, first, jobs, &mut self.syncer).await;
        let committed = filled.and_then(|()| group.commit());
        let Group { extent, appended, changed_bytes, waiting, .. } = group;
        match committed {
            Ok(()) => {
                self.extent = extent;
                self.ids.keep();
                self.shares.keep(&self.shared);
                let changed = self.connection.total_changes() != changes;
                self.syncer.hand_over(Committed { appended, extent, changed, waiting });
                Ok(changed_bytes + COMMIT_BYTES)
            }
            Err(error) => {
                self.ids.give_up();
                self.shares.give_up();
                let error = self.shared.failed(&error);
                self.roll_back();
                for tell in waiting {
                    tell(Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            self.shared.poison(error);
        }
    }
}

/// Does the first job, those that are queued, and those that come while it is no use to
/// commit.
async fn fill(
    group: &mut Group<'_>,
    first: Box<dyn Job>,
    jobs: &mut mpsc::Receiver<Box<dyn Job>>,
    syncer: &mut Syncer,
) -> rusqlite::Result<()> {
    first.run(group)?;
    loop {
        while !group.is_large() {
            let Ok(job) = jobs.try_recv() else { break };
            job.run(group)?;
        }
        let under_way = syncer.under_way();
        let is_worth_it = group.changed_bytes >= WORTH_A_COMMIT || group.is_large();
        if under_way == 0 || (under_way < MAX_UNDER_WAY && is_worth_it) {
            return Ok(());
        }
        tokio::select! {
            biased;
            goes_on = syncer.progress() => {
                if !goes_on {
                    return Ok(());
                }
            }
            job = jobs.recv(), if !group.is_large() => match job {
                Some(job) => job.run(group)?,
                // The queue is closed.
                None => return Ok(()),
            }
        }
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
