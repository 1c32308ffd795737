//! A service's store: its file, its readers, and the queue of its writer.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::error::{Error, is_io_failure};
use super::history::{Fingerprint, Sequence};
use super::idempotency::Keys;
use super::inbox::Inbox;
use super::migration::{Migration, MigrationError};
use super::options::StoreOptions;
use super::outbox::Outbox;
use super::schema;
use super::snapshot::{IdleReader, Reader, Reads, Snapshot, Writes};
use super::transaction::{Committed, Transaction};
use super::turn;
use super::writer::{Durable, Writer};

/// How often [`Store::close`] looks whether the writer is free.
const CLOSE_POLL: Duration = Duration::from_millis(1);

/// One service's durable state. Its file is opened at first use.
pub struct Store {
    pub(super) core: Arc<Core>,
    queue: Mutex<Queue>,
    readers: Mutex<Vec<IdleReader>>,
    readers_out: AtomicUsize,
    file_made: OnceLock<()>,
    last_used: Mutex<Instant>,
    /// Where the writer's turns run, whoever starts them.
    pub(super) runtime: Handle,
}

/// What a store's connections share with it. (They are kept inside the store,
/// so they cannot keep the store itself.)
pub(super) struct Core {
    pub(super) path: PathBuf,
    pub(super) service: String,
    pub(super) options: StoreOptions,
    pub(super) fingerprint: Fingerprint,
    pub(super) keys: Keys,
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
    committed: AtomicU64,
    /// Making the file and switching it to a log waits for nobody (SQLite does
    /// not call the busy handler there), so one at a time does it.
    opening: Mutex<()>,
}

/// What waits for the writer. A turn runs while there is something.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    running: bool,
    writer: Option<Box<Writer>>,
}

/// Work for the writer.
pub(super) enum Job {
    /// Buffered writes that are valid if what was read still holds.
    Commit { reads: Reads, writes: Writes, reply: oneshot::Sender<Result<Durable, Error>> },
    /// A run that holds the writer.
    Lease(LeaseJob),
    /// Taking out what is kept under expired idempotency keys.
    Expire,
    /// Taking out of the outbox what the bus has.
    Tidy,
    /// The host's own work, as a member of the group.
    Host(HostJob),
    /// Migrations; applied, or only tried.
    Migrate {
        migrations: Vec<Migration>,
        apply: bool,
        reply: oneshot::Sender<Result<Vec<String>, MigrationError>>,
    },
}

/// A run that holds the writer: a future, made when its turn comes.
pub(super) struct LeaseJob {
    /// Must be the first of its group.
    pub(super) alone: bool,
    /// What it read and wrote before it took the lease.
    pub(super) before: Option<Snapshot>,
    pub(super) run: LeaseRun,
    pub(super) ended: oneshot::Sender<Result<(), Error>>,
}

/// Work of the host's own, which replies by itself; an error where there is no
/// writer.
type HostJob = Box<dyn FnOnce(Result<&mut Writer, &Error>) + Send>;

