//! The outbox, `_outbox`: events that are committed here and on their way to
//! the bus.
//!
//! Rows are written in the transaction that publishes them and taken out once
//! the bus has them. The newest are also kept in memory, so that the relay of a
//! store that publishes all the time doesn't read the file.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::Notify;

use super::error::Error;
use super::store::{Core, Store};
use crate::event::{Event, Outgoing};

/// Events that are kept in memory until the relay takes them, and their bytes; one
/// event at the least.
const MAX_TAIL: usize = 4_096;
const MAX_TAIL_BYTES: usize = 16 << 20;

/// Where `_meta` says that an outbox is not relayed any further.
const STOPPED_AT: &str = "relay_stopped_at";

/// How much is taken out of an outbox at once; one event at the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutgoingLimit {
    /// Events.
    pub max_events: usize,
    /// Bytes that they have together.
    pub max_bytes: usize,
}

/// Who publishes, as the bus knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Random; new for a file that was restored from a copy.
    pub store_id: String,
    /// The highest sequence that the file had given out when it was opened.
    pub opened_at: u64,
    /// Up to where the bus has it, where it is not relayed any further
    /// ([`Store::stop_relaying`]).
    pub stopped_at: Option<u64>,
}

/// An event to be published, with its text.
#[derive(Clone)]
pub(super) struct Publication {
    pub(super) event: Arc<Event>,
    pub(super) json: Bytes,
}

/// What a store knows of its outbox besides the table.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    grown: Notify,
}

#[derive(Default)]
struct State {
    /// The newest committed events without a gap; older ones are in the file.
    tail: VecDeque<Outgoing>,
    tail_bytes: usize,
    last: u64,
    relayed: u64,
    trimmed: u64,
    opened_at: Option<u64>,
    stopped: bool,
    /// What the file had no longer when it was opened: the bus has it.
    gone: u64,
}

impl State {
    /// How many events are on their way to the bus. Before the bus was asked what it has,
    /// all that are in the file count.
    fn waiting(&self) -> u64 {
        self.last.saturating_sub(self.relayed.max(self.gone))
    }

    fn drop_oldest(&mut self) {
        let oldest = self.tail.pop_front();
        self.tail_bytes -= oldest.map_or(0, |oldest| oldest.event.size());
    }
}

impl Publication {
    /// What is freed with it, at the least.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.json.len() + self.event.data.as_ref().map_or(0, Bytes::len)
    }

    pub(super) fn new(event: Event) -> Self {
        let json = Bytes::from(event.to_json());
        Self { event: Arc::new(event), json }
    }
}

impl Outbox {
    /// Notes what the file has when it is opened for the first time.
    pub(super) fn open(&self, connection: &Connection) -> rusqlite::Result<()> {
        let last = last_sequence(connection)?;
        let first = first_sequence(connection)?;
        let mut state = self.lock();
        if state.opened_at.is_none() {
            state.opened_at = Some(last);
            state.gone = first.map_or(last, |first| first.saturating_sub(1));
        }
        state.last = state.last.max(last);
        Ok(())
    }

    /// Whether as many wait for the bus as may.
    pub(super) fn is_full(&self, limit: u64) -> bool {
        self.lock().waiting() >= limit
    }

    /// Takes what a group has committed.
    pub(super) fn committed(&self, published: Vec<Outgoing>) {
        let Some(newest) = published.last() else { return };
        let mut state = self.lock();
        state.last = newest.sequence;
        state.tail_bytes += published.iter().map(|each| each.event.size()).sum::<usize>();
        state.tail.extend(published);
        while state.tail.len() > MAX_TAIL
            || (state.tail_bytes > MAX_TAIL_BYTES && state.tail.len() > 1)
        {
            state.drop_oldest();
        }
        drop(state);
        self.grown.notify_one();
    }

    /// Up to which row the outbox can be cut, if it can.
    pub(super) fn to_trim(&self) -> Option<u64> {
        let state = self.lock();
        (state.relayed > state.trimmed && !state.stopped).then_some(state.relayed)
    }

