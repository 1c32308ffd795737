//! A service's store: its file, its readers, and the queue of its writer.

mod closing;
mod core;
mod patience;
mod queue;

use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, Semaphore, oneshot};

pub(super) use self::core::Core;
use self::queue::Queue;
pub(super) use self::queue::{Job, LeaseJob, MigrateJob};
use super::doing::Doing;
use super::error::Error;
use super::fate::Claim;
use super::inline::Inline;
use super::migration::{Migration, MigrationError};
use super::options::StoreOptions;
use super::snapshot::{IdleReader, Reader, Reads, Snapshot, Writes};
use super::threads;
use super::transaction::{Committed, Transaction};
use super::writer::{Durable, Writer};
use crate::room::Room;
use crate::{deadline, failpoint};

/// How often the log says that the store is full, however many it refuses.
const TELLS_FULL: Duration = Duration::from_secs(60);

/// A place in a store's line, see [`Store::line`]. Until it is dropped, nobody else has the turn.
pub type Turn = OwnedMutexGuard<()>;

/// One service's durable state. Its file is opened at first use.
pub struct Store {
    pub(super) core: Arc<Core>,
    queue: Mutex<Queue>,
    #[expect(clippy::vec_box, reason = "each is handed on several times in an invocation")]
    readers: Mutex<Vec<Box<IdleReader>>>,
    readers_out: AtomicUsize,
    /// For each statement that reads, until its thread is done with it.
    reading: Arc<Semaphore>,
    /// The same for what the host reads.
    host_reading: Arc<Semaphore>,
    file_made: OnceLock<()>,
    last_used: Mutex<Instant>,
    pub(super) inline: Inline,
    /// Where those have their turns that take longer than they may hold the writer.
    line: Arc<tokio::sync::Mutex<()>>,
    /// What the writer is at, see [`Doing`].
    doing: AtomicU8,
    /// How often the host waited in vain.
    late: AtomicU64,
    told_late: Mutex<Option<Instant>>,
    /// Where the writer's turns run, whoever starts them.
    pub(super) runtime: Handle,
}

impl Store {
    /// The store at `path`, which is made where it does not exist. `service`
    /// names it in messages. To be called within the runtime that serves.
    #[must_use]
    pub fn new(path: PathBuf, service: &str, options: StoreOptions) -> Arc<Self> {
        let core = Core::new(path, service, options);
        Arc::new(Self {
            queue: Mutex::default(),
            readers: Mutex::default(),
            readers_out: AtomicUsize::new(0),
            reading: Arc::new(Semaphore::new(core.options.max_reading)),
            host_reading: Arc::new(Semaphore::new(core.options.max_reading)),
            file_made: OnceLock::new(),
            last_used: Mutex::new(Instant::now()),
            inline: Inline::default(),
            line: Arc::default(),
            doing: AtomicU8::default(),
            late: AtomicU64::default(),
            told_late: Mutex::default(),
            core: Arc::new(core),
            runtime: Handle::current(),
        })
    }

