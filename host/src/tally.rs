//! Counts by name, of what happens rarely.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How often each of a few named things happened.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Tally {
    /// It happened once more.
    pub fn note(&self, what: &'static str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    /// What happened, and how often.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(what, count)| (*what, *count)).collect()
    }
}
