//! How much of the log each publisher has: one alone does not fill it for all others.
//!
//! Whose an event is, its text does not say (anybody's `source` is their own word), so the
//! file has it: a row for each run of positions that one publisher has in a commit. Sums are
//! written with the commit that changes them, so that a start reads them and counts nothing.
//! What came before publishers were told apart counts for nobody.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use compact_str::CompactString;
use rusqlite::Connection;

use super::error::{BusError, JobError};
use super::shared::Shared;
use super::{Position, Publisher};

/// What every publisher has, with what the open group changes of it.
pub(super) struct Shares {
    max_bytes: u64,
    all: HashMap<CompactString, Share>,
    next_number: i64,
    /// Those that the open group changed, and what they had before.
    before: Vec<(CompactString, u64)>,
    /// What the open group appended.
    runs: Vec<Run>,
}

#[derive(Clone, Copy)]
struct Share {
    /// Which it is in the file.
    number: i64,
    bytes: u64,
}

/// Positions without holes that are one publisher's.
struct Run {
    first: Position,
    last: Position,
    publisher: i64,
}

impl Shares {
    /// Reads what the file has.
    pub(super) fn load(connection: &Connection, max_bytes: u64) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare("SELECT name, number, bytes FROM publisher")?;
        let rows = statement.query_map([], |row| {
            let name: String = row.get(0)?;
            Ok((name.into(), Share { number: row.get(1)?, bytes: row.get(2)? }))
        })?;
        let all: HashMap<CompactString, Share> = rows.collect::<rusqlite::Result<_>>()?;
        let next_number = all.values().map(|share| share.number + 1).max().unwrap_or(1);
        Ok(Self { max_bytes, all, next_number, before: Vec::new(), runs: Vec::new() })
    }

    /// What each has, by its name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&CompactString, u64)> {
        self.all.iter().map(|(name, share)| (name, share.bytes))
    }

    /// Refuses what would be more than the publisher may have.
    pub(super) fn room_for(&self, publisher: &Publisher, wanted: u64) -> Result<(), JobError> {
        let has = self.all.get(publisher.name()).map_or(0, |share| share.bytes);
        let max = self.max_bytes;
        if wanted == 0 || has.saturating_add(wanted) <= max {
            return Ok(());
        }
        Err(JobError::Refused(BusError::ShareFull(format!(
            "{publisher} has {has} bytes of events on the bus and one publisher may have {max} \
             ([events] max-bytes-per-source): others' are taken; raise it, shorten `retain`, or \
             see which subscription holds them (`hotdock events subscriptions`)"
        ))))
    }

    /// The group appended these.
    pub(super) fn added(
        &mut self,
        publisher: &Publisher,
        first: Position,
        last: Position,
        bytes: u64,
    ) {
        let name = publisher.name();
        let share = match self.all.entry(name.into()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let number = self.next_number;
                self.next_number += 1;
                new.insert(Share { number, bytes: 0 })
            }
        };
        note_before(&mut self.before, name, share.bytes);
        share.bytes += bytes;
        let publisher = share.number;
        match self.runs.last_mut().filter(|run| run.publisher == publisher && run.last + 1 == first)
        {
            Some(run) => run.last = last,
            None => self.runs.push(Run { first, last, publisher }),
        }
    }

    /// To be called before the group takes the events up to `last` out of the file.
    pub(super) fn trim(&mut self, connection: &Connection, last: Position) -> rusqlite::Result<()> {
        let mut gone = connection.prepare_cached(
            "SELECT publisher.name, sum(octet_length(event)) FROM run
             CROSS JOIN event ON position BETWEEN run.first AND min(run.last, ?1)
             JOIN publisher ON publisher.number = run.publisher
             WHERE run.first <= ?1 GROUP BY publisher.number",
        )?;
        let mut rows = gone.query([last])?;
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str()?;
            let bytes: u64 = row.get(1)?;
            if let Some(share) = self.all.get_mut(name) {
                note_before(&mut self.before, name, share.bytes);
                share.bytes = share.bytes.saturating_sub(bytes);
            }
        }
        connection
            .prepare_cached("DELETE FROM run WHERE first <= ?1 AND last <= ?1")?
            .execute([last])?;
        Ok(())
    }

    /// Writes what the group changes.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        for (name, _) in &self.before {
            let Some(share) = self.all.get(name) else { continue };
            connection
                .prepare_cached(
                    "INSERT INTO publisher (number, name, bytes) VALUES (?1, ?2, ?3)
                     ON CONFLICT (number) DO UPDATE SET bytes = excluded.bytes",
                )?
                .execute((share.number, name.as_str(), share.bytes))?;
        }
        for Run { first, last, publisher } in &self.runs {
            connection
                .prepare_cached("INSERT INTO run (first, last, publisher) VALUES (?1, ?2, ?3)")?
                .execute((first, last, publisher))?;
        }
        Ok(())
    }

    /// The group is committed.
    pub(super) fn keep(&mut self, shared: &Shared) {
        self.runs.clear();
        let changed = self.before.drain(..);
        shared.note_shares(changed.filter_map(|(name, _)| {
            let bytes = self.all.get(&name)?.bytes;
            Some((name, bytes))
        }));
    }

    /// The group is given up.
    pub(super) fn give_up(&mut self) {
        self.runs.clear();
        for (name, bytes) in self.before.drain(..) {
            if let Some(share) = self.all.get_mut(&name) {
                share.bytes = bytes;
            }
        }
    }
}

fn note_before(before: &mut Vec<(CompactString, u64)>, name: &str, bytes: u64) {
    if !before.iter().any(|(known, _)| known == name) {
        before.push((name.into(), bytes));
    }
}
