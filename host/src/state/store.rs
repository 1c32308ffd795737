//! A service's store: its file, its readers, and the queue of its writer.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::doing::Doing;
use super::error::{Error, is_io_failure};
use super::fate::Claim;
use super::history::{Fingerprint, Sequence};
use super::idempotency::Keys;
use super::inbox::Inbox;
use super::inline::Inline;
use super::migration::{MIGRATION_TIMEOUT, Migration, MigrationError};
use super::options::StoreOptions;
use super::outbox::Outbox;
use super::sandbox::Common;
use super::schema;
use super::snapshot::{IdleReader, Reader, Reads, Snapshot, Writes};
use super::threads;
use super::transaction::{Committed, Transaction};
use super::turn;
use super::writer::{Durable, Writer};
use crate::{deadline, failpoint};

/// How often [`Store::close`] looks whether the writer is free.
const CLOSE_POLL: Duration = Duration::from_millis(1);

/// How often the log says that the host waits for a store in vain.
const TELL_LATE: Duration = Duration::from_secs(60);

/// One service's durable state. Its file is opened at first use.
pub struct Store {
    pub(super) core: Arc<Core>,
    queue: Mutex<Queue>,
    readers: Mutex<Vec<IdleReader>>,
    readers_out: AtomicUsize,
    /// For each statement that reads, until its thread is done with it.
    reading: Arc<Semaphore>,
    /// The same for what the host reads.
    host_reading: Arc<Semaphore>,
    file_made: OnceLock<()>,
    last_used: Mutex<Instant>,
    pub(super) inline: Inline,
    /// What the writer is at, see [`Doing`].
    doing: AtomicU8,
    /// How often the host waited in vain.
    late: AtomicU64,
    told_late: Mutex<Option<Instant>>,
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
    pub(super) sandboxing: Common,
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
    pub(super) before: Option<Box<Snapshot>>,
    pub(super) run: LeaseRun,
    pub(super) ended: oneshot::Sender<Result<(), Error>>,
    /// Set when nobody waits for it any more.
    pub(super) gone: Arc<AtomicBool>,
}

/// Work of the host's own, which replies by itself; an error where there is no
/// writer.
type HostJob = Box<dyn FnOnce(Result<&mut Writer, &Error>) + Send>;

type LeaseRun = Box<dyn FnOnce(Transaction) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl Job {
    /// Whether nobody waits for it any more, as far as that can be seen.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Commit { reply, .. } => reply.is_closed(),
            Self::Lease(job) => job.ended.is_closed(),
            Self::Migrate { reply, .. } => reply.is_closed(),
            // These come again.
            Self::Expire | Self::Tidy => true,
            Self::Host(_) => false,
        }
    }

    pub(super) fn doing(&self) -> Doing {
        match self {
            Self::Commit { .. } => Doing::Writes,
            Self::Lease(_) => Doing::Lease,
            Self::Migrate { .. } => Doing::Migrations,
            Self::Host(_) | Self::Expire | Self::Tidy => Doing::Host,
        }
    }
}

impl Store {
    /// The store at `path`, which is made where it does not exist. `service`
    /// names it in messages. To be called within the runtime that serves.
    #[must_use]
    pub fn new(path: PathBuf, service: &str, options: StoreOptions) -> Arc<Self> {
        let core = Core {
            sandboxing: Common::new(&path),
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
            queue: Mutex::default(),
            readers: Mutex::default(),
            readers_out: AtomicUsize::new(0),
            reading: Arc::new(Semaphore::new(core.options.max_reading)),
            host_reading: Arc::new(Semaphore::new(core.options.max_reading)),
            file_made: OnceLock::new(),
            last_used: Mutex::new(Instant::now()),
            inline: Inline::default(),
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
        let gone = SetOnDrop(Arc::default());
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
        let mut applied = pin!(applied);
        let mut patience = self.core.options.host_patience;
        let mut done = deadline::within(patience, &mut applied).await;
        if done.is_err() && self.doing() == Doing::Migrations {
            // They have begun, and have a time of their own.
            patience += MIGRATION_TIMEOUT;
            done = deadline::within(MIGRATION_TIMEOUT, applied).await;
        }
        match done {
            Ok(applied) => applied.map_err(|_| self.writer_ended())?,
            Err(deadline::Late) => Err(self.late("migrations", patience).into()),
        }
    }

    /// Closes the file, in the background, if nobody used it for as long as the options
    /// say. Returns whether it does.
    pub fn close_if_idle(self: &Arc<Self>, now: Instant) -> bool {
        let last_used = *self.last_used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = now.saturating_duration_since(last_used) >= self.core.options.idle_close;
        is_idle && self.begin_to_close().is_some()
    }

    /// The service whose store it is, for messages.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.core.service
    }

    /// Closes the file once the writer is free; gives up, and says so in the log, where
    /// that takes too long.
    pub async fn close(self: &Arc<Self>) {
        if let Err(error) = self.try_close().await {
            tracing::warn!(service = self.core.service, %error, "its store is left open");
        }
    }

