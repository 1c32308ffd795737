//! How much of the log each publisher has: however many fill it, there is room for another.
//!
//! One may have `max_bytes_per_source`, and that as long as there is more than a quarter of the
//! log free. What is left then is for those who have little, which is a part of what is free: so
//! that becomes ever less and never nothing, whoever took the rest together.
//!
//! Whose an event is, its text does not say (anybody's `source` is their own word), so the
//! file has it: a row for each run of positions that one publisher has in a commit. Sums are
//! written with the commit that changes them, so that a start reads them and counts nothing.
//! What came before publishers were told apart counts for nobody.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use compact_str::CompactString;
use rusqlite::Connection;

use super::shared::Shared;
use super::{Position, Publisher};

/// The part of the log that is kept for publishers that have little.
const KEPT_PART: u64 = 4;

/// The part of what is free that is little.
const LITTLE_PART: u64 = 32;

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

/// Why a publisher may have no more.
pub(super) enum OverShare {
    /// It has what one may have, whatever others have.
    Own(String),
    /// What is free is for those who have less.
    Kept(String),
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

    /// Refuses what would be more than the publisher may have, of a log that has `free` bytes
    /// of `max` before it.
    pub(super) fn room_for(
        &self,
        publisher: &Publisher,
        wanted: u64,
        free: u64,
        max: u64,
    ) -> Result<(), OverShare> {
        let has = self.all.get(publisher.name()).map_or(0, |share| share.bytes);
        let would_have = has.saturating_add(wanted);
        let most = self.max_bytes;
        if wanted > 0 && would_have > most {
            return Err(OverShare::Own(format!(
                "{publisher} has {has} bytes of events on the bus and one publisher may have {most} \
                 ([events] max-bytes-per-source): others' are taken; raise it, shorten `retain`, \
                 or see which subscription holds them (`hotdock events subscriptions`)"
            )));
        }
        if wanted == 0 || free.saturating_sub(wanted) >= max / KEPT_PART {
            return Ok(());
        }
        let little = free / LITTLE_PART;
        if would_have <= little {
            return Ok(());
        }
        Err(OverShare::Kept(format!(
            "{publisher} has {has} bytes of events on the bus, and the {free} that are free of \
             {max} ([events] max-bytes) are kept for those who have less than {little}: others' \
             are taken; raise it, shorten `retain`, or see which subscription holds events \
             (`hotdock events subscriptions`)"
        )))
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
