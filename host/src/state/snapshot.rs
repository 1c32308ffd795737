//! An optimistic transaction: a committed snapshot, what was read in it, and
//! the writes it would make.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use rusqlite::Connection;

use super::budget::Budget;
use super::control::{Control, Controlled};
use super::error::Error;
use super::history::{ReadSet, Sequence};
use super::idempotency::{self, Keeping, KeptAnswer, KeyClaim};
use super::inbox::Consumption;
use super::keyvalue::{self, KeyPage};
use super::outbox::Publication;
use super::sandbox::{Sandbox, Stopper};
use super::schema;
use super::sql::{Access, Deadlines, Execution, Rows, Scope, Value, begins_with_write};
use super::store::Store;
use crate::allocator;
use crate::machine::{has_no_descriptor, with_descriptors};

/// What a transaction read, and in which snapshot.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) set: ReadSet,
    pub(super) snapshot: Sequence,
}

/// Writes by bucket and key; `None` deletes.
#[derive(Default)]
pub(super) struct Writes {
    buckets: BTreeMap<String, BTreeMap<String, Option<Bytes>>>,
    bytes: usize,
    keys: usize,
    /// Events to publish, in their order.
    pub(super) publications: Vec<Publication>,
    /// The event that is finished with it.
    pub(super) consumption: Option<Consumption>,
    /// The answer to keep under its key, once there is one.
    pub(super) keeping: Option<Keeping>,
}

/// An optimistic transaction. The reader is taken at the first read.
pub(super) struct Snapshot {
    store: Arc<Store>,
    reader: Option<Reader>,
    pub(super) reads: Reads,
    pub(super) writes: Writes,
    /// What the time of its statements counts against.
    pub(super) budget: Budget,
}

/// Ends a statement when nobody waits for it any more.
struct Gone {
    gone: Arc<AtomicBool>,
    stopper: Stopper,
    /// The number of the connection's statement before it.
    before: u64,
    stays: bool,
}

/// A reader connection; goes back to its store when dropped.
pub(super) struct Reader {
    store: Arc<Store>,
    idle: Option<Box<IdleReader>>,
}

/// A reader connection that nobody uses. Boxed where it is handed on.
pub(super) struct IdleReader {
    connection: Controlled,
    /// The schema that it was opened with.
    schema: u64,
    sandbox: Sandbox,
}

impl Reads {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
            && self.publications.is_empty()
            && self.consumption.is_none()
            && self.keeping.is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str, Option<&Bytes>)> {
        self.buckets.iter().flat_map(|(bucket, keys)| {
            keys.iter().map(move |(key, value)| (bucket.as_str(), key.as_str(), value.as_ref()))
        })
    }

    /// How many keys it writes.
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// What is freed with it, of values and events.
    pub(super) fn buffered_bytes(&self) -> usize {
        let values = self.iter().filter_map(|(.., value)| value).map(Bytes::len);
        let events = self.publications.iter().map(Publication::buffered_bytes);
        values.sum::<usize>() + events.sum::<usize>()
    }

    fn get(&self, bucket: &str, key: &str) -> Option<&Option<Bytes>> {
        self.buckets.get(bucket)?.get(key)
    }

    fn put(&mut self, bucket: &str, key: &str, value: Option<Bytes>) {
        let size = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        self.bytes += size(&value) + key.len();
        let keys = match self.buckets.get_mut(bucket) {
            Some(keys) => keys,
            None => self.buckets.entry(bucket.to_owned()).or_default(),
        };
        match keys.insert(key.to_owned(), value) {
            Some(before) => self.bytes -= size(&before) + key.len(),
            None => self.keys += 1,
        }
    }
}

impl Snapshot {
    pub(super) fn new(store: &Arc<Store>) -> Self {
        Self {
            store: Arc::clone(store),
            reader: None,
            reads: Reads::default(),
            writes: Writes::default(),
            budget: Budget::default(),
        }
    }

    pub(super) async fn get(&mut self, bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        if let Some(written) = self.writes.get(bucket, key) {
            return Ok(written.clone());
        }
        self.reads.set.key(self.store.core.fingerprint.key(bucket, key));
        let here = self.here(|connection| keyvalue::get(connection, bucket, key)).await?;
        // The names are copied for a read elsewhere alone.
        let read = match here {
            Some(read) => read,
            None => {
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                let get = move |connection: &Connection| keyvalue::get(connection, &bucket, &key);
                self.elsewhere(get).await?
            }
        };
        read.map_err(|error| self.store.core.failed(&error))
    }

    /// Reads right here, unless that may take its time.
    async fn here<R>(&mut self, read: impl FnOnce(&Connection) -> R) -> Result<Option<R>, Error> {
        self.reader().await?;
        let reader = self.reader.as_ref().expect("it was just taken");
        Ok(self.store.inline.read(|| read(reader.connection())))
    }

    /// Reads on a thread where that may take its time. Boxed, so that those who read here don't
    /// carry it.
    fn elsewhere<'a, R: Send + 'static>(
        &'a mut self,
        read: impl FnOnce(&Connection) -> R + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = Result<R, Error>> + Send + 'a>> {
        Box::pin(self.read_elsewhere(read))
    }