    /// The highest sequence that was given out, as far as memory knows: another must be above.
    pub(super) fn highest(&self) -> u64 {
        let state = self.lock();
        state.last.max(state.relayed)
    }

    pub(super) fn trimmed(&self, sequence: u64) {
        self.lock().trimmed = sequence;
    }

    /// How many events are in memory, and their bytes.
    #[cfg(test)]
    pub(super) fn in_memory(&self) -> (usize, usize) {
        let state = self.lock();
        (state.tail.len(), state.tail_bytes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes events into the outbox.
pub(super) fn insert(
    connection: &Connection,
    publications: &[Publication],
    published: &mut Vec<Outgoing>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("INSERT INTO _outbox (event) VALUES (?1)")?;
    for Publication { event, json } in publications {
        statement.execute([&**json])?;
        let sequence = u64::try_from(connection.last_insert_rowid()).unwrap_or_default();
        published.push(Outgoing { sequence, event: Arc::clone(event) });
    }
    Ok(())
}

/// Takes out what the bus has.
pub(super) fn trim(connection: &Connection, upto: u64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM _outbox WHERE sequence <= ?1")?.execute([upto])?;
    Ok(())
}

fn last_sequence(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = '_outbox'), 0)",
        )?
        .query_row((), |row| row.get(0))
}

/// The first event that is in the file. (They leave it in their order, so those from here
/// to the last are all there.)
fn first_sequence(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    connection.prepare_cached("SELECT min(sequence) FROM _outbox")?.query_row((), |row| row.get(0))
}

impl Store {
    /// Resolves when something was published that the bus may not have.
    pub async fn outbox_grown(&self) {
        self.core.outbox.grown.notified().await;
    }

