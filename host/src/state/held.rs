//! Events that a subscription could not finish yet (`_held`) or never will
//! (`_dead`).
//!
//! An event moves here in the commit that moves the cursor past it, so nothing
//! that fails stalls its subscription or the bus.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::error::Error;
use super::inbox::Consumption;
use super::store::Store;
use super::transaction::Committed;
use super::writer::Writer;
use crate::event::Event;

/// Bytes of events that a list of dead letters has, roughly.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// When a held event is delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// At this time, in ms since 1970.
    At(u64),
    /// When an operator says so.
    Parked,
}

/// What happens to an event that its handler did not finish.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// It waits; the cursor passes it.
    Hold {
        /// Outstanding.
        consumption: Consumption,
        /// What it is ordered by.
        key: Arc<str>,
        /// The event itself.
        event: Arc<Event>,
        /// Deliveries so far.
        attempts: u32,
        /// When the next is.
        due: Due,
        /// Why the last failed; empty for one that only waits for its key.
        reason: String,
    },
    /// One that waits already waits on.
    Defer {
        /// Held.
        consumption: Consumption,
        /// Deliveries so far.
        attempts: u32,
        /// When the next is.
        due: Due,
        /// Why the last failed.
        reason: String,
    },
    /// It is given up and becomes a dead letter.
    Bury {
        /// Outstanding or held.
        consumption: Consumption,
        /// What it is ordered by.
        key: Arc<str>,
        /// The event itself.
        event: Arc<Event>,
        /// Deliveries so far.
        attempts: u32,
        /// Why it is given up.
        reason: String,
    },
    /// It counts as finished, without an effect.
    Skip {
        /// Outstanding or held.
        consumption: Consumption,
    },
    /// Nothing of it but where the cursor is.
    Advance {
        /// The subscription.
        subscription: Arc<str>,
    },
}

/// A row of `_held`, without its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldEntry {
    /// Its position on the bus.
    pub position: u64,
    /// What it is ordered by.
    pub key: String,
    /// Deliveries so far.
    pub attempts: u32,
    /// When the next is.
    pub due: Due,
    /// Why the last failed.
    pub reason: String,
}

/// A row of `_dead`.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its number in its store, counted from 1.
    pub id: u64,
    /// Whose it is.
    pub subscription: String,
    /// Its event's position on the bus.
    pub position: u64,
    /// What it is ordered by.
    pub key: String,
    /// Deliveries that failed.
    pub attempts: u32,
    /// Why it was given up.
    pub reason: String,
    /// When, in ms since 1970.
    pub died_at: u64,
    /// The event as CloudEvents JSON.
    pub event: Bytes,
}

/// Some of a store's dead letters.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// They.
    pub letters: Vec<DeadLetter>,
    /// Whether there are more.
    pub more: bool,
}

/// What became of a dead letter that is to be delivered again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revival {
    /// It is a held event.
    Revived {
        /// What it is ordered by.
        key: String,
        /// Its position on the bus.
        position: u64,
    },
    /// The same event is among the held already.
    Waiting,
    /// It is not there.
    Gone,
}

