//! One invocation's transaction, as the runtime uses it.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::budget::Budget;
use super::error::Error;
use super::fate::Fate;
use super::history::Footprint;
use super::idempotency::{Keeping, KeptAnswer, KeyClaim};
use super::inbox::Consumption;
use super::keyvalue::KeyPage;
use super::outbox::Publication;
use super::snapshot::{Snapshot, Writes, page};
use super::sql::{Deadlines, Execution, Rows, Value};
use super::store::Store;
use super::writer::{Durable, Terms, Writer};
use crate::event::Event;

/// One invocation's reads and writes. Dropping it undoes them.
pub struct Transaction {
    store: Arc<Store>,
    mode: Mode,
}

/// Boxed: a transaction is handed on several times on its way.
enum Mode {
    Optimistic(Box<Snapshot>),
    Leased(Box<Leased>),
}

/// The writer itself, lent for one transaction; goes home when dropped. Used on
/// the writer's thread only.
pub(super) struct Leased {
    writer: Option<Box<Writer>>,
    home: Home,
    footprint: Footprint,
    deadlines: Deadlines,
    /// What it comes to when the deadline of what reads passes.
    late: Error,
    budget: Budget,
    /// Set when nobody waits for it any more.
    gone: Arc<AtomicBool>,
    keeping: Option<Keeping>,
    publications: Vec<Publication>,
    published_bytes: usize,
    consumption: Option<Consumption>,
}

/// Where a lent writer is put back.
pub(super) type Home = Arc<Mutex<Option<Box<Writer>>>>;

/// A validated transaction, on its way to the disk.
#[derive(Debug)]
#[must_use = "nothing that depends on it may leave before it is durable"]
pub struct Committed {
    durable: Option<Durable>,
    leased: bool,
}

impl Transaction {
    pub(super) fn optimistic(store: &Arc<Store>) -> Self {
        Self { store: Arc::clone(store), mode: Mode::Optimistic(Box::new(Snapshot::new(store))) }
    }

    pub(super) fn leased(store: &Arc<Store>, leased: Leased) -> Self {
        Self { store: Arc::clone(store), mode: Mode::Leased(Box::new(leased)) }
    }

    /// Its store, and what the time counts against that its SQL takes: for one after it.
    #[must_use]
    pub fn place(&self) -> (Arc<Store>, Budget) {
        let budget = match &self.mode {
            Mode::Optimistic(snapshot) => &snapshot.budget,
            Mode::Leased(leased) => &leased.budget,
        };
        (Arc::clone(&self.store), budget.clone())
    }

