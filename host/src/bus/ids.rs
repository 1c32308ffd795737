//! Which outside events are here: repeats are known by `source` and `id`.
//!
//! A table with an index over ids would be rewritten all over: ids are random,
//! so each event would change a page of its own. Here, what a commit appends is
//! one row of `recent_ids`, and all that is recent is in memory too. When there
//! are enough they become a *run*: sorted, cut into blocks by their first bits,
//! written once, and in memory no more than filters that say which run a block
//! is worth reading of. A run goes when all its events are trimmed. (The shape is
//! that of a log-structured merge tree, O'Neil et al. 1996, that never merges.)

mod runs;

use std::collections::HashSet;

use foldhash::fast::RandomState;
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::{Position, Sender};
use crate::event::Event;
use runs::{Run, Runs};

/// What an event is known by: 128 bits of a SHA-256 digest.
pub(super) type IdDigest = u128;

/// Stands where the length of an operator's `source` would: no source is so long, so that
/// nobody's digest is the operator's. Those of the operator are what all were before senders
/// were told apart, so that a log that is older needs no other format.
const NOT_THE_OPERATORS: u64 = u64::MAX;

/// The digest of an event's sender, `source` and `id`.
pub(super) fn digest(sender: Sender, event: &Event) -> IdDigest {
    let mut hasher = Sha256::new();
    if let Sender::Anybody(network) = sender {
        hasher.update(NOT_THE_OPERATORS.to_le_bytes());
        hasher.update(network.octets());
    }
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
    /// With those that the open group adds. Hashed with a seed of this process's own, since
    /// who publishes can choose digests.
    recent: HashSet<IdDigest, RandomState>,
    runs: Runs,
    run_ids: usize,
    change: Change,
}

/// What becomes so when the group is committed.
#[derive(Default)]
struct Change {
    added: Vec<IdDigest>,
    trimmed: Vec<IdDigest>,
    trimmed_runs: usize,
    /// All that is recent became this run.
    sealed: Option<Run>,
}

impl Ids {
    /// Reads what the file has.
    pub(super) fn load(connection: &Connection, run_ids: usize) -> rusqlite::Result<Self> {
        let mut recent = HashSet::default();
        let mut statement = connection.prepare("SELECT digests FROM recent_ids")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            recent.extend(digests(row.get_ref(0)?.as_blob()?));
        }
        let runs = Runs::load(connection, run_ids)?;
        Ok(Self { recent, runs, run_ids, change: Change::default() })
    }

    /// Adds an id, unless it is here.
    pub(super) fn add(&mut self, connection: &Connection, id: IdDigest) -> rusqlite::Result<bool> {
        if !self.recent.insert(id) {
            return Ok(false);
        }
        let known = self.runs.have(connection, id);
        if let Ok(false) = known {
            self.change.added.push(id);
            return Ok(true);
        }
        self.recent.remove(&id);
        known.map(|_| false)
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
        self.change.trimmed_runs =
            self.runs.delete_before(connection, first, self.change.trimmed_runs)?;
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
        self.runs.forget_first(change.trimmed_runs);
        match change.sealed {
            Some(run) => self.runs.push(run, self.recent.drain()),
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
        self.change.sealed = Some(self.runs.write(connection, &all, last)?);
        connection.execute("DELETE FROM recent_ids", [])?;
        Ok(())
    }
}

fn digests(row: &[u8]) -> impl Iterator<Item = IdDigest> {
    let (digests, _) = row.as_chunks::<16>();
    digests.iter().map(|digest| IdDigest::from_be_bytes(*digest))
}