    async fn read_elsewhere<R: Send + 'static>(
        &mut self,
        read: impl FnOnce(&Connection) -> R + Send + 'static,
    ) -> Result<R, Error> {
        self.reader().await?;
        let reader = self.reader.take().expect("it was just taken");
        let work = Arc::clone(&self.store).on_thread(move || {
            let before = allocator::balance();
            let result = read(reader.connection());
            (reader, result, allocator::balance() - before)
        });
        let (reader, result, taken) = work.await?;
        // Freed here, it was taken here.
        allocator::set_balance(allocator::balance() + taken);
        self.reader = Some(reader);
        Ok(result)
    }

    /// The answer kept under the claimed key. It is no read of the guest's: whoever
    /// has the claim finds what no other can change.
    pub(super) async fn kept_answer(
        &mut self,
        claim: &KeyClaim,
    ) -> Result<Option<KeptAnswer>, Error> {
        let (core, claim) = (Arc::clone(&self.store.core), claim.clone());
        let find = move |connection: &Connection| {
            let found = idempotency::find(connection, claim.scope(), &core.options)?;
            let has_room = found.is_some() || idempotency::has_room(connection, &claim)?;
            Ok::<_, rusqlite::Error>((found, has_room))
        };
        let found = match self.here(&find).await? {
            Some(found) => found,
            None => self.elsewhere(find).await?,
        };
        match found.map_err(|error| self.store.core.failed(&error))? {
            (None, false) => Err(Error::TooManyKeys),
            (found, _) => Ok(found),
        }
    }

    pub(super) fn put(
        &mut self,
        bucket: &str,
        key: &str,
        value: Option<Bytes>,
    ) -> Result<(), Error> {
        self.writes.put(bucket, key, value);
        self.check_size()
    }

    pub(super) fn publish(&mut self, publication: Publication) -> Result<(), Error> {
        self.writes.bytes += publication.json.len();
        self.writes.publications.push(publication);
        self.check_size()
    }

    fn check_size(&self) -> Result<(), Error> {
        let options = &self.store.core.options;
        let limit = options.max_transaction_bytes;
        if self.writes.bytes > limit {
            return Err(Error::Limit(format!("a transaction writes at most {limit} bytes")));
        }
        let limit = options.max_transaction_writes;
        if self.writes.keys > limit || self.writes.publications.len() > limit {
            return Err(Error::Limit(format!(
                "a transaction writes at most {limit} keys and {limit} events: commit it in parts"
            )));
        }
        Ok(())
    }

    pub(super) async fn list(
        &mut self,
        bucket: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeyPage, Error> {
        self.reads.set.key_set(self.store.core.fingerprint.key_set(bucket));
        let own: BTreeMap<String, bool> = self
            .writes
            .buckets
            .get(bucket)
            .into_iter()
            .flatten()
            .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
            .map(|(key, value)| (key.clone(), value.is_some()))
            .collect();
        // Enough that a page is full even if all of its own deletions are among them.
        let fetched = limit + own.len() + 1;
        let list = |connection: &Connection| keyvalue::list(connection, bucket, after, fetched);
        let committed = match self.here(list).await? {
            Some(committed) => committed,
            None => {
                let (bucket, after) = (bucket.to_owned(), after.map(str::to_owned));
                let list = move |connection: &Connection| {
                    keyvalue::list(connection, &bucket, after.as_deref(), fetched)
                };
                self.elsewhere(list).await?
            }
        };
        let committed = committed.map_err(|error| self.store.core.failed(&error))?;
        let mut keys: BTreeMap<String, bool> =
            committed.into_iter().map(|key| (key, true)).collect();
        keys.extend(own);
        let keys = keys.into_iter().filter_map(|(key, exists)| exists.then_some(key));
        Ok(page(keys.collect(), limit))
    }

    /// Runs a reading statement, on a thread where it may take its time.
    pub(super) async fn query(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Rows, Error> {
        let query = move |scope: Scope<'_>, statement: &str| scope.query(statement, &parameters);
        self.on_reader(statement, query).await.map(|(rows, _)| rows)
    }

    pub(super) async fn execute(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Execution, Error> {
        let execute =
            move |scope: Scope<'_>, statement: &str| scope.execute(statement, &parameters);
        self.on_reader(statement, execute).await?;
        // It wrote nothing, or it would have needed a lease.
        Ok(Execution::default())
    }

    async fn on_reader<R: Send + 'static>(
        &mut self,
        statement: &str,
        run: impl FnOnce(Scope<'_>, &str) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        if begins_with_write(statement) {
            return Err(Error::NeedsLease);
        }
        let statement = statement.to_owned();
        self.reader().await?;
        let reader = self.reader.take().expect("it was just taken");
        let store = Arc::clone(&self.store);
        let budget = self.budget.clone();
        let (gone, watched) = Gone::watch(reader.idle().sandbox.stopper());
        let work = store.clone().on_thread(move || {
            let IdleReader { connection, sandbox, .. } = reader.idle();
            let options = &store.core.options;
            let deadline = Instant::now() + options.statement_timeout;
            let scope = Scope {
                connection,
                sandbox,
                options,
                access: Access::Read,
                deadlines: Deadlines { reading: deadline, writing: deadline },
                budget,
                gone: Some(watched),
                runtime: &store.runtime,
            };
            let result = run(scope, &statement);
            // What is read from here on would be of another snapshot.
            let result = if connection.is_autocommit() {
                Err(Error::given_up(result.err()))
            } else {
                result
            };
            (reader, result)
        });
        let (reader, result) = work.await?;
        gone.stays();
        self.reader = Some(reader);
        // One that needs the lease was not run, so the guest knows nothing by it that
        // another's commit could make untrue.
        if !matches!(result, Err(Error::NeedsLease)) {
            self.reads.set.sql();
        }
        result
    }

    async fn reader(&mut self) -> Result<&Reader, Error> {
        if self.reader.is_none() {
            let reader = Reader::take(&self.store).await?;
            // Read before the snapshot is pinned: a number that is too low makes
            // conflicts where there are none, one too high would miss some.
            self.reads.snapshot = self.store.core.committed();
            let begun = reader.idle().connection.take(Control::Begin);
            begun.map_err(|error| self.store.core.failed(&error))?;
            self.reader = Some(reader);
        }
        Ok(self.reader.as_ref().expect("it was just set"))
    }

    /// Gives the reader back; what was read and written stays.
    pub(super) fn release_reader(&mut self) {
        self.reader = None;
    }
}

/// The first `limit` keys, and where the next page begins.
pub(super) fn page(mut keys: Vec<String>, limit: usize) -> KeyPage {
    let more = keys.len() > limit;
    keys.truncate(limit);
    let next = if more { keys.last().cloned() } else { None };
    KeyPage { keys, next }
}

impl Gone {
    /// The second is set when the first is dropped.
    fn watch(stopper: &Stopper) -> (Self, Arc<AtomicBool>) {
        let gone = Arc::new(AtomicBool::new(false));
        let before = stopper.running();
        let watch =
            Self { gone: Arc::clone(&gone), stopper: stopper.clone(), before, stays: false };
        (watch, gone)
    }

    fn stays(mut self) {
        self.stays = true;
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        if !self.stays {
            self.gone.store(true, Ordering::Relaxed);
            self.stopper.stop(self.before + 1);
        }
    }
}

impl Reader {
    pub(super) async fn take(store: &Arc<Store>) -> Result<Self, Error> {
        store.core.check()?;
        store.touch();
        if store.core.log.is_long() {
            // Boxed, so that the others don't carry it.
            Box::pin(store.core.log.readers_turn()).await;
        }
        // It is out from here on, and back also where no file can be opened.
        let mut reader = Self { store: Arc::clone(store), idle: store.pop_reader() };
        if reader.idle.is_none() {
            let opened = Arc::clone(store);
            // Boxed, so that those who find one don't carry it.
            let opening = Box::pin(store.on_free_thread(move || IdleReader::open(&opened)));
            reader.idle = Some(opening.await??);
        }
        Ok(reader)
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.idle().connection
    }

    fn idle(&self) -> &IdleReader {
        self.idle.as_deref().expect("held until dropped")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let has_ended = |idle: &IdleReader| {
            idle.connection.is_autocommit() || idle.connection.take(Control::Rollback).is_ok()
        };
        let idle = self.idle.take().filter(|idle| has_ended(idle));
        self.store.push_reader(idle);
    }
}

impl IdleReader {
    fn open(store: &Arc<Store>) -> Result<Box<Self>, Error> {
        store.ensure_file()?;
        let failed = |error: rusqlite::Error| store.core.failed(&error);
        let common = &store.core.sandboxing;
        let schema = common.schema();
        // Each reader has all of the file's schema, by the service's doing.
        let limit = store.core.options.max_sql_memory;
        let charged = common.account().charge(limit, 0);
        let opened =
            with_descriptors(|| schema::open_reader(&store.core.path, &store.core.options));
        let refused = charged.refused();
        drop(charged);
        if opened.is_err() && refused.is_some() {
            return Err(Error::Limit(format!(
                "the service's SQL has {limit} bytes of memory at most, of which each reader \
                 takes what the schema does: have a smaller schema, or fewer invocations at once"
            )));
        }
        let mut connection = opened.map_err(|error| match has_no_descriptor() {
            // Of a file that could not be opened it is not the disk's doing.
            true => Error::Unavailable(format!("too few descriptors (ulimit -n): {error}")),
            false => failed(error),
        })?;
        let sandbox = Sandbox::install(&mut connection, common).map_err(failed)?;
        Ok(Box::new(Self { connection: Controlled::new(connection), schema, sandbox }))
    }

    /// The number of the schema that it was opened with.
    pub(super) fn schema(&self) -> u64 {
        self.schema
    }
}
