//! The inbox: how far a store's subscriptions have come on the bus.
//!
//! A subscription's *cursor* is the position up to which everything is finished;
//! what finished ahead of it has a row in `_done`. Both are written by the commit
//! that has the effects, once a group: so an event's effect is there if and only
//! if its position counts as finished.
//!
//! Positions are known here from when they are *scanned* (read off the bus):
//! those that the subscription wants and that are not finished are *outstanding*,
//! and consuming one twice is refused.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _};

use super::error::Error;
use super::store::Store;

/// An event that a transaction is to finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumption {
    /// The subscription's name in its store.
    pub subscription: Arc<str>,
    /// The event's position on the bus.
    pub position: u64,
    /// Whether it is among the held, rather than outstanding.
    pub held: bool,
}

/// How far a subscription has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here is finished, durably.
    pub cursor: u64,
    /// Everything up to here was read off the bus.
    pub scanned: u64,
    /// What was read and is not finished.
    pub outstanding: usize,
    /// The first of those.
    pub first_outstanding: Option<u64>,
}

/// A row of `_cursor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The subscription's name in its store.
    pub subscription: String,
    /// Everything up to here is finished.
    pub position: u64,
    /// The last event that it wants, where it has an end: a replay.
    pub until: Option<u64>,
}

/// All subscriptions of one store.
#[derive(Default)]
pub(super) struct Inbox {
    tracks: Mutex<HashMap<Arc<str>, Track>>,
}

#[derive(Default)]
struct Track {
    cursor: u64,
    scanned: u64,
    outstanding: BTreeSet<u64>,
    /// Finished in the open group.
    taken: BTreeSet<u64>,
    /// Finished ahead of the cursor, durably.
    done: BTreeSet<u64>,
}

/// What a commit does to one subscription's rows.
pub(super) struct Advance {
    subscription: Arc<str>,
    from: u64,
    cursor: u64,
    /// Finished in this group and ahead of the cursor.
    ahead: Vec<u64>,
    /// Whether rows fall behind the cursor.
    passes: bool,
}

impl Inbox {
    /// Whether the subscription is loaded.
    pub(super) fn has(&self, subscription: &str) -> bool {
        self.lock().contains_key(subscription)
    }

    /// Takes an outstanding position for the open group. False where it is
    /// finished already, or not known.
    pub(super) fn take(&self, subscription: &str, position: u64) -> bool {
        let mut tracks = self.lock();
        let Some(track) = tracks.get_mut(subscription) else { return false };
        track.outstanding.remove(&position) && track.taken.insert(position)
    }