/// Does what is settled as a member of the open group.
fn settle(writer: &mut Writer, settlements: &[Settlement]) -> Result<(), Error> {
    for settlement in settlements {
        match settle_one(writer, settlement) {
            // There is nothing left of it to settle.
            Ok(()) | Err(Error::Consumed) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn settle_one(writer: &mut Writer, settlement: &Settlement) -> Result<(), Error> {
    let written = match settlement {
        Settlement::Hold { consumption, key, event, attempts, due, reason } => {
            writer.consume(consumption)?;
            let (at, parked) = due.columns();
            let row = (
                &consumption.subscription,
                consumption.position,
                key,
                event.to_json(),
                attempts,
                at,
                parked,
                reason,
            );
            writer
                .connection
                .prepare_cached("INSERT INTO _held VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
                .and_then(|mut insert| insert.execute(row))
        }
        Settlement::Defer { consumption, attempts, due, reason } => {
            let (at, parked) = due.columns();
            let row =
                (&consumption.subscription, consumption.position, attempts, at, parked, reason);
            writer
                .connection
                .prepare_cached(
                    "UPDATE _held SET attempts = ?3, due_at = ?4, parked = ?5, reason = ?6
                         WHERE subscription = ?1 AND position = ?2",
                )
                .and_then(|mut update| update.execute(row))
        }
        Settlement::Bury { consumption, key, event, attempts, reason } => {
            writer.consume(consumption)?;
            let row = (
                &consumption.subscription,
                consumption.position,
                key,
                event.to_json(),
                attempts,
                reason,
                crate::clock::now_ms(),
            );
            writer
                .connection
                .prepare_cached(
                    "INSERT INTO _dead
                         (subscription, position, key, event, attempts, reason, died_at)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )
                .and_then(|mut insert| insert.execute(row))
        }
        Settlement::Skip { consumption } => return writer.consume(consumption),
        Settlement::Advance { subscription } => {
            writer.advance(subscription);
            return Ok(());
        }
    };
    written.map(|_| ()).map_err(|error| writer.group_failed(&error))
}

/// Takes a held event out. False where it is not there.
pub(super) fn take(connection: &Connection, consumption: &Consumption) -> rusqlite::Result<bool> {
    let taken = connection
        .prepare_cached("DELETE FROM _held WHERE subscription = ?1 AND position = ?2")?
        .execute((&consumption.subscription, consumption.position))?;
    Ok(taken > 0)
}

impl Due {
    fn columns(self) -> (u64, bool) {
        match self {
            Self::At(at) => (at, false),
            Self::Parked => (0, true),
        }
    }
}

impl Store {
    /// Does all of it in one commit, except for what was finished meanwhile.
    /// Returns when it is validated.
    ///
    /// # Errors
    /// When the store cannot be written; nothing is done then.
    pub async fn settle(
        self: &Arc<Self>,
        settlements: Vec<Settlement>,
    ) -> Result<Committed, Error> {
        let (committed, ()) = self.member(move |writer| settle(writer, &settlements)).await?;
        Ok(committed)
    }

    /// The same; returns when it is on disk.
    ///
    /// # Errors
    /// As [`Store::settle`], and when it takes too long: it may be done all the same
    /// then, and doing it again is harmless.
    pub async fn settle_durably(
        self: &Arc<Self>,
        settlements: Vec<Settlement>,
    ) -> Result<(), Error> {
        let committed = self.settle(settlements).await?;
        self.durable(committed).await
    }

    /// The subscription's held events after a position, in their order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn held(
        self: &Arc<Self>,
        subscription: &Arc<str>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<HeldEntry>, Error> {
        let subscription = Arc::clone(subscription);
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT position, key, attempts, due_at, parked, reason FROM _held
                     WHERE subscription = ?1 AND position > ?2 ORDER BY position LIMIT ?3",
                )?
                .query_map((subscription, after, limit), held_entry)?
                .collect()
        })
        .await
    }

    /// A held event.
    ///
    /// # Errors
    /// When the store cannot be read, or the event is damaged.
    pub async fn held_event(
        self: &Arc<Self>,
        subscription: &Arc<str>,
        position: u64,
    ) -> Result<Option<Arc<Event>>, Error> {
        let name = Arc::clone(subscription);
        let json: Option<Vec<u8>> = self
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT event FROM _held WHERE subscription = ?1 AND position = ?2",
                    )?
                    .query_row((name, position), |row| row.get(0))
                    .optional()
            })
            .await?;
        let event = json.map(|json| Event::from_json(&json)).transpose().map_err(|error| {
            let path = self.core.path.display();
            Error::Unavailable(format!(
                "{path}: the held event {position} of {subscription} is damaged: {error}"
            ))
        })?;
        Ok(event.map(Arc::new))
    }

    /// Dead letters with a higher number than `after`, in their order; of one
    /// subscription or of all. Fewer than `limit` where they are large.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn dead_letters(
        self: &Arc<Self>,
        subscription: Option<String>,
        after: u64,
        limit: usize,
    ) -> Result<DeadLetters, Error> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, subscription, position, key, attempts, reason, died_at, event
                 FROM _dead WHERE id > ?1 AND (?2 IS NULL OR subscription = ?2)
                 ORDER BY id",
            )?;
            let mut rows = statement.query((after, subscription))?;
            let mut found = DeadLetters { letters: Vec::new(), more: false };
            let mut bytes = 0;
            while let Some(row) = rows.next()? {
                if found.letters.len() == limit || bytes > MAX_PAGE_BYTES {
                    found.more = true;
                    break;
                }
                let letter = dead_letter(row)?;
                bytes += letter.event.len();
                found.letters.push(letter);
            }
            Ok(found)
        })
        .await
    }

    /// A dead letter.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn dead_letter(self: &Arc<Self>, id: u64) -> Result<Option<DeadLetter>, Error> {
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT id, subscription, position, key, attempts, reason, died_at, event
                     FROM _dead WHERE id = ?1",
                )?
                .query_row([id], dead_letter)
                .optional()
        })
        .await
    }

    /// How many dead letters there are of each subscription that has some.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn dead_counts(self: &Arc<Self>) -> Result<Vec<(String, u64)>, Error> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT subscription, count(*) FROM _dead GROUP BY subscription")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .await
    }

    /// How many dead letters a subscription has.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn dead_count(self: &Arc<Self>, subscription: &Arc<str>) -> Result<u64, Error> {
        let subscription = Arc::clone(subscription);
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT count(*) FROM _dead WHERE subscription = ?1")?
                .query_row([subscription], |row| row.get(0))
        })
        .await
    }

    /// Takes a dead letter out, for good. Returns whether it was there. Durable
    /// when it returns.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn drop_dead(self: &Arc<Self>, id: u64) -> Result<bool, Error> {
        let (committed, dropped) = self
            .host_member(move |writer| {
                writer.connection.execute("DELETE FROM _dead WHERE id = ?1", [id])
            })
            .await?;
        self.durable(committed).await?;
        Ok(dropped > 0)
    }

    /// Makes a dead letter a held event of a subscription's, due at once and with
    /// no attempts. Durable when it returns.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn retry_dead(
        self: &Arc<Self>,
        id: u64,
        subscription: &Arc<str>,
    ) -> Result<Revival, Error> {
        let subscription = Arc::clone(subscription);
        let (committed, revived) = self
            .host_member(move |writer| {
                let found = writer
                    .connection
                    .query_row("SELECT position, key FROM _dead WHERE id = ?1", [id], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                    .optional()?;
                let Some((position, key)) = found else { return Ok(Revival::Gone) };
                let inserted = writer.connection.execute(
                    "INSERT OR IGNORE INTO _held
                     SELECT ?2, position, key, event, 0, 0, FALSE, reason
                     FROM _dead WHERE id = ?1",
                    (id, &subscription),
                )?;
                if inserted == 0 {
                    return Ok(Revival::Waiting);
                }
                writer.connection.execute("DELETE FROM _dead WHERE id = ?1", [id])?;
                Ok(Revival::Revived { key, position })
            })
            .await?;
        self.durable(committed).await?;
        Ok(revived)
    }
}

fn held_entry(row: &Row<'_>) -> rusqlite::Result<HeldEntry> {
    let due = if row.get(4)? { Due::Parked } else { Due::At(row.get(3)?) };
    Ok(HeldEntry {
        position: row.get(0)?,
        key: row.get(1)?,
        attempts: row.get(2)?,
        due,
        reason: row.get(5)?,
    })
}

fn dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let event: Vec<u8> = row.get(7)?;
    Ok(DeadLetter {
        id: row.get(0)?,
        subscription: row.get(1)?,
        position: row.get(2)?,
        key: row.get(3)?,
        attempts: row.get(4)?,
        reason: row.get(5)?,
        died_at: row.get(6)?,
        event: event.into(),
    })
}
