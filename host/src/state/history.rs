//! What was written when: enough to tell whether a transaction read something
//! that is no longer so.
//!
//! Held in memory, because a snapshot never outlives the process. Keys are known
//! by a hash: two that collide make a conflict where there is none, which costs
//! a second run and nothing else.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

/// Keys remembered in one generation.
const GENERATION: usize = 1 << 16;

/// A commit's number, counted from the process's start; a snapshot has that of
/// the last commit that was certain to be in it.
pub(super) type Sequence = u64;

/// What a transaction read outside its own writes.
#[derive(Debug, Default)]
pub(super) struct ReadSet {
    keys: HashSet<u64>,
    listed: HashSet<u64>,
    sql: bool,
}

/// What a transaction wrote, as far as others' reads can meet it.
#[derive(Debug, Default)]
pub(super) struct Footprint {
    pub(super) keys: Vec<u64>,
    /// Buckets whose set of keys may have changed.
    pub(super) key_sets: Vec<u64>,
    pub(super) sql: bool,
}

/// The last commit that wrote each key, each bucket's set of keys, and by SQL.
#[derive(Debug, Default)]
pub(super) struct History {
    current: HashMap<u64, Sequence>,
    previous: HashMap<u64, Sequence>,
    /// A snapshot older than this cannot be judged any more.
    floor: Sequence,
    /// The newest commit in the previous generation.
    previous_newest: Sequence,
    sql: Sequence,
}

/// Names keys and buckets by number; the same for a store's lifetime.
#[derive(Debug, Default)]
pub(super) struct Fingerprint(RandomState);

impl Fingerprint {
    pub(super) fn key(&self, bucket: &str, key: &str) -> u64 {
        self.0.hash_one((0_u8, bucket, key))
    }

    pub(super) fn key_set(&self, bucket: &str) -> u64 {
        self.0.hash_one((1_u8, bucket))
    }
}

impl ReadSet {
    pub(super) fn key(&mut self, fingerprint: u64) {
        self.keys.insert(fingerprint);
    }

    pub(super) fn key_set(&mut self, fingerprint: u64) {
        self.listed.insert(fingerprint);
    }

    pub(super) fn sql(&mut self) {
        self.sql = true;
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.sql && self.keys.is_empty() && self.listed.is_empty()
    }
}

impl History {
    /// A history that knows nothing of what was before `commit`.
    pub(super) fn since(commit: Sequence) -> Self {
        Self { floor: commit, previous_newest: commit, ..Self::default() }
    }

    /// Whether all of `reads`, made in a snapshot of `snapshot`, is still so.
    pub(super) fn still_holds(&self, reads: &ReadSet, snapshot: Sequence) -> bool {
        let unchanged = |fingerprint: &u64| {
            let written = self.current.get(fingerprint).or_else(|| self.previous.get(fingerprint));
            written.is_none_or(|&written| written <= snapshot)
        };
        snapshot >= self.floor
            && !(reads.sql && self.sql > snapshot)
            && reads.keys.iter().chain(&reads.listed).all(unchanged)
    }

    /// Remembers that `commit` wrote this.
    pub(super) fn record(&mut self, footprint: &Footprint, commit: Sequence) {
        if self.current.len() >= GENERATION {
            self.floor = self.previous_newest;
            self.previous = std::mem::take(&mut self.current);
            self.previous_newest = commit;
        }
        for &fingerprint in footprint.keys.iter().chain(&footprint.key_sets) {
            self.current.insert(fingerprint, commit);
        }
        if footprint.sql {
            self.sql = commit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrote(keys: &[u64]) -> Footprint {
        Footprint { keys: keys.to_vec(), ..Footprint::default() }
    }

    #[test]
    fn a_read_holds_until_its_key_is_written() {
        let mut history = History::default();
        let mut reads = ReadSet::default();
        reads.key(7);
        history.record(&wrote(&[8]), 1);
        assert!(history.still_holds(&reads, 0));
        history.record(&wrote(&[7]), 2);
        assert!(!history.still_holds(&reads, 1));
        assert!(history.still_holds(&reads, 2));
    }

    #[test]
    fn what_was_forgotten_counts_as_changed() {
        let mut history = History::default();
        history.record(&wrote(&[7]), 1);
        for commit in 2..4 {
            let keys: Vec<u64> = (0..GENERATION as u64).map(|key| commit << 32 | key).collect();
            history.record(&wrote(&keys), commit);
        }
        history.record(&wrote(&[1]), 4);
        let reads = ReadSet::default();
        assert!(!history.still_holds(&reads, 0), "older than what is remembered");
        assert!(history.still_holds(&reads, 4));
    }
}
