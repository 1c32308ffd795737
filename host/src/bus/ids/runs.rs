//! Runs: sorted ids in the file, and the filters that say which of them to read.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use fastbloom::BloomFilter;
use rusqlite::Connection;

use super::{IdDigest, digests};
use crate::bus::Position;

/// The bits of a digest that say which block of a run it is in.
const BLOCK_BITS: u32 = 12;

/// How many runs share a filter, which is asked before theirs: an id that is new costs two
/// places in memory for so many runs, not for each.
const RUNS_TOGETHER: usize = 16;

/// How often the filter of several runs may say that they have an id when they have not.
const FALSE_POSITIVES_TOGETHER: f64 = 0.01;

/// The same of a run's own.
const FALSE_POSITIVES: f64 = 0.001;

/// All runs. In memory they take three bytes for each id.
pub(super) struct Runs {
    /// Oldest first.
    generations: VecDeque<Generation>,
    run_ids: usize,
}

/// Runs that came one after the other.
struct Generation {
    filter: BloomFilter,
    /// Oldest first.
    runs: VecDeque<(Run, BloomFilter)>,
    is_full: bool,
}

/// A run, as the file has it.
#[derive(Clone, Copy)]
pub(super) struct Run {
    number: u64,
    /// Of the last event in it.
    position: Position,
    ids: usize,
}

impl Runs {
    /// Reads what the file has.
    pub(super) fn load(connection: &Connection, run_ids: usize) -> rusqlite::Result<Self> {
        let mut runs = Self { generations: VecDeque::new(), run_ids };
        let mut statement =
            connection.prepare("SELECT run, position, ids FROM id_run ORDER BY run")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let run = Run { number: row.get(0)?, position: row.get(1)?, ids: row.get(2)? };
            let mut ids = Vec::with_capacity(run.ids);
            let blocks = blocks(run.number);
            let mut statement = connection
                .prepare_cached("SELECT digests FROM id_block WHERE block BETWEEN ?1 AND ?2")?;
            let mut rows = statement.query((blocks.start(), blocks.end()))?;
            while let Some(row) = rows.next()? {
                ids.extend(digests(row.get_ref(0)?.as_blob()?));
            }
            runs.push(run, ids);
        }
        Ok(runs)
    }

    /// Whether one of them has the id.
    pub(super) fn have(&self, connection: &Connection, id: IdDigest) -> rusqlite::Result<bool> {
        let hash = filtered(id);
        // A client repeats what it sent lately.
        let generations = self.generations.iter().rev();
        let runs = generations
            .filter(|generation| generation.filter.contains_hash(hash))
            .flat_map(|generation| generation.runs.iter().rev());
        for (run, filter) in runs {
            if filter.contains_hash(hash) && run.has(connection, id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes a run of these ids, which are sorted; `last` is the last one's event.
    pub(super) fn write(
        &self,
        connection: &Connection,
        ids: &[IdDigest],
        last: Position,
    ) -> rusqlite::Result<Run> {
        let newest = self.generations.back().and_then(|generation| generation.runs.back());
        let number = newest.map_or(1, |(run, _)| run.number + 1);
        let mut insert = connection.prepare_cached("INSERT INTO id_block VALUES (?1, ?2)")?;
        for chunk in ids.chunk_by(|one, next| block(number, *one) == block(number, *next)) {
            let row: Vec<u8> = chunk.iter().flat_map(|id| id.to_be_bytes()).collect();
            insert.execute((block(number, chunk[0]), row))?;
        }
        connection
            .prepare_cached("INSERT INTO id_run (run, ids, position) VALUES (?1, ?2, ?3)")?
            .execute((number, ids.len(), last))?;
        Ok(Run { number, position: last, ids: ids.len() })
    }

    /// A run with these ids is in the file.
    pub(super) fn push(&mut self, run: Run, ids: impl IntoIterator<Item = IdDigest>) {
        if self.generations.back().is_none_or(|generation| generation.is_full) {
            self.generations.push_back(Generation {
                filter: filter(RUNS_TOGETHER * self.run_ids, FALSE_POSITIVES_TOGETHER),
                runs: VecDeque::with_capacity(RUNS_TOGETHER),
                is_full: false,
            });
        }
        let Some(generation) = self.generations.back_mut() else { return };
        let mut own = filter(run.ids, FALSE_POSITIVES);
        for hash in ids.into_iter().map(filtered) {
            own.insert_hash(hash);
            generation.filter.insert_hash(hash);
        }
        generation.runs.push_back((run, own));
        // Also when older ones of them are gone by then, whose bits stay.
        generation.is_full |= run.number.is_multiple_of(RUNS_TOGETHER as u64);
    }

    /// Deletes those from the file whose events are all before `first`; the first `deleted`
    /// are already. Returns how many are in all.
    pub(super) fn delete_before(
        &self,
        connection: &Connection,
        first: Position,
        deleted: usize,
    ) -> rusqlite::Result<usize> {
        let runs = self.generations.iter().flat_map(|generation| &generation.runs);
        let gone: Vec<Run> =
            runs.map(|(run, _)| *run).take_while(|run| run.position < first).collect();
        for run in gone.iter().skip(deleted) {
            let blocks = blocks(run.number);
            connection
                .prepare_cached("DELETE FROM id_block WHERE block BETWEEN ?1 AND ?2")?
                .execute((blocks.start(), blocks.end()))?;
            connection
                .prepare_cached("DELETE FROM id_run WHERE run = ?1")?
                .execute([run.number])?;
        }
        Ok(gone.len())
    }

    /// The first `gone` are no longer in the file.
    pub(super) fn forget_first(&mut self, gone: usize) {
        for _ in 0..gone {
            let Some(oldest) = self.generations.front_mut() else { return };
            oldest.runs.pop_front();
            if oldest.runs.is_empty() {
                self.generations.pop_front();
            }
        }
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

fn filter(ids: usize, false_positives: f64) -> BloomFilter {
    BloomFilter::with_false_pos(false_positives).expected_items(ids)
}

/// What the filters know an id by: no hash of it, as it is one.
fn filtered(id: IdDigest) -> u64 {
    id as u64
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
