//! What waits for a store's writer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Store;
use crate::state::doing::Doing;
use crate::state::error::Error;
use crate::state::fate::Claim;
use crate::state::migration::{Migration, MigrationError};
use crate::state::snapshot::{Reads, Snapshot, Writes};
use crate::state::transaction::Transaction;
use crate::state::turn;
use crate::state::writer::{Durable, Writer};

/// What waits for the writer. A turn runs while there is something.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) jobs: VecDeque<Job>,
    pub(super) running: bool,
    pub(super) writer: Option<Box<Writer>>,
}

/// Work for the writer.
pub(in crate::state) enum Job {
    /// Buffered writes that are valid if what was read still holds.
    Commit {
        reads: Reads,
        writes: Box<Writes>,
        claim: Claim,
        reply: oneshot::Sender<Result<Durable, Error>>,
    },
    /// A run that holds the writer.
    Lease(LeaseJob),
    /// Taking out what is kept under expired idempotency keys.
    Expire,
    /// Taking out of the outbox what the bus has.
    Tidy,
    /// The host's own work, as a member of the group.
    Host(HostJob),
    /// Migrations.
    Migrate(MigrateJob),
}

/// Migrations; applied, or only tried.
pub(in crate::state) struct MigrateJob {
    pub(in crate::state) migrations: Vec<Migration>,
    pub(in crate::state) apply: bool,
    pub(in crate::state) reply: oneshot::Sender<Result<Vec<String>, MigrationError>>,
    /// Set when nobody waits for them any more.
    pub(in crate::state) gone: Arc<AtomicBool>,
}

/// A run that holds the writer: a future, made when its turn comes.
pub(in crate::state) struct LeaseJob {
    /// Must be the first of its group.
    pub(in crate::state) alone: bool,
    /// What it read and wrote before it took the lease.
    pub(in crate::state) before: Option<Box<Snapshot>>,
    /// Migrations that are applied before it, and undone with it.
    pub(in crate::state) trial: Vec<Migration>,
    pub(in crate::state) run: LeaseRun,
    pub(in crate::state) ended: oneshot::Sender<Result<(), Error>>,
    /// Set when nobody waits for it any more.
    pub(in crate::state) gone: Arc<AtomicBool>,
}

/// Work of the host's own, which replies by itself; an error where there is no
/// writer.
type HostJob = Box<dyn FnOnce(Result<&mut Writer, &Error>) + Send>;

type LeaseRun = Box<dyn FnOnce(Transaction) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl Queue {
    /// Takes out what nobody waits for any more, where there is as much as may be: of a store
    /// that stands still that is most of it.
    fn make_room(&mut self, max: usize) -> VecDeque<Job> {
        if self.jobs.len() < max {
            return VecDeque::new();
        }
        let (abandoned, kept) =
            std::mem::take(&mut self.jobs).into_iter().partition(Job::is_abandoned);
        self.jobs = kept;
        abandoned
    }
}

impl Job {
    /// Whether nobody waits for it any more, as far as that can be seen.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Commit { reply, .. } => reply.is_closed(),
            Self::Lease(job) => job.ended.is_closed(),
            Self::Migrate(job) => job.reply.is_closed(),
            // These come again.
            Self::Expire | Self::Tidy => true,
            Self::Host(_) => false,
        }
    }

    pub(in crate::state) fn doing(&self) -> Doing {
        match self {
            Self::Commit { .. } => Doing::Writes,
            Self::Lease(_) => Doing::Lease,
            Self::Migrate(_) => Doing::Migrations,
            Self::Host(_) | Self::Expire | Self::Tidy => Doing::Host,
        }
    }
}

impl Store {
    pub(super) fn enqueue(self: &Arc<Self>, job: Job) -> Result<(), Error> {
        self.core.check()?;
        self.touch();
        if self.push(job) {
            return Ok(());
        }
        Err(Error::Unavailable(format!(
            "as much waits for the store of {} as may ({}): {}",
            self.core.service,
            self.core.options.max_queued,
            self.in_the_way()
        )))
    }

    /// Queues a job that is no use of the store. False where too much waits already.
    pub(in crate::state) fn push(self: &Arc<Self>, job: Job) -> bool {
        // Dropped without the lock: a job's reader comes back, which can queue one more.
        let abandoned;
        let start = {
            let mut queue = self.lock_queue();
            abandoned = queue.make_room(self.core.options.max_queued);
            if queue.jobs.len() >= self.core.options.max_queued {
                return false;
            }
            queue.jobs.push_back(job);
            !std::mem::replace(&mut queue.running, true)
        };
        drop(abandoned);
        if start {
            turn::start(Arc::clone(self));
        }
        true
    }

    /// What waits, all of it; when nothing does, the turn is over and `writer`
    /// is kept for the next.
    pub(in crate::state) fn next_jobs(&self, writer: &mut Option<Box<Writer>>) -> VecDeque<Job> {
        let mut queue = self.lock_queue();
        if queue.jobs.is_empty() {
            queue.running = false;
            queue.writer = writer.take();
        }
        std::mem::take(&mut queue.jobs)
    }

    /// The writer that the last turn left, if the file is still open.
    pub(in crate::state) fn idle_writer(&self) -> Option<Box<Writer>> {
        self.lock_queue().writer.take()
    }

    /// The turn ended by a panic: what waits gets no answer, the next job starts anew.
    pub(in crate::state) fn turn_broke(&self) {
        let waited = {
            let mut queue = self.lock_queue();
            queue.running = false;
            std::mem::take(&mut queue.jobs)
        };
        drop(waited);
    }

    pub(super) fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
