//! What an invocation buffered and published is written in its group, for so long and no longer.

use std::time::Instant;

use bytes::Bytes;

use super::Writer;
use crate::state::error::Error;
use crate::state::history::Footprint;
use crate::state::keyvalue;
use crate::state::outbox::{self, Publication};
use crate::state::snapshot::Writes;

/// After so many writes of an invocation the clock is looked at.
const LOOK_EVERY: usize = 16;

impl Writer {
    pub(in crate::state) fn publish(&mut self, publications: &[Publication]) -> Result<(), Error> {
        let began = self.begin_to_apply(publications.len());
        self.publish_since(publications, began)
    }

    pub(super) fn publish_since(
        &mut self,
        publications: &[Publication],
        began: Option<Instant>,
    ) -> Result<(), Error> {
        let Some(group) = self.group.as_ref().filter(|_| !publications.is_empty()) else {
            return Ok(());
        };
        let last = group.published.last().map_or(0, |last| last.sequence);
        let last = last.max(self.core.outbox.highest());
        let before = group.published.len();
        for some in publications.chunks(LOOK_EVERY) {
            let Some(group) = &mut self.group else { return Ok(()) };
            let inserted = outbox::insert(&self.connection, some, &mut group.published);
            inserted.map_err(|error| self.group_failed(&error))?;
            self.apply_no_longer(began, || format!("{} events", publications.len()))?;
        }
        let published = self.group.as_ref().and_then(|group| group.published.get(before));
        match published.map(|first| first.sequence).filter(|&first| first <= last) {
            Some(sequence) => Err(self.out_of_order(sequence, last)),
            None => Ok(()),
        }
    }

    /// What would be published would be taken for what the bus has already: nothing is.
    fn out_of_order(&mut self, sequence: u64, last: u64) -> Error {
        let service = &self.core.service;
        let reason = format!(
            "its outbox gives out sequence {sequence}, and has given out {last} before: its file \
             was changed by hand; start the host again, and it publishes under a new identity"
        );
        tracing::error!(service, sequence, last, "nothing is published: {reason}");
        let error = Error::Unavailable(reason);
        self.break_group(&error);
        error
    }

    /// When so many writes of an invocation began; those that write little never look at the
    /// clock.
    pub(super) fn begin_to_apply(&self, writes: usize) -> Option<Instant> {
        (writes >= LOOK_EVERY).then(Instant::now)
    }

    /// Refuses an invocation whose writes take too long. Its group is undone, and the others in
    /// it are done again without it.
    pub(super) fn apply_no_longer(
        &mut self,
        began: Option<Instant>,
        what: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        let limit = self.core.options.apply_timeout;
        if began.is_none_or(|began| began.elapsed() <= limit) {
            return Ok(());
        }
        let what = what();
        let error = Error::Limit(format!(
            "to write its {what} takes longer than {limit:?}: commit in parts"
        ));
        self.break_group(&error);
        Err(error)
    }

    /// Applies what an invocation buffered.
    pub(super) fn apply(
        &mut self,
        writes: &Writes,
        began: Option<Instant>,
        footprint: &mut Footprint,
    ) -> Result<(), Error> {
        for (number, (bucket, key, value)) in writes.iter().enumerate() {
            let written = self.write(bucket, key, value.map(Bytes::as_ref), footprint);
            written.map_err(|error| self.group_failed(&error))?;
            if number % LOOK_EVERY == LOOK_EVERY - 1 {
                self.apply_no_longer(began, || format!("{} keys", writes.keys()))?;
            }
        }
        Ok(())
    }

    pub(super) fn write(
        &self,
        bucket: &str,
        key: &str,
        value: Option<&[u8]>,
        footprint: &mut Footprint,
    ) -> rusqlite::Result<()> {
        let key_set_changed = match value {
            Some(value) => keyvalue::set(&self.connection, bucket, key, value)?,
            None => keyvalue::delete(&self.connection, bucket, key)?,
        };
        footprint.keys.push(self.core.fingerprint.key(bucket, key));
        if key_set_changed {
            footprint.key_sets.push(self.core.fingerprint.key_set(bucket));
        }
        Ok(())
    }
}