    /// The highest sequence that is committed, once the file is open.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.core.outbox.lock().last
    }

    /// How many published events wait for the bus. Before it was asked what it has, all
    /// that are in the file count.
    #[must_use]
    pub fn outbox_len(&self) -> u64 {
        self.core.outbox.lock().waiting()
    }

    /// Whether there is a file, and so perhaps something in its outbox.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.core.path.exists()
    }

    /// Who publishes. Opens the file.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn identity(self: &Arc<Self>) -> Result<StoreIdentity, Error> {
        let core = Arc::clone(&self.core);
        let (store_id, stopped_at) = self
            .read(move |connection| {
                // Nothing may have opened it for writing yet.
                core.outbox.open(connection)?;
                let mut meta = connection.prepare("SELECT value FROM _meta WHERE key = ?1")?;
                let store_id: String = meta.query_row(["store_id"], |row| row.get(0))?;
                let stopped_at: Option<String> =
                    meta.query_row([STOPPED_AT], |row| row.get(0)).optional()?;
                Ok((store_id, stopped_at))
            })
            .await?;
        let opened_at = self.core.outbox.lock().opened_at.unwrap_or(0);
        let stopped_at = stopped_at.map(|sequence| sequence.parse().unwrap_or(0));
        Ok(StoreIdentity { store_id, opened_at, stopped_at })
    }

    /// Notes in the file that the bus has the outbox up to `relayed` and takes no more of it;
    /// nothing is taken out of it from here on.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn stop_relaying(self: &Arc<Self>, relayed: u64) -> Result<(), Error> {
        self.core.outbox.lock().stopped = true;
        let (committed, ()) = self
            .host_member(move |writer| {
                let row = (STOPPED_AT, relayed.to_string());
                let sql = "INSERT OR REPLACE INTO _meta (key, value) VALUES (?1, ?2)";
                writer.connection.execute(sql, row).map(drop)
            })
            .await?;
        self.durable(committed).await
    }

    /// Gives a file that was restored from a copy another identity: the bus has
    /// had sequences of it that it will give out again. What it has in its outbox up to
    /// `relayed` is on the bus, so it is taken out. Durable when it returns.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn renew_identity(self: &Arc<Self>, relayed: u64) -> Result<StoreIdentity, Error> {
        let store_id = uuid::Uuid::new_v4().to_string();
        let renewed = store_id.clone();
        let (committed, ()) = self
            .host_member(move |writer| {
                writer
                    .connection
                    .execute("UPDATE _meta SET value = ?1 WHERE key = 'store_id'", [&renewed])?;
                writer.connection.execute("DELETE FROM _meta WHERE key = ?1", [STOPPED_AT])?;
                trim(&writer.connection, relayed)
            })
            .await?;
        self.durable(committed).await?;
        let opened_at = self.core.outbox.lock().opened_at.unwrap_or(0);
        Ok(StoreIdentity { store_id, opened_at, stopped_at: None })
    }

    /// The first committed events after `after`, as many as `limit` lets.
    ///
    /// # Errors
    /// When the store cannot be read, or an event in it is damaged.
    pub async fn outgoing(
        self: &Arc<Self>,
        after: u64,
        limit: OutgoingLimit,
    ) -> Result<Vec<Outgoing>, Error> {
        if let Some(tail) = self.core.outbox.tail_after(after, limit) {
            return Ok(tail);
        }
        let rows: Vec<(u64, Vec<u8>)> = self
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT sequence, event FROM _outbox WHERE sequence > ?1
                     ORDER BY sequence LIMIT ?2",
                )?;
                let mut rows = statement.query((after, limit.max_events))?;
                let (mut found, mut bytes) = (Vec::new(), 0);
                while let Some(row) = rows.next()? {
                    let event: Vec<u8> = row.get(1)?;
                    bytes += event.len();
                    if bytes > limit.max_bytes && !found.is_empty() {
                        break;
                    }
                    found.push((row.get(0)?, event));
                }
                Ok(found)
            })
            .await?;
        let outgoing = |(sequence, json): (u64, Vec<u8>)| {
            let event = Event::from_json(&json).map_err(|error| {
                let path = self.core.path.display();
                Error::Unavailable(format!("{path}: _outbox row {sequence} is damaged: {error}"))
            })?;
            Ok(Outgoing { sequence, event: Arc::new(event) })
        };
        rows.into_iter().map(outgoing).collect()
    }

    /// Notes up to which sequence the bus has the outbox; those rows are taken
    /// out with one of the next commits.
    pub fn note_relayed(&self, sequence: u64) {
        let mut state = self.core.outbox.lock();
        state.relayed = state.relayed.max(sequence);
        let relayed = state.relayed;
        while state.tail.front().is_some_and(|outgoing| outgoing.sequence <= relayed) {
            state.drop_oldest();
        }
    }

    /// Takes out of an outbox what the bus has, where no commit did so by itself.
    pub fn trim_outbox(self: &Arc<Self>) {
        if self.core.outbox.to_trim().is_some() {
            // Where too much waits it is done later.
            _ = self.push(super::store::Job::Tidy);
        }
    }
}

impl Outbox {
    /// What follows `after` as far as it is in memory; `None` where it may be in
    /// the file only.
    fn tail_after(&self, after: u64, limit: OutgoingLimit) -> Option<Vec<Outgoing>> {
        let state = self.lock();
        if after >= state.last && state.opened_at.is_some() {
            return Some(Vec::new());
        }
        let first = state.tail.front()?.sequence;
        if first > after + 1 {
            return None;
        }
        let skipped = usize::try_from(after + 1 - first).ok()?;
        let mut bytes = 0;
        let fits = |outgoing: &&Outgoing| {
            let is_first = bytes == 0;
            bytes += outgoing.event.size();
            is_first || bytes <= limit.max_bytes
        };
        let wanted = state.tail.iter().skip(skipped).take(limit.max_events);
        Some(wanted.take_while(fits).cloned().collect())
    }
}

impl Core {
    /// Refuses one more event while the bus is too far behind.
    pub(super) fn check_outbox(&self) -> Result<(), Error> {
        if self.outbox.is_full(self.options.max_outbox) { Err(Error::OutboxFull) } else { Ok(()) }
    }
}
