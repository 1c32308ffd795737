//! A group: what is committed at once.

use rusqlite::Connection;

use super::error::{BusError, JobError};
use super::ids::{IdDigest, Ids};
use super::shared::{Extent, Shared};
use super::shares::{OverShare, Shares};
use super::{Appended, Position, Publisher, Recorded, rows, skipped};
use crate::event::Written;
use crate::failpoint;

/// Tells one that waits what became of the group.
pub(super) type Waiting = Box<dyn FnOnce(Result<(), BusError>) + Send>;

/// Jobs that are in SQLite's open transaction.
pub(super) struct Group<'w> {
    pub(super) connection: &'w Connection,
    shared: &'w Shared,
    ids: &'w mut Ids,
    shares: &'w mut Shares,
    before: Extent,
    /// The log once this is committed.
    pub(super) extent: Extent,
    pub(super) appended: Vec<Recorded>,
    /// Bytes of the texts that came, and of those that went.
    pub(super) changed_bytes: u64,
    /// When its events came, in ms since 1970.
    recorded_at: u64,
    pub(super) waiting: Vec<Waiting>,
}

impl<'w> Group<'w> {
    pub(super) fn new(
        connection: &'w Connection,
        shared: &'w Shared,
        ids: &'w mut Ids,
        shares: &'w mut Shares,
        extent: Extent,
    ) -> Self {
        Self {
            connection,
            shared,
            ids,
            shares,
            before: extent,
            extent,
            appended: Vec::new(),
            changed_bytes: 0,
            recorded_at: shared.options.clock.now_ms(),
            waiting: Vec::new(),
        }
    }

    /// Calls `tell` once it is known what became of the group.
    pub(super) fn tell(&mut self, tell: impl FnOnce(Result<(), BusError>) + Send + 'static) {
        self.waiting.push(Box::new(tell));
    }

    /// Whether it has enough to be committed.
    pub(super) fn is_large(&self) -> bool {
        self.changed_bytes >= self.shared.options.group_bytes
    }

    /// Appends those from outside that are not here.
    pub(super) fn append(
        &mut self,
        publisher: &Publisher,
        entries: Vec<(IdDigest, Written)>,
    ) -> Result<Appended, JobError> {
        let known = self.ids.added();
        let mut fresh = Vec::with_capacity(entries.len());
        let mut repeats = Vec::new();
        for (index, (id, entry)) in entries.into_iter().enumerate() {
            if self.ids.add(self.connection, id)? {
                fresh.push(entry);
            } else {
                repeats.push(index);
            }
        }
        if let Err(full) = self.room_for(publisher, fresh.iter()) {
            self.ids.take_back_to(known);
            return Err(full);
        }
        let accepted = fresh.len();
        self.insert(publisher, fresh)?;
        Ok(Appended { accepted, repeats })
    }

    /// Appends a store's outbox, which goes on above what is here of it. Returns its highest
    /// sequence here. One that is not above is not skipped: it may be another event.
    pub(super) fn relay(
        &mut self,
        publisher: &Publisher,
        store_id: &str,
        entries: Vec<(u64, Written)>,
    ) -> Result<u64, JobError> {
        let known = super::readers::relayed(self.connection, store_id)?;
        let mut last = known;
        for &(sequence, _) in &entries {
            if sequence <= last {
                return Err(JobError::Refused(BusError::NotAbove { sequence, last }));
            }
            last = sequence;
        }
        self.room_for(publisher, entries.iter().map(|(_, entry)| entry))?;
        self.insert(publisher, entries.into_iter().map(|(_, entry)| entry).collect())?;
        if last > known {
            self.connection
                .prepare_cached("INSERT OR REPLACE INTO source (store_id, last) VALUES (?1, ?2)")?
                .execute((store_id, last))?;
        }
        Ok(last)
    }

    /// Refuses what there is no room for, before anything of it is written.
    pub(super) fn room_for<'e>(
        &self,
        publisher: &Publisher,
        entries: impl Iterator<Item = &'e Written>,
    ) -> Result<(), JobError> {
        let wanted: usize = entries.map(|entry| entry.text.len()).sum();
        let wanted = wanted as u64;
        let (has, max) = (self.extent.bytes, self.shared.options.max_bytes);
        let free = max.saturating_sub(has);
        if wanted > free {
            self.shared.note_full();
            return Err(JobError::Refused(BusError::Full(format!(
                "it has {has} bytes of events and may have {max} ([events] max-bytes)"
            ))));
        }
        // Whoever has its share is told so only where there is room for others.
        self.shares.room_for(publisher, wanted, free, max).map_err(|over| {
            self.shared.note_share_full(publisher);
            JobError::Refused(BusError::ShareFull(match over {
                OverShare::Own(reason) => reason,
                OverShare::Kept(reason) => {
                    self.shared.note_full();
                    reason
                }
            }))
        })
    }

    /// Appends events; there must be room for them.
    pub(super) fn insert(
        &mut self,
        publisher: &Publisher,
        entries: Vec<Written>,
    ) -> Result<(), JobError> {
        let first = self.extent.last + 1;
        let before = self.extent.bytes;
        rows::insert(self.connection, first, self.recorded_at, &entries)?;
        for entry in entries {
            let bytes = entry.text.len();
            self.extent.last += 1;
            self.extent.bytes += bytes as u64;
            self.changed_bytes += bytes as u64;
            self.appended.push(Recorded {
                position: self.extent.last,
                recorded_at: self.recorded_at,
                bytes,
                event: entry.event,
            });
        }
        if self.extent.last >= first {
            let bytes = self.extent.bytes - before;
            self.shares.added(publisher, first, self.extent.last, bytes);
        }
        Ok(())
    }

    /// Gives out no position up to this one. Returns whether one of them would have
    /// been.
    pub(super) fn skip_to(&mut self, position: Position) -> Result<bool, JobError> {
        let Extent { first, last, .. } = self.extent;
        if position <= last {
            return Ok(false);
        }
        skipped::set_last(self.connection, position)?;
        if first > last {
            self.extent.first = position + 1;
        } else {
            skipped::add(self.connection, last + 1, position)?;
            self.extent.skipped += position - last;
        }
        self.extent.last = position;
        Ok(true)
    }

    /// Takes the events up to `last` out, which have `bytes`.
    pub(super) fn trim(&mut self, last: Position, bytes: u64) -> Result<(), JobError> {
        self.shares.trim(self.connection, last)?;
        self.connection
            .prepare_cached("DELETE FROM event WHERE position <= ?1")?
            .execute([last])?;
        self.trimmed(last + 1, bytes)
    }

    /// Nothing before `first` is in the log from here on; `bytes` less are.
    fn trimmed(&mut self, first: Position, bytes: u64) -> Result<(), JobError> {
        self.ids.trim(self.connection, first)?;
        let first = skipped::trim(self.connection, first)?;
        self.extent.skipped = skipped::after(self.connection, first)?;
        self.extent.first = first;
        self.changed_bytes += bytes;
        self.extent.bytes = self.extent.bytes.saturating_sub(bytes);
        Ok(())
    }

    /// Commits it. It is durable once the log is synced.
    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        self.ids.write(self.connection, self.extent.last)?;
        self.shares.write(self.connection)?;
        if self.extent.bytes != self.before.bytes {
            self.connection
                .prepare_cached("UPDATE log SET bytes = ?1")?
                .execute([self.extent.bytes])?;
        }
        if let Some(before_commit) = &self.shared.options.before_commit {
            before_commit();
        }
        failpoint::pass("before bus commit");
        self.connection.execute_batch("COMMIT")
    }
}
