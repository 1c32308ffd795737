//! Events that a subscription will never finish (`_dead`).
//!
//! They stay until an operator takes them out, in the store of whoever could make nothing of
//! them. So what one source may have there is bounded: whoever publishes rubbish fills no
//! subscriber's store. Beyond `max_dead_bytes` a letter is its head, and beyond as much
//! again of heads there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::error::Error;
use super::inbox::Consumption;
use super::store::Store;
use super::writer::Writer;
use crate::event::{Event, Extensions};

/// Bytes of events that a list of dead letters has, roughly.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// Bytes of the reason in a letter without its data.
const MAX_REASON_BYTES: usize = 1 << 10;

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
    /// Whether its source had too much among the dead letters for its data to be kept.
    pub without_data: bool,
    /// The event as CloudEvents JSON; where its data was not kept, its head.
    pub event: Bytes,
}

/// Some of a store's dead letters.
#[derive(Clone, Debug, Default)]
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
        /// Whose it is ([`Event::origin`]).
        origin: String,
    },
    /// The same event is among the held already.
    Waiting,
    /// It is not there.
    Gone,
}

/// What is to become a dead letter.
pub(super) struct NewLetter<'a> {
    pub(super) consumption: &'a Consumption,
    pub(super) key: &'a str,
    pub(super) event: &'a Event,
    pub(super) attempts: u32,
    pub(super) reason: &'a str,
}

/// Dead letters that did not get all they are due, since the start.
#[derive(Debug, Default)]
pub(super) struct Cut {
    without_data: AtomicU64,
    not_kept: AtomicU64,
}

/// Writes a dead letter, as far as its source has room. Returns whether it did.
pub(super) fn bury(writer: &mut Writer, letter: &NewLetter<'_>) -> rusqlite::Result<bool> {
    let NewLetter { consumption, key, event, attempts, reason } = letter;
    let (subscription, source) = (&*consumption.subscription, event.origin());
    let connection = &writer.connection;
    let has: u64 = connection
        .prepare_cached("SELECT bytes FROM _dead_bytes WHERE subscription = ?1 AND source = ?2")?
        .query_row((subscription, source), |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let max = writer.options().max_dead_bytes;
    let size = |json: &[u8], reason: &str| (json.len() + key.len() + reason.len()) as u64;
    let mut json = event.to_json();
    let mut reason = *reason;
    let without_data = has.saturating_add(size(&json, reason)) > max;
    if without_data {
        json = head(event).to_json();
        reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
        let is_kept = has.saturating_add(size(&json, reason)) <= max.saturating_mul(2);
        writer.tell_cut(subscription, source, is_kept);
        if !is_kept {
            return Ok(false);
        }
    }
    let bytes = size(&json, reason);
    let connection = &writer.connection;
    connection
        .prepare_cached(
            "INSERT INTO _dead (subscription, position, key, event, attempts, reason, died_at,
                                source, without_data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            subscription,
            consumption.position,
            key,
            json,
            attempts,
            reason,
            crate::clock::now_ms(),
            source,
            without_data,
        ))?;
    connection
        .prepare_cached(
            "INSERT INTO _dead_bytes VALUES (?1, ?2, ?3)
             ON CONFLICT (subscription, source) DO UPDATE SET bytes = bytes + excluded.bytes",
        )?
        .execute((subscription, source, bytes))?;
    Ok(true)
}

/// What says which event it was.
fn head(event: &Event) -> Event {
    Event {
        subject: None,
        data_content_type: None,
        data_schema: None,
        extensions: Extensions::new(),
        data: None,
        ..event.clone()
    }
}

/// Takes a letter out; its source has room for so much again. False where it is not there.
fn take_out(connection: &Connection, id: u64) -> rusqlite::Result<bool> {
    let sql = "UPDATE _dead_bytes SET bytes = max(0, bytes - dead.size) FROM (
                   SELECT subscription, source, octet_length(event) + octet_length(key)
                       + octet_length(reason) AS size
                   FROM _dead WHERE id = ?1) AS dead
               WHERE _dead_bytes.subscription = dead.subscription
                   AND _dead_bytes.source = dead.source";
    connection.execute(sql, [id])?;
    Ok(connection.execute("DELETE FROM _dead WHERE id = ?1", [id])? > 0)
}