    /// An optimistic transaction. Costs nothing before its first read.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Transaction {
        Transaction::optimistic(self)
    }

    /// A place in the line of invocations that take longer than they may hold the writer: the
    /// first has its turn until what is returned is dropped.
    pub async fn line(&self) -> Turn {
        Arc::clone(&self.line).lock_owned().await
    }

    /// The same, where there is anybody in it.
    pub async fn behind_the_line(&self) -> Option<Turn> {
        if self.line.try_lock().is_ok() { None } else { Some(self.line().await) }
    }

    /// How long one may hold the writer that has it alone.
    #[must_use]
    pub fn lease_timeout(&self) -> Duration {
        self.core.options.lease_timeout
    }

    /// Runs `run` with the writer lease, on the writer's own thread, and returns
    /// what it returns. `before` is the optimistic transaction that goes on
    /// leased, if there is one.
    ///
    /// The future that `run` makes is dropped, and with it what it wrote, when
    /// the one that waits for it here is dropped, or when it holds the writer
    /// for too long. It must give its transaction up before it ends.
    ///
    /// # Errors
    /// [`Error::Rerun`] when what `before` had read is no longer so, or when
    /// others waited too long; [`Error::LeaseExpired`] when it ran first and was
    /// still too slow.
    pub async fn lease<R, F>(
        self: &Arc<Self>,
        alone: bool,
        before: Option<Transaction>,
        run: impl FnOnce(Transaction) -> F + Send + 'static,
    ) -> Result<R, Error>
    where
        R: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        let before = before.and_then(Transaction::into_snapshot);
        self.lease_after(Vec::new(), alone, before, run).await
    }

    /// Runs `run` as it would after these migrations; all of it is undone.
    ///
    /// # Errors
    /// When one of them fails, or it takes longer than a trial may.
    pub async fn on_trial<R, F>(
        self: &Arc<Self>,
        migrations: &[Migration],
        run: impl FnOnce(Transaction) -> F + Send + 'static,
    ) -> Result<R, Error>
    where
        R: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        self.lease_after(migrations.to_vec(), true, None, run).await
    }

    async fn lease_after<R, F>(
        self: &Arc<Self>,
        trial: Vec<Migration>,
        alone: bool,
        mut before: Option<Box<Snapshot>>,
        run: impl FnOnce(Transaction) -> F + Send + 'static,
    ) -> Result<R, Error>
    where
        R: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        // What waits for the writer keeps no log.
        if let Some(before) = &mut before {
            before.release_reader();
        }
        let (result_sender, result) = oneshot::channel();
        let (ended_sender, ended) = oneshot::channel();
        let gone = SetOnDrop(Arc::default());
        self.enqueue(Job::Lease(LeaseJob {
            alone,
            before,
            trial,
            run: Box::new(move |transaction| {
                let running = run(transaction);
                Box::pin(async move {
                    // Nobody waits any more when this fails.
                    let _ = result_sender.send(running.await);
                })
            }),
            ended: ended_sender,
            gone: Arc::clone(&gone.0),
        }))?;
        ended.await.map_err(|_| self.writer_ended())??;
        result.await.map_err(|_| self.writer_ended())
    }

    /// Applies those of the migrations that were not yet, in one transaction.
    /// Returns their names.
    ///
    /// # Errors
    /// When one fails or was changed after it was applied; nothing is applied then.
    pub async fn migrate(
        self: &Arc<Self>,
        migrations: &[Migration],
    ) -> Result<Vec<String>, MigrationError> {
        self.run_migrations(migrations, true).await
    }

    /// Does the same and undoes it.
    ///
    /// # Errors
    /// As [`Store::migrate`].
    pub async fn try_migrations(
        self: &Arc<Self>,
        migrations: &[Migration],
    ) -> Result<Vec<String>, MigrationError> {
        // Nobody waits for the writer for what needs none.
        if self.has_file() && self.has_all(migrations).await {
            return Ok(Vec::new());
        }
        self.run_migrations(migrations, false).await
    }

    /// Whether just these migrations were applied.
    async fn has_all(self: &Arc<Self>, migrations: &[Migration]) -> bool {
        let Ok(reader) = Reader::take(self).await else { return false };
        let migrations = migrations.to_vec();
        let has_all = move || super::migration::are_applied(reader.connection(), &migrations);
        matches!(self.on_free_thread(has_all).await, Ok(Ok(true)))
    }

    async fn run_migrations(
        self: &Arc<Self>,
        migrations: &[Migration],
        apply: bool,
    ) -> Result<Vec<String>, MigrationError> {
        // A service that brings none may never need its file.
        if migrations.is_empty() && (apply || !self.has_file()) {
            return Ok(Vec::new());
        }
        let (reply, applied) = oneshot::channel();
        // Its deployment ends with the host, and a migration may compute for a minute.
        let gone = SetOnDrop(Arc::default());
        let job =
            MigrateJob { migrations: migrations.to_vec(), apply, reply, gone: Arc::clone(&gone.0) };
        self.enqueue(Job::Migrate(job))?;
        let mut applied = pin!(applied);
        let mut patience = self.core.options.host_patience;
        let mut done = deadline::within(patience, &mut applied).await;
        if done.is_err() && self.doing() == Doing::Migrations {
            // They have begun, and have a time of their own.
            let timeout = self.core.options.migration_timeout;
            patience += timeout;
            done = deadline::within(timeout, applied).await;
        }
        match done {
            Ok(applied) => applied.map_err(|_| self.writer_ended())?,
            Err(deadline::Late) => Err(self.late("migrations", patience).into()),
        }
    }

    /// The service whose store it is, for messages.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.core.service
    }

    /// The room on its disk.
    pub fn room(&self) -> &Room {
        &self.core.options.room
    }

    /// Whether it is said now that it is full, once for all whom it refuses in a while.
    pub fn tells_full(&self) -> bool {
        let mut told = self.core.told_full.lock().unwrap_or_else(PoisonError::into_inner);
        let tells = told.is_none_or(|told| told.elapsed() >= TELLS_FULL);
        if tells {
            *told = Some(Instant::now());
        }
        tells
    }

    /// Hands an optimistic transaction to the writer; returns when it is validated.
    pub(super) async fn submit(
        self: &Arc<Self>,
        reads: Reads,
        writes: Writes,
        claim: Claim,
    ) -> Result<Durable, Error> {
        let (reply, validated) = oneshot::channel();
        self.enqueue(Job::Commit { reads, writes: Box::new(writes), claim, reply })?;
        validated.await.map_err(|_| self.writer_ended())?
    }

    /// Has the writer do this, as a member of a group. Returns when it is
    /// validated.
    pub(super) async fn host_member<R: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Writer) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<(Committed, R), Error> {
        self.member(move |writer| work(writer).map_err(|error| writer.group_failed(&error))).await
    }

    /// The same with work that tells the writer of its failures itself.
    pub(super) async fn member<R: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Writer) -> Result<R, Error> + Send + 'static,
    ) -> Result<(Committed, R), Error> {
        let (reply, done) = oneshot::channel();
        self.enqueue(Job::Host(Box::new(move |writer| {
            // Nothing is done for one that waits no longer.
            if reply.is_closed() {
                return;
            }
            let done = match writer {
                Ok(writer) => writer.host_member(work),
                Err(error) => Err(error.clone()),
            };
            // Nobody waits any more when this fails.
            let _ = reply.send(done);
        })))?;
        let done = async { done.await.map_err(|_| self.writer_ended())? };
        let (durable, result) = self.patiently("the host's own work", done).await?;
        Ok((Committed::pending(durable), result))
    }

    /// Reads what is committed, on a thread where it may take its time.
    pub(super) async fn read<R: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R, Error> {
        let read = async {
            let reader = Reader::take(self).await?;
            let work = self.on_free_thread(move || {
                failpoint::stall(&reader.store().core.service);
                read(reader.connection())
            });
            work.await?.map_err(|error| self.core.failed(&error))
        };
        self.patiently("what the host reads", read).await
    }

    /// Waits until what the host did is on disk, but not for ever.
    ///
    /// # Errors
    /// When its commit failed, or took too long: it may be on disk all the same then.
    pub async fn durable(&self, committed: Committed) -> Result<(), Error> {
        self.patiently("a commit", committed.durable()).await
    }

    /// Does a guest's work on a thread where it may take its time, one of the few that the
    /// service has at once: until it is done, whoever waits for it.
    pub(super) async fn on_thread<R: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Error> {
        on_thread_of(&self.reading, work).await
    }

    /// Does the host's own work on one of as many others.
    pub(super) async fn on_free_thread<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Error> {
        on_thread_of(&self.host_reading, work).await
    }

    /// Bytes of memory that its SQL has, and how often it was refused more.
    #[must_use]
    pub fn sql_memory(&self) -> (u64, u64) {
        let account = self.core.sandboxing.account();
        (u64::try_from(account.used()).unwrap_or(u64::MAX), account.refused())
    }

    /// How many of its statements read now.
    #[must_use]
    pub fn reading(&self) -> u64 {
        let free = self.reading.available_permits();
        u64::try_from(self.core.options.max_reading.saturating_sub(free)).unwrap_or(u64::MAX)
    }

    /// Why its file could not be opened, when that was tried last.
    #[must_use]
    pub fn unopened(&self) -> Option<String> {
        self.core.unopened()
    }

    /// The file exists and has the host's tables.
    pub(super) fn ensure_file(self: &Arc<Self>) -> Result<(), Error> {
        if self.file_made.get().is_none() {
            drop(self.core.open_writer()?);
            self.file_made.get_or_init(|| ());
        }
        Ok(())
    }

    /// The file is there: the writer has it open.
    pub(super) fn note_file(&self) {
        self.file_made.get_or_init(|| ());
    }

    pub(super) fn touch(&self) {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn writer_ended(&self) -> Error {
        self.core
            .check()
            .err()
            .unwrap_or_else(|| Error::Unavailable("the store's writer ended".to_owned()))
    }
}

/// Does work on a thread, one of as many as there are permits: until it is done, whoever
/// waits for it.
async fn on_thread_of<R: Send + 'static>(
    permits: &Arc<Semaphore>,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Error> {
    let permit = Arc::clone(permits).acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    let (reply, done) = oneshot::channel();
    threads::READING.spawn(move || {
        let result = work();
        // Before anyone is told, who may ask for the next.
        drop(permit);
        // Nobody waits any more when this fails.
        let _ = reply.send(result);
    });
    done.await.map_err(|_| Error::Unavailable("a thread of the store's ended".to_owned()))
}

/// Sets it when it is dropped.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.core.path).finish_non_exhaustive()
    }
}
