//! Reading from the file, for those who are behind and for what is rarely asked.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::Semaphore;

use super::error::BusError;
use super::shared::Shared;
use super::{Batch, Position, ReadLimit, Recorded, encoding, schema};
use crate::machine::with_descriptors;

/// Connections that read at once: enough to be one ahead of the decoding, few
/// enough to leave the blocking threads to others.
const READERS: usize = 2;

/// A pool of connections that only read.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, shared: Arc<Shared>) -> Self {
        Self { path, idle: Arc::default(), places: Arc::new(Semaphore::new(READERS)), shared }
    }

    /// Runs `work` with a connection, on a thread where it may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, BusError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| BusError::Unavailable("the bus is closed".to_owned()))?;
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let read = tokio::task::spawn_blocking(move || {
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match kept {
                Some(connection) => connection,
                None => with_descriptors(|| schema::open_reader(&path))?,
            };
            let value = work(&connection)?;
            // One that failed is not used again.
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(place);
            Ok(value)
        });
        match read.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(ReadError::Sqlite(error))) => Err(self.shared.failed(&error)),
            Ok(Err(ReadError::Undecodable(message))) => Err(BusError::Unavailable(message)),
            Err(_) => Err(BusError::Unavailable("reading bus.db was broken off".to_owned())),
        }
    }

    /// Lets nobody read any more and closes the connections.
    pub(super) async fn close(&self) {
        if let Ok(places) = self.places.acquire_many(READERS as u32).await {
            self.places.close();
            drop(places);
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Why nothing was read.
#[derive(Debug)]
pub(super) enum ReadError {
    Sqlite(rusqlite::Error),
    /// A row is not what this host writes.
    Undecodable(String),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// What comes after `after` and not after `last`; up to `last` where nothing does.
pub(super) fn events(
    connection: &Connection,
    after: Position,
    last: Position,
    limit: ReadLimit,
) -> Result<Batch, ReadError> {
    let mut statement = connection.prepare_cached(
        "SELECT position, recorded_at, event FROM event
         WHERE position > ?1 AND position <= ?2 ORDER BY position",
    )?;
    let mut rows = statement.query((after, last))?;
    let mut batch = Batch::nothing_after(after);
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let text = row.get_ref(2)?.as_bytes().map_err(rusqlite::Error::from)?;
        if !limit.admits(batch.events.len(), bytes, text.len()) {
            return Ok(batch);
        }
        bytes += text.len();
        let position = row.get(0)?;
        let event = encoding::decode(text).map_err(|error| {
            ReadError::Undecodable(format!("event {position} of the bus cannot be read: {error}"))
        })?;
        let event = Arc::new(event);
        batch.push(Recorded { position, recorded_at: row.get(1)?, bytes: text.len(), event });
    }
    batch.upto = batch.upto.max(last);
    Ok(batch)
}

/// The first of `first..=last` that came at `time` or later.
pub(super) fn position_at(
    connection: &Connection,
    first: Position,
    last: Position,
    time: u64,
) -> rusqlite::Result<Option<Position>> {
    let mut statement = connection.prepare_cached(
        "SELECT recorded_at FROM event WHERE position >= ?1 ORDER BY position LIMIT 1",
    )?;
    // What is below `low` came before, what is from `high` on did not.
    let (mut low, mut high) = (first, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let recorded_at: Option<u64> =
            statement.query_row([middle], |row| row.get(0)).optional()?;
        if recorded_at.is_none_or(|recorded_at| recorded_at >= time) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok((low <= last).then_some(low))
}

/// How far a store's outbox is here; 0: nothing of it is.
pub(super) fn relayed(connection: &Connection, store_id: &str) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT last FROM source WHERE store_id = ?1")?;
    Ok(statement.query_row([store_id], |row| row.get(0)).optional()?.unwrap_or(0))
}
