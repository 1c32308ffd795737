//! Which outside events are here: repeats are known by `source` and `id`.
//!
//! A table with an index over ids would be rewritten all over: ids are random,
//! so each event would change a page of its own. Here, what a commit appends is
//! one row of `recent_ids`, and all that is recent is in memory too. When there
//! are enough they become a *run*: sorted, cut into blocks by their first bits,
//! written once, and in memory no more than a filter that says which run a block
//! is worth reading of. A run goes when all its events are trimmed. (The shape is
//! that of a log-structured merge tree, O'Neil et al. 1996, that never merges.)

use std::collections::HashSet;
use std::ops::RangeInclusive;

use fastbloom::BloomFilter;
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::Position;
use crate::event::Event;

/// What an event is known by: 128 bits of a SHA-256 digest.
pub(super) type IdDigest = u128;

/// The bits of a digest that say which block of a run it is in.
const BLOCK_BITS: u32 = 12;

/// How often a filter may say that a run has a digest when it has not.
const FALSE_POSITIVES: f64 = 0.001;

/// The digest of an event's `source` and `id`.
pub(super) fn digest(event: &Event) -> IdDigest {
    let mut hasher = Sha256::new();
    // Its length, so that the end of the one is not the start of the other.
    hasher.update((event.source.len() as u64).to_le_bytes());
    hasher.update(&event.source);
    hasher.update(&event.id);
    let digest: [u8; 32] = hasher.finalize().into();
    let (half, _) = digest.split_at(16);
    IdDigest::from_be_bytes(half.try_into().expect("half of 32 bytes are 16"))
}

/// The ids of outside events, and what the open group changes of them.
pub(super) struct Ids {
    /// With those that the open group adds.
    recent: HashSet<IdDigest>,
    /// Oldest first.
    runs: Vec<Run>,
    run_ids: usize,
    change: Change,
}

struct Run {
    number: u64,
    /// Of the last event in it.
    position: Position,
    filter: BloomFilter,
}

/// What becomes so when the group is committed.
#[derive(Default)]
struct Change {
    added: Vec<IdDigest>,
    trimmed: Vec<IdDigest>,
    trimmed_runs: usize,
    sealed: Option<Run>,
}