    /// Whether it holds the writer.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        matches!(self.mode, Mode::Leased(_))
    }

    /// Has the time that its SQL takes count against `budget` from here on.
    pub fn count_against(&mut self, budget: &Budget) {
        match &mut self.mode {
            Mode::Optimistic(snapshot) => snapshot.budget = budget.clone(),
            Mode::Leased(leased) => leased.budget = budget.clone(),
        }
    }

    /// Whether it wrote anything that is not committed yet. One that holds the
    /// writer counts as one that did.
    #[must_use]
    pub fn has_writes(&self) -> bool {
        match &self.mode {
            Mode::Optimistic(snapshot) => !snapshot.writes.is_empty(),
            Mode::Leased(_) => true,
        }
    }

    /// Bytes of values and events that it holds until it commits.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        match &self.mode {
            Mode::Optimistic(snapshot) => snapshot.writes.buffered_bytes(),
            Mode::Leased(leased) => {
                leased.publications.iter().map(Publication::buffered_bytes).sum()
            }
        }
    }

    /// The value of `key`, if it has one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn get(&mut self, bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        match &mut self.mode {
            Mode::Optimistic(snapshot) => snapshot.get(bucket, key).await,
            Mode::Leased(leased) => leased.writer()?.get(bucket, key),
        }
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn exists(&mut self, bucket: &str, key: &str) -> Result<bool, Error> {
        Ok(self.get(bucket, key).await?.is_some())
    }

    /// Gives `key` this value.
    ///
    /// # Errors
    /// [`Error::Limit`] when key, value or the whole transaction is too large.
    pub async fn set(&mut self, bucket: &str, key: &str, value: Bytes) -> Result<(), Error> {
        let options = &self.store.core.options;
        if key.len() > options.max_key_bytes {
            let limit = options.max_key_bytes;
            return Err(Error::Limit(format!("a key has at most {limit} bytes")));
        }
        if value.len() > options.max_value_bytes {
            let limit = options.max_value_bytes;
            return Err(Error::Limit(format!("a value has at most {limit} bytes")));
        }
        self.put(bucket, key, Some(value))
    }

    /// Takes `key` away.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn delete(&mut self, bucket: &str, key: &str) -> Result<(), Error> {
        self.put(bucket, key, None)
    }

    /// Up to `limit` of the bucket's keys, in their order, after `after`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_keys(
        &mut self,
        bucket: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeyPage, Error> {
        match &mut self.mode {
            Mode::Optimistic(snapshot) => snapshot.list(bucket, after, limit).await,
            Mode::Leased(leased) => {
                Ok(page(leased.writer()?.list(bucket, after, limit + 1)?, limit))
            }
        }
    }

    /// Runs one SQL statement and returns its rows.
    ///
    /// # Errors
    /// [`Error::NeedsLease`] when it writes and this is not leased: nothing was
    /// done then. [`Error::Sql`] when it was refused.
    pub async fn query(&mut self, statement: &str, parameters: Vec<Value>) -> Result<Rows, Error> {
        match &mut self.mode {
            // Guests cannot see `_kv` by SQL, so buffered pairs need not be there.
            Mode::Optimistic(snapshot) => snapshot.query(statement, parameters).await,
            Mode::Leased(leased) => leased.run(&self.store.runtime, |writer, terms, footprint| {
                writer.query(statement, &parameters, terms, footprint)
            }),
        }
    }

    /// Runs one SQL statement and returns what it changed.
    ///
    /// # Errors
    /// As [`Transaction::query`].
    pub async fn execute(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Execution, Error> {
        match &mut self.mode {
            Mode::Optimistic(snapshot) => snapshot.execute(statement, parameters).await,
            Mode::Leased(leased) => leased.run(&self.store.runtime, |writer, terms, footprint| {
                writer.execute(statement, &parameters, terms, footprint)
            }),
        }
    }

    /// The answer that is kept under the claimed key. One that is seen while leased
    /// may be in the open group; it is durable when this transaction is.
    ///
    /// # Errors
    /// [`Error::TooManyKeys`] when there is none and no room for one.
    pub async fn kept_answer(&mut self, claim: &KeyClaim) -> Result<Option<KeptAnswer>, Error> {
        match &mut self.mode {
            Mode::Optimistic(snapshot) => snapshot.kept_answer(claim).await,
            // The room was made sure of when the key was claimed.
            Mode::Leased(leased) => leased.writer()?.kept_answer(claim),
        }
    }

    /// Keeps an answer under the claimed key, when this commits. To be called last.
    /// Where the key has one after all, [`Transaction::finish`] says [`Error::Rerun`].
    ///
    /// # Errors
    /// [`Error::Limit`] when the answer is larger than a value may be.
    pub fn keep_answer(&mut self, claim: KeyClaim, answer: KeptAnswer) -> Result<(), Error> {
        let limit = self.store.core.options.max_value_bytes;
        if answer.size() > limit {
            return Err(Error::Limit(format!("a kept answer has at most {limit} bytes")));
        }
        let keeping = Some(Keeping { claim, answer });
        match &mut self.mode {
            Mode::Optimistic(snapshot) => snapshot.writes.keeping = keeping,
            Mode::Leased(leased) => leased.keeping = keeping,
        }
        Ok(())
    }

    /// Publishes an event, when this commits.
    ///
    /// # Errors
    /// [`Error::Limit`] when the transaction becomes too large,
    /// [`Error::OutboxFull`] while too many wait for the bus.
    pub fn publish(&mut self, event: Event) -> Result<(), Error> {
        self.store.core.check_outbox()?;
        let publication = Publication::new(event);
        match &mut self.mode {
            Mode::Optimistic(snapshot) => snapshot.publish(publication),
            Mode::Leased(leased) => {
                let options = &self.store.core.options;
                let limit = options.max_transaction_bytes;
                leased.published_bytes += publication.json.len();
                if leased.published_bytes > limit {
                    return Err(Error::Limit(format!(
                        "a transaction writes at most {limit} bytes"
                    )));
                }
                let limit = options.max_transaction_writes;
                if leased.publications.len() >= limit {
                    return Err(Error::Limit(format!(
                        "a transaction publishes at most {limit} events: commit it in parts"
                    )));
                }
                leased.publications.push(publication);
                Ok(())
            }
        }
    }

    /// Finishes an event, when this commits. [`Transaction::finish`] says
    /// [`Error::Consumed`] where it was finished already.
    pub fn consume(&mut self, consumption: Consumption) {
        match &mut self.mode {
            Mode::Optimistic(snapshot) => snapshot.writes.consumption = Some(consumption),
            Mode::Leased(leased) => leased.consumption = Some(consumption),
        }
    }

    /// Undoes everything written since it began or last committed; goes on.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn rollback(&mut self) -> Result<(), Error> {
        match &mut self.mode {
            Mode::Optimistic(snapshot) => {
                // What was read still counts: the guest knows it.
                snapshot.writes = Writes::default();
                Ok(())
            }
            Mode::Leased(leased) => {
                leased.footprint = Footprint::default();
                leased.publications.clear();
                leased.published_bytes = 0;
                leased.writer()?.undo_lease(true)
            }
        }
    }

    /// Commits now; returns when it is durable. The transaction goes on, in a
    /// new snapshot or with its lease.
    ///
    /// # Errors
    /// [`Error::Rerun`] on a conflict: nothing was written, and the transaction
    /// goes on in a new snapshot.
    pub async fn commit(&mut self) -> Result<(), Error> {
        let store = Arc::clone(&self.store);
        match &mut self.mode {
            Mode::Optimistic(snapshot) => {
                let mut fresh = Self::optimistic(&store);
                fresh.count_against(&snapshot.budget);
                std::mem::replace(self, fresh).finish().await?.durable().await
            }
            Mode::Leased(leased) => leased.commit(),
        }
    }

    /// Ends it. Returns when it is validated: it will be durable unless the disk
    /// fails.
    ///
    /// # Errors
    /// [`Error::Rerun`] on a conflict; [`Error::Consumed`] when the event that it
    /// would finish is finished.
    pub async fn finish(self) -> Result<Committed, Error> {
        self.finish_unless_withdrawn(&Fate::default()).await
    }

    /// Ends it with nothing of it done.
    pub fn finish_with_nothing(self) -> Committed {
        Committed { durable: None, leased: false }
    }

    /// Ends it, unless it is withdrawn before the writer has taken it.
    ///
    /// # Errors
    /// As [`Transaction::finish`]; [`Error::Withdrawn`] where it was.
    pub async fn finish_unless_withdrawn(self, fate: &Fate) -> Result<Committed, Error> {
        match self.mode {
            Mode::Optimistic(snapshot) if snapshot.writes.is_empty() => {
                Ok(Committed { durable: None, leased: false })
            }
            Mode::Optimistic(mut snapshot) => {
                snapshot.release_reader();
                let Snapshot { reads, writes, .. } = *snapshot;
                let claim = fate.claim().clone();
                let durable = self.store.submit(reads, writes, claim).await?;
                Ok(Committed { durable: Some(durable), leased: false })
            }
            Mode::Leased(mut leased) => {
                if !fate.claim().take() {
                    return Err(Error::Withdrawn);
                }
                let finished = leased.finish();
                if finished.is_err() {
                    fate.claim().release();
                }
                Ok(Committed { durable: Some(finished?), leased: true })
            }
        }
    }

    /// Gives its reader back where it is optimistic: what it read and wrote stays, and is all
    /// that it does before it ends or goes on with the writer.
    pub fn reads_no_more(&mut self) {
        if let Mode::Optimistic(snapshot) = &mut self.mode {
            snapshot.release_reader();
        }
    }

    /// Reads and writes of an optimistic transaction, for the writer to take over.
    pub(super) fn into_snapshot(self) -> Option<Box<Snapshot>> {
        match self.mode {
            Mode::Optimistic(snapshot) => Some(snapshot),
            Mode::Leased(_) => None,
        }
    }

    fn put(&mut self, bucket: &str, key: &str, value: Option<Bytes>) -> Result<(), Error> {
        match &mut self.mode {
            Mode::Optimistic(snapshot) => snapshot.put(bucket, key, value),
            Mode::Leased(leased) => {
                leased.writer()?;
                let Leased { writer, footprint, .. } = &mut **leased;
                let writer = writer.as_mut().expect("held until it goes home");
                writer.set(bucket, key, value.as_deref(), footprint)
            }
        }
    }
}

