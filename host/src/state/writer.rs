//! The writer: a store's one writing connection, and the group that is open on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::Connection;
use rusqlite::hooks::Action;
use tokio::sync::oneshot;

use super::checkpoint::Checkpoints;
use super::error::{Error, Rerun};
use super::held;
use super::history::{Footprint, History, Sequence};
use super::idempotency::{self, Keeping, KeptAnswer, KeyClaim};
use super::inbox::{self, Advance, Consumption};
use super::keyvalue;
use super::outbox::{self, Publication};
use super::sandbox::Sandbox;
use super::snapshot::{Reads, Writes};
use super::sql::{Deadlines, Execution, Rows, Scope, Value};
use super::store::Core;
use crate::event::Outgoing;
use crate::failpoint;

/// For how long lease holders join no others after one's statement was stopped.
const WARY: Duration = Duration::from_secs(1);

/// Resolves when the group is committed.
pub(super) type Durable = oneshot::Receiver<Result<(), Error>>;

pub(super) struct Writer {
    pub(super) connection: Connection,
    sandbox: Sandbox,
    checkpoints: Checkpoints,
    /// Set when a row is inserted into a guest's table.
    inserted: Arc<AtomicBool>,
    history: History,
    core: Arc<Core>,
    group: Option<Group>,
    wary_until: Option<Instant>,
}

/// Members that are in SQLite's open transaction and wait for its commit.
struct Group {
    sequence: Sequence,
    waiting: Vec<oneshot::Sender<Result<(), Error>>>,
    first_done: Option<Instant>,
    /// Keys whose answers are in it.
    claims: Vec<KeyClaim>,
    /// Events that are published with it.
    published: Vec<Outgoing>,
    /// Subscriptions that come further with it; some more than once.
    consumed: Vec<Arc<str>>,
}