impl Ids {
    /// Reads what the file has.
    pub(super) fn load(connection: &Connection, run_ids: usize) -> rusqlite::Result<Self> {
        let mut recent = HashSet::new();
        let mut statement = connection.prepare("SELECT digests FROM recent_ids")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            recent.extend(digests(row.get_ref(0)?.as_blob()?));
        }
        let mut runs = Vec::new();
        let mut statement =
            connection.prepare("SELECT run, position, ids FROM id_run ORDER BY run")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (number, ids): (u64, usize) = (row.get(0)?, row.get(2)?);
            let filter = load_filter(connection, number, ids)?;
            runs.push(Run { number, position: row.get(1)?, filter });
        }
        Ok(Self { recent, runs, run_ids, change: Change::default() })
    }

    /// Adds an id, unless it is here.
    pub(super) fn add(&mut self, connection: &Connection, id: IdDigest) -> rusqlite::Result<bool> {
        if self.recent.contains(&id) {
            return Ok(false);
        }
        // A client repeats what it sent lately.
        for run in self.runs.iter().rev() {
            if run.filter.contains_hash(filtered(id)) && run.has(connection, id)? {
                return Ok(false);
            }
        }
        self.recent.insert(id);
        self.change.added.push(id);
        Ok(true)
    }

    /// How many the open group has added.
    pub(super) fn added(&self) -> usize {
        self.change.added.len()
    }

    /// Takes back what the open group added after it had added so many.
    pub(super) fn take_back_to(&mut self, added: usize) {
        for id in self.change.added.drain(added..) {
            self.recent.remove(&id);
        }
    }

    /// Writes what the group added; `last` is its last event's position.
    pub(super) fn write(
        &mut self,
        connection: &Connection,
        last: Position,
    ) -> rusqlite::Result<()> {
        if self.change.added.is_empty() {
            return Ok(());
        }
        if self.recent.len() >= self.run_ids {
            return self.seal(connection, last);
        }
        let row: Vec<u8> = self.change.added.iter().flat_map(|id| id.to_be_bytes()).collect();
        connection
            .prepare_cached("INSERT INTO recent_ids VALUES (?1, ?2)")?
            .execute((last, row))?;
        Ok(())
    }

    /// Forgets ids whose events are all before `first`.
    pub(super) fn trim(
        &mut self,
        connection: &Connection,
        first: Position,
    ) -> rusqlite::Result<()> {
        let gone = self.runs.iter().take_while(|run| run.position < first).count();
        for run in self.runs.iter().take(gone).skip(self.change.trimmed_runs) {
            let blocks = blocks(run.number);
            connection
                .prepare_cached("DELETE FROM id_block WHERE block BETWEEN ?1 AND ?2")?
                .execute((blocks.start(), blocks.end()))?;
            connection
                .prepare_cached("DELETE FROM id_run WHERE run = ?1")?
                .execute([run.number])?;
        }
        self.change.trimmed_runs = gone;
        let mut statement = connection
            .prepare_cached("DELETE FROM recent_ids WHERE position < ?1 RETURNING digests")?;
        let mut rows = statement.query([first])?;
        while let Some(row) = rows.next()? {
            self.change.trimmed.extend(digests(row.get_ref(0)?.as_blob()?));
        }
        Ok(())
    }

    /// The group is committed.
    pub(super) fn keep(&mut self) {
        let change = std::mem::take(&mut self.change);
        self.runs.drain(..change.trimmed_runs);
        match change.sealed {
            Some(run) => {
                self.recent = HashSet::new();
                self.runs.push(run);
            }
            None => {
                for id in change.trimmed {
                    self.recent.remove(&id);
                }
            }
        }
    }

    /// The group is given up.
    pub(super) fn give_up(&mut self) {
        self.take_back_to(0);
        self.change = Change::default();
    }

    /// Makes all that is recent a run.
    fn seal(&mut self, connection: &Connection, last: Position) -> rusqlite::Result<()> {
        let mut all: Vec<IdDigest> = self.recent.iter().copied().collect();
        all.sort_unstable();
        let number = self.runs.last().map_or(1, |run| run.number + 1);
        let mut filter = filter(all.len());
        let mut insert = connection.prepare_cached("INSERT INTO id_block VALUES (?1, ?2)")?;
        for chunk in all.chunk_by(|one, next| block(number, *one) == block(number, *next)) {
            let row: Vec<u8> = chunk.iter().flat_map(|id| id.to_be_bytes()).collect();
            insert.execute((block(number, chunk[0]), row))?;
        }
        for id in all.iter().copied() {
            filter.insert_hash(filtered(id));
        }
        connection
            .prepare_cached("INSERT INTO id_run (run, ids, position) VALUES (?1, ?2, ?3)")?
            .execute((number, all.len(), last))?;
        connection.execute("DELETE FROM recent_ids", [])?;
        self.change.sealed = Some(Run { number, position: last, filter });
        Ok(())
    }
}

impl Run {
    fn has(&self, connection: &Connection, id: IdDigest) -> rusqlite::Result<bool> {
        let mut statement =
            connection.prepare_cached("SELECT digests FROM id_block WHERE block = ?1")?;
        let mut rows = statement.query([block(self.number, id)])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        Ok(digests(row.get_ref(0)?.as_blob()?).any(|other| other == id))
    }
}

fn load_filter(connection: &Connection, run: u64, ids: usize) -> rusqlite::Result<BloomFilter> {
    let mut filter = filter(ids);
    let blocks = blocks(run);
    let mut statement =
        connection.prepare_cached("SELECT digests FROM id_block WHERE block BETWEEN ?1 AND ?2")?;
    let mut rows = statement.query((blocks.start(), blocks.end()))?;
    while let Some(row) = rows.next()? {
        for id in digests(row.get_ref(0)?.as_blob()?) {
            filter.insert_hash(filtered(id));
        }
    }
    Ok(filter)
}

fn filter(ids: usize) -> BloomFilter {
    BloomFilter::with_false_pos(FALSE_POSITIVES).expected_items(ids)
}

/// What the filters know an id by: no hash of it, as it is one.
fn filtered(id: IdDigest) -> u64 {
    id as u64
}

fn digests(row: &[u8]) -> impl Iterator<Item = IdDigest> {
    let (digests, _) = row.as_chunks::<16>();
    digests.iter().map(|digest| IdDigest::from_be_bytes(*digest))
}

/// The block of a run that an id is in.
fn block(run: u64, id: IdDigest) -> u64 {
    let first_bits = (id >> (IdDigest::BITS - BLOCK_BITS)) as u64;
    run << BLOCK_BITS | first_bits
}

/// All blocks of a run.
fn blocks(run: u64) -> RangeInclusive<u64> {
    run << BLOCK_BITS..=((run + 1) << BLOCK_BITS) - 1
}