    /// The same.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn try_close(self: &Arc<Self>) -> Result<(), Error> {
        self.patiently("being closed", async {
            let closed = loop {
                match self.begin_to_close() {
                    Some(closed) => break closed,
                    None => tokio::time::sleep(CLOSE_POLL).await,
                }
            };
            closed.await.map_err(|_| self.writer_ended())
        })
        .await
    }

    /// Whether the file is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let idle_readers = self.lock_readers().len();
        let queue = self.lock_queue();
        queue.running || queue.writer.is_some() || idle_readers + self.readers_out() > 0
    }

    /// Closes the file where nothing uses it, on a thread where that may block: the last
    /// connection to close carries the log over. Returns what tells when it is closed.
    fn begin_to_close(self: &Arc<Self>) -> Option<oneshot::Receiver<()>> {
        let (done, closed) = oneshot::channel();
        let (writer, readers) = {
            let mut queue = self.lock_queue();
            if queue.running || self.readers_out() > 0 {
                return None;
            }
            let readers = std::mem::take(&mut *self.lock_readers());
            if queue.writer.is_none() && readers.is_empty() {
                _ = done.send(());
                return Some(closed);
            }
            // As a turn of its own: what comes meanwhile opens the file after it.
            queue.running = true;
            (queue.writer.take(), readers)
        };
        let store = Arc::clone(self);
        let close = move || {
            // Readers first, as above.
            drop(readers);
            drop(writer);
            store.end_closing();
            // Nobody has to wait for it.
            _ = done.send(());
        };
        self.runtime.spawn_blocking(close);
        Some(closed)
    }

    fn end_closing(self: &Arc<Self>) {
        let goes_on = {
            let mut queue = self.lock_queue();
            queue.running = !queue.jobs.is_empty();
            queue.running
        };
        if goes_on {
            turn::start(Arc::clone(self));
        }
    }

    /// Waits for the store on the host's behalf, but not for ever.
    ///
    /// # Errors
    /// When it took too long. What was asked for and not begun is not done then; what was
    /// may be.
    pub(crate) async fn patiently<T>(
        &self,
        what: &str,
        wait: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let patience = self.core.options.host_patience;
        match deadline::within(patience, wait).await {
            Ok(result) => result,
            Err(deadline::Late) => Err(self.late(what, patience)),
        }
    }

    fn late(&self, what: &str, patience: Duration) -> Error {
        self.late.fetch_add(1, Ordering::Relaxed);
        let service = self.core.service.as_str();
        let error = format!(
            "the store of {service} did not get to {what} within {patience:?}: {}; \
             undeploy the service, or check the disk that {} is on",
            self.in_the_way(),
            self.core.path.display()
        );
        // Once a minute of each store: what waits for it tries again and again.
        let mut told = self.told_late.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() > TELL_LATE) {
            *told = Some(Instant::now());
            tracing::warn!(service, error, "the host waited for a store in vain");
        }
        Error::Unavailable(error)
    }

    /// How often the host waited for the store in vain.
    #[must_use]
    pub fn late_count(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// What uses the file, in words.
    #[must_use]
    pub fn in_the_way(&self) -> String {
        let readers = self.readers_out();
        match (self.lock_queue().running, readers) {
            (true, _) => {
                format!("its writer {}", self.doing())
            }
            (false, 0) => "nothing uses it".to_owned(),
            (false, _) => format!("{readers} transactions read it"),
        }
    }

    fn doing(&self) -> Doing {
        Doing::from(self.doing.load(Ordering::Relaxed))
    }

    /// Notes what the writer is at.
    pub(super) fn note_doing(&self, doing: Doing) {
        self.doing.store(doing as u8, Ordering::Relaxed);
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

    fn enqueue(self: &Arc<Self>, job: Job) -> Result<(), Error> {
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
    pub(super) fn push(self: &Arc<Self>, job: Job) -> bool {
        let start = {
            let mut queue = self.lock_queue();
            if queue.jobs.len() >= self.core.options.max_queued {
                // Of a store that stands still, most of it is nobody's any more.
                queue.jobs.retain(|job| !job.is_abandoned());
                if queue.jobs.len() >= self.core.options.max_queued {
                    return false;
                }
            }
            queue.jobs.push_back(job);
            !std::mem::replace(&mut queue.running, true)
        };
        if start {
            turn::start(Arc::clone(self));
        }
        true
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

    /// The file is there: the writer has it open.
    pub(super) fn note_file(&self) {
        self.file_made.get_or_init(|| ());
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
                Some(reader) if self.keeps_reader(readers.len()) => {
                    readers.push(reader);
                    None
                }
                reader => reader,
            }
        };
        drop(surplus);
    }

    /// Whether one more reader is kept open beside so many idle ones. They have caches.
    fn keeps_reader(&self, idle: usize) -> bool {
        let options = &self.core.options;
        let memory = self.core.sandboxing.account().used();
        idle < options.max_idle_readers && (idle == 0 || memory < options.max_sql_memory / 2)
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