impl Writer {
    pub(super) fn open(core: &Arc<Core>) -> Result<Box<Self>, Error> {
        let mut connection = core.open_writer()?;
        let failed = |error: rusqlite::Error| Error::of_host(&error);
        let sandbox = Sandbox::install(&mut connection).map_err(failed)?;
        let inserted = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&inserted);
        connection
            .update_hook(Some(move |action, _: &str, _: &str, _| {
                if action == Action::SQLITE_INSERT {
                    seen.store(true, Ordering::Relaxed);
                }
            }))
            .map_err(failed)?;
        let checkpoints = Checkpoints::install(&mut connection).map_err(failed)?;
        let history = History::since(core.committed());
        let core = Arc::clone(core);
        Ok(Box::new(Self {
            connection,
            sandbox,
            checkpoints,
            inserted,
            history,
            core,
            group: None,
            wary_until: None,
        }))
    }

    /// When the first member of the open group was done.
    pub(super) fn first_done(&self) -> Option<Instant> {
        self.group.as_ref()?.first_done
    }

    /// Whether a statement was stopped lately, so that lease holders join no others.
    pub(super) fn is_wary(&self) -> bool {
        self.wary_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether what `reads` saw is still so, also after the open group.
    pub(super) fn still_holds(&self, reads: &Reads) -> bool {
        // One that read nothing has no snapshot to be too old.
        reads.is_empty() || self.history.still_holds(&reads.set, reads.snapshot)
    }

    /// Applies buffered writes as a member of the group. The caller has checked
    /// the reads.
    pub(super) fn apply_member(&mut self, mut writes: Writes) -> Result<Durable, Error> {
        self.begin_group()?;
        // First, because nothing has to be undone where the event is finished, or
        // the key has an answer.
        if let Some(consumption) = &writes.consumption {
            self.consume(consumption)?;
        }
        if let Some(keeping) = writes.keeping.take() {
            self.keep_answer(keeping)?;
        }
        let mut footprint = Footprint::default();
        let applied = self.apply(&writes, &mut footprint);
        applied.map_err(|error| self.group_failed(&error))?;
        self.publish(&writes.publications)?;
        Ok(self.member_done(&footprint))
    }

    /// Does the host's own work as a member of the group.
    pub(super) fn host_member<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<(Durable, R), Error> {
        self.begin_group()?;
        let result = work(self)?;
        Ok((self.member_done(&Footprint::default()), result))
    }

    /// Finishes an event with the group.
    pub(super) fn consume(&mut self, consumption: &Consumption) -> Result<(), Error> {
        if consumption.held {
            let taken = held::take(&self.connection, consumption);
            let taken = taken.map_err(|error| self.group_failed(&error))?;
            return if taken { Ok(()) } else { Err(Error::Consumed) };
        }
        if !self.core.inbox.take(&consumption.subscription, consumption.position) {
            return Err(Error::Consumed);
        }
        self.advance(&consumption.subscription);
        Ok(())
    }

    /// Has the group's commit write how far the subscription has come.
    pub(super) fn advance(&mut self, subscription: &Arc<str>) {
        if let Some(group) = &mut self.group {
            group.consumed.push(Arc::clone(subscription));
        }
    }

    /// Publishes events with the group.
    pub(super) fn publish(&mut self, publications: &[Publication]) -> Result<(), Error> {
        let Some(group) = self.group.as_mut().filter(|_| !publications.is_empty()) else {
            return Ok(());
        };
        let inserted = outbox::insert(&self.connection, publications, &mut group.published);
        inserted.map_err(|error| self.group_failed(&error))
    }

    /// Opens a group for what has to be written besides members, if there is any.
    pub(super) fn tidy(&mut self) -> Result<(), Error> {
        if self.core.outbox.to_trim().is_some() { self.begin_group() } else { Ok(()) }
    }

    /// Opens a lease holder's savepoint in the group and applies what it had
    /// buffered.
    pub(super) fn begin_lease(
        &mut self,
        writes: &Writes,
        footprint: &mut Footprint,
    ) -> Result<(), Error> {
        self.begin_group()?;
        self.inserted.store(false, Ordering::Relaxed);
        let begun = self.run("SAVEPOINT lease").and_then(|()| self.apply(writes, footprint));
        begun.map_err(|error| self.group_failed(&error))
    }

    /// Keeps an answer; its claim lasts as long as the group.
    pub(super) fn keep_answer(&mut self, keeping: Keeping) -> Result<(), Error> {
        let kept = idempotency::keep(&self.connection, &keeping, &self.core);
        if !kept.map_err(|error| self.group_failed(&error))? {
            return Err(Error::Rerun(Rerun::Leased));
        }
        if let Some(group) = &mut self.group {
            group.claims.push(keeping.claim);
        }
        Ok(())
    }

    /// The answer kept under the claimed key, also in the open group.
    pub(super) fn kept_answer(&self, claim: &KeyClaim) -> Result<Option<KeptAnswer>, Error> {
        idempotency::find(&self.connection, claim.scope(), &self.core.options)
            .map_err(|error| self.failed(&error))
    }

    /// Takes a batch of expired answers out, as part of the group. Returns
    /// whether there may be more.
    pub(super) fn expire_keys(&mut self) -> Result<bool, Error> {
        let expired = idempotency::is_oldest_expired(&self.connection, &self.core);
        if !expired.map_err(|error| self.failed(&error))? {
            return Ok(false);
        }
        self.begin_group()?;
        let expired = idempotency::expire(&self.connection, &self.core);
        expired.map_err(|error| self.group_failed(&error))?;
        Ok(true)
    }

    /// Makes the lease holder's work part of the group.
    pub(super) fn end_lease(&mut self, footprint: &Footprint) -> Result<Durable, Error> {
        let ended = self.run("RELEASE lease");
        ended.map_err(|error| self.group_failed(&error))?;
        Ok(self.member_done(footprint))
    }

    /// Undoes the lease holder's work; `keep` leaves its savepoint open.
    pub(super) fn undo_lease(&mut self, keep: bool) -> Result<(), Error> {
        if self.group.is_none() {
            // A failure undid the whole group with it.
            return Err(Error::Unavailable("the store's transaction failed".to_owned()));
        }
        if self.connection.is_autocommit() {
            // A statement that wrote was stopped, and took all with it.
            self.wary_until = Some(Instant::now() + WARY);
            return Err(self.group_failed(&stopped()));
        }
        let undone = self
            .run("ROLLBACK TO lease")
            .and_then(|()| if keep { Ok(()) } else { self.run("RELEASE lease") });
        undone.map_err(|error| self.group_failed(&error))
    }

    /// Commits the group and tells its members.
    pub(super) fn commit_group(&mut self) {
        let Some(group) = self.group.take() else { return };
        if let Some(before_commit) = &self.core.options.before_commit {
            before_commit();
        }
        let advances = self.core.inbox.advances(group.consumed.iter());
        let trim = self.core.outbox.to_trim();
        let written = inbox::write(&self.connection, &advances)
            .and_then(|()| trim.map_or(Ok(()), |upto| outbox::trim(&self.connection, upto)))
            .and_then(|()| {
                before_commit(&advances, trim);
                self.run("COMMIT")
            });
        let result = match written {
            Ok(()) => {
                after_commit(&advances, trim);
                self.core.note_commit(group.sequence);
                self.core.inbox.confirm(&advances);
                if let Some(upto) = trim {
                    self.core.outbox.trimmed(upto);
                }
                self.core.outbox.committed(group.published);
                // Another file may have failed meanwhile.
                self.core.check()
            }
            Err(error) => {
                self.roll_back();
                self.core.inbox.give_back(group.consumed.iter());
                Err(self.failed(&error))
            }
        };
        // Before anyone is told: a client that has its answer may repeat at once.
        drop(group.claims);
        failpoint::pass("before gate release");
        for waiting in group.waiting {
            // One whose client left no longer waits.
            let _ = waiting.send(result.clone());
        }
        failpoint::pass("after gate release");
        if result.is_ok() {
            self.checkpoint_if_due();
        }
    }

    fn checkpoint_if_due(&self) {
        if let Err(error) = self.checkpoints.run_if_due(&self.connection) {
            let error = self.failed(&error);
            let service = &self.core.service;
            tracing::warn!(service, %error, "the write-ahead log is carried over later");
        }
    }

    pub(super) fn get(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        keyvalue::get(&self.connection, bucket, key).map_err(|error| self.failed(&error))
    }

    pub(super) fn list(
        &self,
        bucket: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        keyvalue::list(&self.connection, bucket, after, limit).map_err(|error| self.failed(&error))
    }

    pub(super) fn set(
        &mut self,
        bucket: &str,
        key: &str,
        value: Option<&[u8]>,
        footprint: &mut Footprint,
    ) -> Result<(), Error> {
        let changed = self.write(bucket, key, value, footprint);
        changed.map_err(|error| self.group_failed(&error))
    }

    pub(super) fn query(
        &mut self,
        statement: &str,
        parameters: &[Value],
        deadlines: Deadlines,
        footprint: &mut Footprint,
    ) -> Result<Rows, Error> {
        let (rows, wrote) = self.scope(deadlines).query(statement, parameters)?;
        footprint.sql |= wrote;
        Ok(rows)
    }

    pub(super) fn execute(
        &mut self,
        statement: &str,
        parameters: &[Value],
        deadlines: Deadlines,
        footprint: &mut Footprint,
    ) -> Result<Execution, Error> {
        // Even a statement that fails may have been most of the way there.
        footprint.sql = true;
        let changes = self.scope(deadlines).execute(statement, parameters)?;
        let inserted = self.inserted.load(Ordering::Relaxed);
        let last_insert_id = if inserted { self.connection.last_insert_rowid() } else { 0 };
        Ok(Execution { changes, last_insert_id })
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    fn scope(&self, deadlines: Deadlines) -> Scope<'_> {
        let options = &self.core.options;
        let timeout = Instant::now() + options.statement_timeout;
        let Deadlines { reading, writing } = deadlines;
        let deadlines = Deadlines { reading: reading.min(timeout), writing: writing.min(timeout) };
        Scope {
            connection: &self.connection,
            sandbox: &self.sandbox,
            options,
            writable: true,
            deadlines,
        }
    }

    pub(super) fn begin_group(&mut self) -> Result<(), Error> {
        self.core.check()?;
        if self.group.is_none() {
            self.run("BEGIN IMMEDIATE").map_err(|error| self.failed(&error))?;
            let sequence = self.core.committed() + 1;
            self.group = Some(Group {
                sequence,
                waiting: Vec::new(),
                first_done: None,
                claims: Vec::new(),
                published: Vec::new(),
                consumed: Vec::new(),
            });
        }
        Ok(())
    }

    fn member_done(&mut self, footprint: &Footprint) -> Durable {
        let (sender, durable) = oneshot::channel();
        if let Some(group) = &mut self.group {
            self.history.record(footprint, group.sequence);
            group.first_done.get_or_insert_with(Instant::now);
            group.waiting.push(sender);
        }
        durable
    }

    fn apply(&self, writes: &Writes, footprint: &mut Footprint) -> rusqlite::Result<()> {
        for (bucket, key, value) in writes.iter() {
            self.write(bucket, key, value.map(Bytes::as_ref), footprint)?;
        }
        Ok(())
    }

    fn write(
        &self,
        bucket: &str,
        key: &str,
        value: Option<&[u8]>,
        footprint: &mut Footprint,
    ) -> rusqlite::Result<()> {
        let key_set_changed = match value {
            Some(value) => keyvalue::set(&self.connection, bucket, key, value)?,
            None => keyvalue::delete(&self.connection, bucket, key)?,
        };
        footprint.keys.push(self.core.fingerprint.key(bucket, key));
        if key_set_changed {
            footprint.key_sets.push(self.core.fingerprint.key_set(bucket));
        }
        Ok(())
    }

    /// A write failed: its group is given up as a whole, since SQLite may have
    /// undone more than the one statement.
    pub(super) fn group_failed(&mut self, error: &rusqlite::Error) -> Error {
        self.roll_back();
        let error = self.failed(error);
        if let Some(group) = self.group.take() {
            self.core.inbox.give_back(group.consumed.iter());
            drop(group.claims);
            for waiting in group.waiting {
                let _ = waiting.send(Err(error.clone()));
            }
        }
        error
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.run("ROLLBACK")
        {
            self.core.poison(&error);
        }
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        self.core.failed(error)
    }

    fn run(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(statement)?.execute(())?;
        Ok(())
    }
}

/// What SQLite says of a statement that took too long.
fn stopped() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_INTERRUPT);
    let reason = "a statement that wrote took too long, and was undone with all that was to be \
                  committed together";
    rusqlite::Error::SqliteFailure(code, Some(reason.to_owned()))
}

fn before_commit(advances: &[Advance], trim: Option<u64>) {
    failpoint::pass("before commit");
    if !advances.is_empty() {
        failpoint::pass("before cursor commit");
    }
    if trim.is_some() {
        failpoint::pass("before outbox trim");
    }
}

fn after_commit(advances: &[Advance], trim: Option<u64>) {
    failpoint::pass("after commit");
    if !advances.is_empty() {
        failpoint::pass("after cursor commit");
    }
    if trim.is_some() {
        failpoint::pass("after outbox trim");
    }
}