impl Leased {
    pub(super) fn new(
        writer: Box<Writer>,
        home: &Home,
        footprint: Footprint,
        publications: Vec<Publication>,
        deadlines: Deadlines,
        late: Error,
        gone: Arc<AtomicBool>,
    ) -> Self {
        let published_bytes = publications.iter().map(|publication| publication.json.len()).sum();
        Self {
            writer: Some(writer),
            home: Arc::clone(home),
            footprint,
            deadlines,
            late,
            budget: Budget::default(),
            gone,
            keeping: None,
            publications,
            published_bytes,
            consumption: None,
        }
    }

    fn writer(&mut self) -> Result<&mut Writer, Error> {
        if Instant::now() >= self.deadlines.reading {
            return Err(self.late.clone());
        }
        let writer = self.writer.as_mut().expect("held until it goes home");
        writer.check_lease()?;
        Ok(writer)
    }

    /// Runs a statement; one that the lease's deadline ended ends the lease, too.
    fn run<R>(
        &mut self,
        runtime: &Handle,
        run: impl FnOnce(&mut Writer, &Terms<'_>, &mut Footprint) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let deadlines = self.deadlines;
        let (budget, gone) = (self.budget.clone(), Arc::clone(&self.gone));
        let terms = Terms { deadlines, budget: &budget, gone: &gone, runtime };
        let mut footprint = std::mem::take(&mut self.footprint);
        let result = run(self.writer()?, &terms, &mut footprint);
        self.footprint = footprint;
        match result {
            Err(Error::Sql(_) | Error::GivenUp(_)) if Instant::now() >= deadlines.reading => {
                Err(self.late.clone())
            }
            result => result,
        }
    }

    /// Ends the member.
    fn finish(&mut self) -> Result<Durable, Error> {
        let footprint = std::mem::take(&mut self.footprint);
        let consumption = self.consumption.take();
        let keeping = self.keeping.take();
        let publications = std::mem::take(&mut self.publications);
        // Its deadline counts up to here and no further: given up after the
        // event is taken, its effects would be undone and the event would
        // stay finished with the group.
        let writer = self.writer()?;
        writer.judge_lease()?;
        if let Some(keeping) = keeping {
            writer.keep_answer(&keeping)?;
        }
        // Where it is refused, nothing was published yet.
        if let Some(consumption) = consumption {
            writer.consume(&consumption)?;
        }
        writer.publish(&publications)?;
        let durable = writer.end_lease(&footprint);
        self.go_home();
        durable
    }

    /// Ends the member, commits its group, and opens the next with a lease in it.
    fn commit(&mut self) -> Result<(), Error> {
        self.writer()?.judge_lease()?;
        let footprint = std::mem::take(&mut self.footprint);
        let publications = std::mem::take(&mut self.publications);
        self.published_bytes = 0;
        let writer = self.writer()?;
        writer.publish(&publications)?;
        let mut durable = writer.end_lease(&footprint)?;
        writer.commit_group();
        let committed = durable
            .try_recv()
            .unwrap_or_else(|_| Err(Error::Uncertain("the store's writer ended".to_owned())));
        writer.begin_lease(&Writes::default(), &mut Footprint::default())?;
        committed
    }

    fn go_home(&mut self) {
        if let Some(writer) = self.writer.take() {
            *self.home.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.undo_lease(false)
        {
            tracing::debug!(%error, "a lease could not be undone on its own");
        }
        self.go_home();
    }
}

impl Committed {
    pub(super) fn pending(durable: Durable) -> Self {
        Self { durable: Some(durable), leased: false }
    }

    /// Whether it was done with the writer lease. [`Committed::durable`] may come to
    /// [`Error::Rerun`] then: another's statement undid it with its group.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        self.leased
    }

    /// Whether it has anything that is on its way.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.durable.is_some()
    }

    /// Waits until it is on disk.
    ///
    /// # Errors
    /// When it could not be committed: nothing of it is there, unless it is
    /// [`Error::Uncertain`].
    pub async fn durable(self) -> Result<(), Error> {
        match self.durable {
            None => Ok(()),
            Some(durable) => durable
                .await
                .unwrap_or_else(|_| Err(Error::Uncertain("the store's writer ended".to_owned()))),
        }
    }
}