type LeaseRun = Box<dyn FnOnce(Transaction) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl Store {
    /// The store at `path`, which is made where it does not exist. `service`
    /// names it in messages. To be called within the runtime that serves.
    #[must_use]
    pub fn new(path: PathBuf, service: &str, options: StoreOptions) -> Arc<Self> {
        let core = Core {
            path,
            service: service.to_owned(),
            options,
            fingerprint: Fingerprint::default(),
            keys: Keys::default(),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            committed: AtomicU64::new(0),
            opening: Mutex::new(()),
        };
        Arc::new(Self {
            core: Arc::new(core),
            queue: Mutex::default(),
            readers: Mutex::default(),
            readers_out: AtomicUsize::new(0),
            file_made: OnceLock::new(),
            last_used: Mutex::new(Instant::now()),
            runtime: Handle::current(),
        })
    }

    /// An optimistic transaction. Costs nothing before its first read.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Transaction {
        Transaction::optimistic(self)
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
        let (result_sender, result) = oneshot::channel();
        let (ended_sender, ended) = oneshot::channel();
        self.enqueue(Job::Lease(LeaseJob {
            alone,
            before: before.and_then(Transaction::into_snapshot),
            run: Box::new(move |transaction| {
                let running = run(transaction);
                Box::pin(async move {
                    // Nobody waits any more when this fails.
                    let _ = result_sender.send(running.await);
                })
            }),
            ended: ended_sender,
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
        self.run_migrations(migrations, false).await
    }

    async fn run_migrations(
        self: &Arc<Self>,
        migrations: &[Migration],
        apply: bool,
    ) -> Result<Vec<String>, MigrationError> {
        // A service that brings none may never need its file.
        if migrations.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, applied) = oneshot::channel();
        self.enqueue(Job::Migrate { migrations: migrations.to_vec(), apply, reply })?;
        applied.await.map_err(|_| self.writer_ended())?
    }

    /// Closes the file if nobody used it for as long as the options say. Returns
    /// whether it did.
    pub fn close_if_idle(&self, now: Instant) -> bool {
        let last_used = *self.last_used.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(last_used) >= self.core.options.idle_close && self.close_now()
    }

    /// The service whose store it is, for messages.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.core.service
    }

    /// Closes the file once the writer is free.
    pub async fn close(&self) {
        while !self.close_now() {
            tokio::time::sleep(CLOSE_POLL).await;
        }
    }

    /// Whether the file is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let idle_readers = self.lock_readers().len();
        let queue = self.lock_queue();
        queue.running || queue.writer.is_some() || idle_readers + self.readers_out() > 0
    }

    fn close_now(&self) -> bool {
        let (writer, readers) = {
            let mut queue = self.lock_queue();
            if queue.running || self.readers_out() > 0 {
                return false;
            }
            (queue.writer.take(), std::mem::take(&mut *self.lock_readers()))
        };
        // Readers first: the last connection to close checkpoints the log.
        drop(readers);
        drop(writer);
        true
    }

    /// Hands an optimistic transaction to the writer; returns when it is validated.
    pub(super) async fn submit(
        self: &Arc<Self>,
        reads: Reads,
        writes: Writes,
    ) -> Result<Durable, Error> {
        let (reply, validated) = oneshot::channel();
        self.enqueue(Job::Commit { reads, writes, reply })?;
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
            let done = match writer {
                Ok(writer) => writer.host_member(work),
                Err(error) => Err(error.clone()),
            };
            // Nobody waits any more when this fails.
            let _ = reply.send(done);
        })))?;
        let (durable, result) = done.await.map_err(|_| self.writer_ended())??;
        Ok((Committed::pending(durable), result))
    }

    /// Reads what is committed, on a thread where it may take its time.
    pub(super) async fn read<R: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R, Error> {
        let reader = Reader::take(self).await?;
        let work = tokio::task::spawn_blocking(move || read(reader.connection()));
        let result = work.await.map_err(|error| Error::Unavailable(error.to_string()))?;
        result.map_err(|error| self.core.failed(&error))
    }

    fn enqueue(self: &Arc<Self>, job: Job) -> Result<(), Error> {
        self.core.check()?;
        self.touch();
        self.push(job);
        Ok(())
    }

    /// Queues a job that is no use of the store.
    pub(super) fn push(self: &Arc<Self>, job: Job) {
        let start = {
            let mut queue = self.lock_queue();
            queue.jobs.push_back(job);
            !std::mem::replace(&mut queue.running, true)
        };
        if start {
            turn::start(Arc::clone(self));
        }
    }

    /// What waits, all of it; when nothing does, the turn is over and `writer`
    /// is kept for the next.
    pub(super) fn next_jobs(&self, writer: &mut Option<Box<Writer>>) -> VecDeque<Job> {
        let mut queue = self.lock_queue();
        if queue.jobs.is_empty() {
            queue.running = false;
            queue.writer = writer.take();
        }
        std::mem::take(&mut queue.jobs)
    }

    /// The writer that the last turn left, if the file is still open.
    pub(super) fn idle_writer(&self) -> Option<Box<Writer>> {
        self.lock_queue().writer.take()
    }

    /// The turn ended by a panic: what waits gets no answer, the next job starts anew.
    pub(super) fn turn_broke(&self) {
        let mut queue = self.lock_queue();
        queue.running = false;
        queue.jobs.clear();
    }

    /// The file exists and has the host's tables.
    pub(super) fn ensure_file(self: &Arc<Self>) -> Result<(), Error> {
        if self.file_made.get().is_none() {
            drop(self.core.open_writer()?);
            self.file_made.get_or_init(|| ());
        }
        Ok(())
    }

    pub(super) fn touch(&self) {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn pop_reader(&self) -> Option<IdleReader> {
        // Counted under the lock, so that nobody closes the file in between.
        let mut readers = self.lock_readers();
        self.readers_out.fetch_add(1, Ordering::AcqRel);
        readers.pop()
    }

    pub(super) fn push_reader(&self, reader: Option<IdleReader>) {
        let surplus = {
            let mut readers = self.lock_readers();
            self.readers_out.fetch_sub(1, Ordering::AcqRel);
            match reader {
                Some(reader) if readers.len() < self.core.options.max_idle_readers => {
                    readers.push(reader);
                    None
                }
                reader => reader,
            }
        };
        drop(surplus);
    }

    fn writer_ended(&self) -> Error {
        self.core
            .check()
            .err()
            .unwrap_or_else(|| Error::Unavailable("the store's writer ended".to_owned()))
    }

    fn readers_out(&self) -> usize {
        self.readers_out.load(Ordering::Acquire)
    }

    fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_readers(&self) -> MutexGuard<'_, Vec<IdleReader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Opens the file for writing; makes it where it does not exist.
    pub(super) fn open_writer(&self) -> Result<Connection, Error> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = schema::open_writer(self)?;
        self.outbox.open(&connection).map_err(|error| Error::of_host(&error))?;
        Ok(connection)
    }

    /// The number of the last commit.
    pub(super) fn committed(&self) -> Sequence {
        self.committed.load(Ordering::Acquire)
    }

    pub(super) fn note_commit(&self, commit: Sequence) {
        self.committed.store(commit, Ordering::Release);
    }

    /// Nothing more is promised: the file failed.
    pub(super) fn poison(&self, error: &dyn fmt::Display) {
        self.options.alarm.ring(format!(
            "the store of {} at {} failed: {error}; nothing more is acknowledged. \
             Check the disk and start the host again",
            self.service,
            self.path.display()
        ));
    }

    /// Whether this and all other files are still to be trusted.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.options.alarm.reason() {
            Some(reason) => Err(Error::Unavailable(reason.to_owned())),
            None => Ok(()),
        }
    }

    /// What a failure of the host's own statement is; ends the store where the
    /// file itself failed.
    pub(super) fn failed(&self, error: &rusqlite::Error) -> Error {
        if is_io_failure(error) {
            self.poison(error);
        }
        Error::of_host(error)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.core.path).finish_non_exhaustive()
    }
}