impl Cut {
    /// Counts one. Returns whether it is the first of its kind.
    pub(super) fn count(&self, is_kept: bool) -> bool {
        let count = if is_kept { &self.without_data } else { &self.not_kept };
        count.fetch_add(1, Ordering::Relaxed) == 0
    }
}

impl Store {
    /// How many dead letters were written without their data since the start, and how many
    /// were not written.
    #[must_use]
    pub fn dead_letters_cut(&self) -> (u64, u64) {
        let Cut { without_data, not_kept } = &self.core.dead_cut;
        (without_data.load(Ordering::Relaxed), not_kept.load(Ordering::Relaxed))
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
            dead_letters_in(connection, subscription.as_deref(), after, limit)
        })
        .await
    }

    /// A dead letter.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn dead_letter(self: &Arc<Self>, id: u64) -> Result<Option<DeadLetter>, Error> {
        self.read(move |connection| dead_letter_in(connection, id)).await
    }

    /// How many dead letters there are of each subscription that has some.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn dead_counts(self: &Arc<Self>) -> Result<Vec<(String, u64)>, Error> {
        self.read(dead_counts_in).await
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
        let (committed, dropped) =
            self.host_member(move |writer| take_out(&writer.connection, id)).await?;
        self.durable(committed).await?;
        Ok(dropped)
    }

    /// Makes a dead letter a held event of a subscription's, due at once and with
    /// no attempts: this `event`, where its own data was not kept. Durable when it returns.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn retry_dead(
        self: &Arc<Self>,
        id: u64,
        subscription: &Arc<str>,
        event: Option<Vec<u8>>,
    ) -> Result<Revival, Error> {
        let subscription = Arc::clone(subscription);
        let (committed, revived) = self
            .host_member(move |writer| {
                let found = writer
                    .connection
                    .query_row(
                        "SELECT position, key, coalesce(source, 'outside') FROM _dead
                         WHERE id = ?1",
                        [id],
                        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                    )
                    .optional()?;
                let Some((position, key, origin)) = found else { return Ok(Revival::Gone) };
                let inserted = writer.connection.execute(
                    "INSERT OR IGNORE INTO _held
                     SELECT ?2, position, key, coalesce(?3, event), 0, 0, FALSE, reason,
                            source
                     FROM _dead WHERE id = ?1",
                    (id, &subscription, &event),
                )?;
                if inserted == 0 {
                    return Ok(Revival::Waiting);
                }
                take_out(&writer.connection, id)?;
                Ok(Revival::Revived { key, position, origin })
            })
            .await?;
        self.durable(committed).await?;
        Ok(revived)
    }
}

pub(super) fn dead_letters_in(
    connection: &Connection,
    subscription: Option<&str>,
    after: u64,
    limit: usize,
) -> rusqlite::Result<DeadLetters> {
    let mut statement = connection.prepare_cached(
        "SELECT id, subscription, position, key, attempts, reason, died_at, without_data, event
         FROM _dead WHERE id > ?1 AND (?2 IS NULL OR subscription = ?2)
         ORDER BY id",
    )?;
    let mut rows = statement.query((after, subscription))?;
    let mut found = DeadLetters::default();
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
}

pub(super) fn dead_letter_in(
    connection: &Connection,
    id: u64,
) -> rusqlite::Result<Option<DeadLetter>> {
    connection
        .prepare_cached(
            "SELECT id, subscription, position, key, attempts, reason, died_at, without_data, event
             FROM _dead WHERE id = ?1",
        )?
        .query_row([id], dead_letter)
        .optional()
}

pub(super) fn dead_counts_in(connection: &Connection) -> rusqlite::Result<Vec<(String, u64)>> {
    connection
        .prepare_cached("SELECT subscription, count(*) FROM _dead GROUP BY subscription")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let event: Vec<u8> = row.get(8)?;
    Ok(DeadLetter {
        id: row.get(0)?,
        subscription: row.get(1)?,
        position: row.get(2)?,
        key: row.get(3)?,
        attempts: row.get(4)?,
        reason: row.get(5)?,
        died_at: row.get(6)?,
        without_data: row.get(7)?,
        event: event.into(),
    })
}
