//! Events that a subscription could not finish yet (`_held`); what it never will is in
//! [`super::dead`].
//!
//! An event moves here in the commit that moves the cursor past it, so nothing
//! that fails stalls its subscription or the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::dead::{self, NewLetter};
use super::error::Error;
use super::inbox::Consumption;
use super::store::Store;
use super::transaction::Committed;
use super::writer::Writer;
use crate::event::Event;

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
        /// Told whether there is a dead letter of it: there is none where its source has too
        /// many already.
        kept: Arc<AtomicBool>,
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
    /// Whose it is ([`Event::origin`]).
    pub origin: String,
    /// Bytes of it.
    pub bytes: usize,
}

/// How much waits in a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldCount {
    /// Events that wait.
    pub held: usize,
    /// Keys whose first event waits for an operator.
    pub parked: usize,
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
                event.origin(),
            );
            writer
                .connection
                .prepare_cached("INSERT INTO _held VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")
                .and_then(|mut insert| insert.execute(row).map(drop))
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
                .and_then(|mut update| update.execute(row).map(drop))
        }
        Settlement::Bury { consumption, key, event, attempts, reason, kept } => {
            writer.consume(consumption)?;
            let letter = NewLetter { consumption, key, event, attempts: *attempts, reason };
            dead::bury(writer, &letter).map(|is_kept| kept.store(is_kept, Ordering::Relaxed))
        }
        Settlement::Skip { consumption } => return writer.consume(consumption),
        Settlement::Advance { subscription } => {
            writer.advance(subscription);
            return Ok(());
        }
    };
    written.map_err(|error| writer.group_failed(&error))
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
        self.read(move |connection| held_in(connection, &subscription, after, limit)).await
    }

    /// How much waits in a subscription.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn held_count(self: &Arc<Self>, subscription: &Arc<str>) -> Result<HeldCount, Error> {
        let subscription = Arc::clone(subscription);
        self.read(move |connection| held_count_in(connection, &subscription)).await
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
}

pub(super) fn held_in(
    connection: &Connection,
    subscription: &str,
    after: u64,
    limit: usize,
) -> rusqlite::Result<Vec<HeldEntry>> {
    connection
        .prepare_cached(
            "SELECT position, key, attempts, due_at, parked, reason,
                    coalesce(source, 'outside'), octet_length(event) FROM _held
             WHERE subscription = ?1 AND position > ?2 ORDER BY position LIMIT ?3",
        )?
        .query_map((subscription, after, limit), held_entry)?
        .collect()
}

pub(super) fn held_count_in(
    connection: &Connection,
    subscription: &str,
) -> rusqlite::Result<HeldCount> {
    // Beside `min`, SQLite takes `parked` from the row that has it: the first of its key.
    connection
        .prepare_cached(
            "SELECT coalesce(sum(events), 0), coalesce(sum(parked), 0) FROM (
                 SELECT count(*) AS events, parked, min(position) FROM _held
                 WHERE subscription = ?1 GROUP BY key)",
        )?
        .query_row([subscription], |row| Ok(HeldCount { held: row.get(0)?, parked: row.get(1)? }))
}

fn held_entry(row: &Row<'_>) -> rusqlite::Result<HeldEntry> {
    let due = if row.get(4)? { Due::Parked } else { Due::At(row.get(3)?) };
    Ok(HeldEntry {
        position: row.get(0)?,
        key: row.get(1)?,
        attempts: row.get(2)?,
        due,
        reason: row.get(5)?,
        origin: row.get(6)?,
        bytes: row.get(7)?,
    })
}