    /// What the group's commit is to write for these subscriptions.
    pub(super) fn advances<'a>(
        &self,
        subscriptions: impl Iterator<Item = &'a Arc<str>>,
    ) -> Vec<Advance> {
        let tracks = self.lock();
        let mut advances: Vec<Advance> = Vec::new();
        for subscription in subscriptions {
            let known = advances.iter().any(|advance| advance.subscription == *subscription);
            if let Some(track) = tracks.get(subscription).filter(|_| !known) {
                advances.push(track.advance(subscription));
            }
        }
        advances
    }

    /// The group is durable.
    pub(super) fn confirm(&self, advances: &[Advance]) {
        let mut tracks = self.lock();
        for advance in advances {
            if let Some(track) = tracks.get_mut(&advance.subscription) {
                track.cursor = advance.cursor;
                track.done = track.done.split_off(&(advance.cursor + 1));
                track.done.extend(&advance.ahead);
                track.taken.clear();
            }
        }
    }

    /// The group is undone.
    pub(super) fn give_back<'a>(&self, subscriptions: impl Iterator<Item = &'a Arc<str>>) {
        let mut tracks = self.lock();
        for subscription in subscriptions {
            if let Some(track) = tracks.get_mut(subscription) {
                let taken = std::mem::take(&mut track.taken);
                track.outstanding.extend(taken);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Track>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Track {
    fn advance(&self, subscription: &Arc<str>) -> Advance {
        let cursor = match self.outstanding.first() {
            Some(first) => first - 1,
            None => self.scanned,
        };
        let cursor = cursor.max(self.cursor);
        Advance {
            subscription: Arc::clone(subscription),
            from: self.cursor,
            cursor,
            ahead: self.taken.range(cursor + 1..).copied().collect(),
            passes: self.done.first().is_some_and(|first| *first <= cursor),
        }
    }
}

/// Writes where the group's subscriptions have come to.
pub(super) fn write(connection: &Connection, advances: &[Advance]) -> rusqlite::Result<()> {
    for Advance { subscription, from, cursor, ahead, passes } in advances {
        if cursor > from {
            connection
                .prepare_cached("UPDATE _cursor SET position = ?2 WHERE subscription = ?1")?
                .execute((subscription, cursor))?;
        }
        if *passes {
            connection
                .prepare_cached("DELETE FROM _done WHERE subscription = ?1 AND position <= ?2")?
                .execute((subscription, cursor))?;
        }
        for position in ahead {
            connection
                .prepare_cached("INSERT INTO _done (subscription, position) VALUES (?1, ?2)")?
                .execute((subscription, position))?;
        }
    }
    Ok(())
}

impl Store {
    /// Makes sure that these subscriptions have a cursor: those that are new
    /// begin after their position. Durable when it returns.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn begin_subscriptions(self: &Arc<Self>, cursors: Vec<Cursor>) -> Result<(), Error> {
        if cursors.is_empty() {
            return Ok(());
        }
        let (committed, ()) = self
            .host_member(move |writer| {
                let mut insert = writer
                    .connection
                    .prepare_cached("INSERT OR IGNORE INTO _cursor VALUES (?1, ?2, ?3)")?;
                for Cursor { subscription, position, until } in &cursors {
                    insert.execute((subscription, position, until))?;
                }
                Ok(())
            })
            .await?;
        self.durable(committed).await
    }

    /// Every subscription that has a cursor, and where that is.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn cursors(self: &Arc<Self>) -> Result<Vec<Cursor>, Error> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT subscription, position, until FROM _cursor ORDER BY subscription",
                )?
                .query_map((), |row| {
                    Ok(Cursor {
                        subscription: row.get(0)?,
                        position: row.get(1)?,
                        until: row.get(2)?,
                    })
                })?
                .collect()
        })
        .await
    }

    /// Reads how far a subscription has come; `None` where it has no cursor.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load_subscription(
        self: &Arc<Self>,
        subscription: &Arc<str>,
    ) -> Result<Option<Progress>, Error> {
        if !self.core.inbox.has(subscription) {
            let name = Arc::clone(subscription);
            let found = self.read(move |connection| read_track(connection, &name)).await?;
            let Some(track) = found else { return Ok(None) };
            self.core.inbox.lock().entry(Arc::clone(subscription)).or_insert(track);
        }
        Ok(self.progress(subscription))
    }

    /// Notes that the subscription was read up to `upto` and wants `positions`.
    /// Returns those of them that are not finished yet.
    #[must_use]
    pub fn scan(&self, subscription: &str, upto: u64, positions: &[u64]) -> Vec<u64> {
        let mut tracks = self.core.inbox.lock();
        let Some(track) = tracks.get_mut(subscription) else { return Vec::new() };
        let fresh: Vec<u64> = positions
            .iter()
            .copied()
            .filter(|position| *position > track.scanned && !track.done.contains(position))
            .collect();
        track.outstanding.extend(&fresh);
        track.scanned = track.scanned.max(upto);
        fresh
    }

    /// How far the subscription has come, once it is loaded.
    #[must_use]
    pub fn progress(&self, subscription: &str) -> Option<Progress> {
        let tracks = self.core.inbox.lock();
        let track = tracks.get(subscription)?;
        let outstanding = track.outstanding.len() + track.taken.len();
        let first = [track.outstanding.first(), track.taken.first()].into_iter().flatten().min();
        Some(Progress {
            cursor: track.cursor,
            scanned: track.scanned,
            outstanding,
            first_outstanding: first.copied(),
        })
    }

    /// Forgets what memory knows of a subscription that nobody delivers any more.
    pub fn unload_subscription(&self, subscription: &str) {
        self.core.inbox.lock().remove(subscription);
    }

    /// Forgets a subscription with all it holds; its dead letters stay. Durable
    /// when it returns.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn end_subscription(self: &Arc<Self>, subscription: &Arc<str>) -> Result<(), Error> {
        let name = Arc::clone(subscription);
        let (committed, ()) = self
            .host_member(move |writer| {
                for table in ["_cursor", "_done", "_held"] {
                    writer.connection.execute(
                        &format!("DELETE FROM {table} WHERE subscription = ?1"),
                        [&name],
                    )?;
                }
                Ok(())
            })
            .await?;
        self.durable(committed).await?;
        self.core.inbox.lock().remove(subscription);
        Ok(())
    }
}

fn read_track(connection: &Connection, subscription: &str) -> rusqlite::Result<Option<Track>> {
    let cursor: Option<u64> = connection
        .query_row("SELECT position FROM _cursor WHERE subscription = ?1", [subscription], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(cursor) = cursor else { return Ok(None) };
    let done = connection
        .prepare_cached("SELECT position FROM _done WHERE subscription = ?1 AND position > ?2")?
        .query_map((subscription, cursor), |row| row.get(0))?
        .collect::<rusqlite::Result<BTreeSet<u64>>>()?;
    Ok(Some(Track { cursor, scanned: cursor, done, ..Track::default() }))
}
