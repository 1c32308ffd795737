//! The bus: the durable log of events, `bus.db`.
//!
//! Services' outboxes are relayed into it, events from outside are appended to
//! it, and subscriptions read it after their cursors. A position is given out once
//! and in order, so a cursor is one number. Positions have no holes but those that
//! an older copy of the file lacks (`skip_to`).
//!
//! One writer commits what is queued when it is free (a *group*), and another thread
//! syncs it while the next is filled. An event is durable, and shown, when that is done.
//! Who keeps up reads the newest events from memory, who is behind from the file.
//!
//! SQLite's particulars stay in this module.

mod checkpoints;
mod cursors;
mod encoding;
mod error;
mod group;
mod ids;
mod options;
mod readers;
mod record;
mod retention;
mod rows;
mod schedules;
mod schema;
mod shared;
mod shares;
mod skipped;
mod syncer;
mod tail;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use compact_str::format_compact;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::deadline;
use crate::event::{Event, Outgoing, Value, Written};
use error::JobError;
use group::Group;
use ids::Ids;
use readers::Readers;
use shared::Shared;
use shares::Shares;
use writer::{Ended, Job, Work, Writer};

pub use error::BusError;
pub use options::{BeforeCommit, BusOptions};
pub use record::{
    Appended, Batch, BusHealth, Mirror, MirrorRow, Position, Publisher, ReadLimit, Recorded,
    Sender, ShareHealth, Trimmed,
};

/// The extension that says where in its service's outbox an event was. Padded,
/// so that texts are in the order of numbers (CloudEvents, "Sequence").
pub const SEQUENCE: &str = "sequence";

type Jobs = mpsc::Sender<Box<dyn Job>>;

/// The open bus; clones are the same one.
#[derive(Clone, Debug)]
pub struct Bus {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    /// The way to the writer, until the bus is closed.
    jobs: Arc<Mutex<Option<Jobs>>>,
    ended: Ended,
}

impl Bus {
    /// Looks whether the log at `path` could be opened, and changes nothing. One that is not there can be
    /// made. Blocks.
    ///
    /// # Errors
    /// As [`Bus::open`].
    pub fn check(path: &Path) -> Result<(), BusError> {
        let failed =
            |error| BusError::Unavailable(format!("{} cannot be opened: {error}", path.display()));
        schema::check(path).map_err(failed)
    }

    /// Opens the log at `path`, making it where there is none. Blocks.
    ///
    /// # Errors
    /// When the file cannot be opened, is not a bus's, or is a newer host's.
    pub fn open(path: &Path, options: BusOptions) -> Result<Self, BusError> {
        let failed = |error: &dyn std::fmt::Display| {
            BusError::Unavailable(format!("{} cannot be opened: {error}", path.display()))
        };
        let connection = schema::open_writer(path, &options).map_err(|error| failed(&error))?;
        let ids = Ids::load(&connection, options.run_ids).map_err(|error| failed(&error))?;
        let shares = Shares::load(&connection, options.max_bytes_per_source);
        let shares = shares.map_err(|error| failed(&error))?;
        let extent = schema::extent(&connection).map_err(|error| failed(&error))?;
        let (jobs, queue) = mpsc::channel(options.queue);
        let shared = Arc::new(Shared::new(path.to_owned(), options, extent));
        shared.note_shares(shares.all().map(|(name, bytes)| (name.clone(), bytes)));
        let readers = Readers::new(path.to_owned(), Arc::clone(&shared));
        let writer = Writer::new(connection, Arc::clone(&shared), ids, shares, extent);
        let writer = writer.map_err(|error| failed(&error))?;
        let ended = writer.start(queue).map_err(|error| failed(&error))?;
        let jobs = Arc::new(Mutex::new(Some(jobs)));
        Ok(Self { shared, readers: Arc::new(readers), jobs, ended })
    }

    /// The first position that is still here, or the next one where none is. A
    /// cursor below the one before it has a gap.
    #[must_use]
    pub fn first(&self) -> Position {
        self.shared.first()
    }

    /// The last durable position, 0 before the first event.
    #[must_use]
    pub fn last(&self) -> Position {
        self.shared.last()
    }

    /// Tells the last durable position whenever there is a new one.
    #[must_use]
    pub fn grown(&self) -> watch::Receiver<Position> {
        self.shared.grown()
    }

    /// What tells it when an event came.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.options.clock
    }

    /// How the bus is.
    #[must_use]
    pub fn health(&self) -> BusHealth {
        self.shared.health()
    }

    /// What each publisher has of the log.
    #[must_use]
    pub fn shares(&self) -> Vec<ShareHealth> {
        self.shared.shares()
    }

    /// How many bytes one publisher may have.
    #[must_use]
    pub fn max_bytes_per_source(&self) -> u64 {
        self.shared.options.max_bytes_per_source
    }

    /// Appends those of the outbox of a service's store that are above what is here of it,
    /// with the extension [`SEQUENCE`]. Durable when it returns: the store's highest
    /// sequence here. Doing it again does nothing.
    ///
    /// # Errors
    /// When there is no room, a sequence is not above those before it, or the file failed;
    /// nothing is appended then.
    pub async fn relay(
        &self,
        service: &str,
        store_id: &str,
        entries: Vec<Outgoing>,
    ) -> Result<u64, BusError> {
        let (publisher, store_id) = (Publisher::Service(service.into()), store_id.to_owned());
        let entries: Vec<_> = entries.into_iter().map(sequenced).collect();
        self.write(move |group| group.relay(&publisher, &store_id, entries)).await
    }

    /// How far a store's outbox is here; 0: nothing of it is.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn relayed(&self, store_id: &str) -> Result<u64, BusError> {
        let store_id = store_id.to_owned();
        self.ask(move |file| readers::relayed(file, &store_id)).await
    }

    /// Appends events from outside, but none whose source and id are those of an
    /// event of the same sender that is here, or before it in `events`. Durable when it
    /// returns.
    ///
    /// # Errors
    /// When there is no room, or the file failed; nothing is appended then.
    pub async fn append(
        &self,
        sender: Sender,
        events: impl IntoIterator<Item = impl Into<Written>>,
    ) -> Result<Appended, BusError> {
        let known_by = |written: Written| (ids::digest(sender, &written.event), written);
        let entries: Vec<_> = events.into_iter().map(Into::into).map(known_by).collect();
        let publisher = Publisher::from(sender);
        self.write(move |group| group.append(&publisher, entries)).await
    }

    /// Gives out no position up to this one any more: somebody knows it from a log
    /// that is lost, or of which this is an older copy. Durable when it returns:
    /// whether there was anything to do.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn skip_to(&self, position: Position) -> Result<bool, BusError> {
        if position <= self.last() {
            return Ok(false);
        }
        self.write(move |group| group.skip_to(position)).await
    }

    /// What comes after `after`. Nothing beyond what is durable; what is not here is
    /// passed over.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn read(&self, after: Position, limit: ReadLimit) -> Result<Batch, BusError> {
        self.shared.check()?;
        if let Some(batch) = self.shared.read_tail(after, limit) {
            return Ok(batch);
        }
        let last = self.last();
        self.patiently(self.readers.run(move |file| readers::events(file, after, last, limit)))
            .await
    }

    /// The position of the first event that came at this time or later, in ms
    /// since 1970; `None` where all are older. Where the clock was set back, one
    /// of the places where the log passes this time.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn position_at(&self, time: u64) -> Result<Option<Position>, BusError> {
        self.shared.check()?;
        let (first, last) = (self.first(), self.last());
        let find = move |file: &Connection| Ok(readers::position_at(file, first, last, time)?);
        self.patiently(self.readers.run(find)).await
    }

    /// Takes late copies of cursors.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn mirror(&self, cursors: Vec<Mirror>) -> Result<(), BusError> {
        let now = self.clock().steady_ms();
        self.write(move |group| Ok(cursors::mirror(group.connection, &cursors, now)?)).await
    }

    /// Forgets a subscription, which holds no events from here on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn forget(&self, subscription: &str) -> Result<(), BusError> {
        let subscription = subscription.to_owned();
        self.write(move |group| Ok(cursors::forget(group.connection, &subscription)?)).await
    }

    /// The same of a subscription whose service is gone, with its store: that it is
    /// dropped is remembered until [`end_dropped`](Self::end_dropped).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn drop_gone(&self, subscription: &str) -> Result<(), BusError> {
        let subscription = subscription.to_owned();
        self.write(move |group| Ok(cursors::drop_gone(group.connection, &subscription)?)).await
    }

    /// The subscriptions that were dropped while their services were gone.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn dropped(&self) -> Result<Vec<String>, BusError> {
        self.ask(cursors::dropped).await
    }

    /// A dropped subscription is gone from its service's store, too.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn end_dropped(&self, subscription: &str) -> Result<(), BusError> {
        let subscription = subscription.to_owned();
        self.write(move |group| Ok(cursors::end_dropped(group.connection, &subscription)?)).await
    }

    /// All copies of cursors, by subscription.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn mirrors(&self) -> Result<Vec<MirrorRow>, BusError> {
        self.ask(cursors::all).await
    }

    /// Takes out what is no longer needed at `now`, in ms since 1970: what is
    /// older than `retain` and every subscription is past, and what is older than
    /// `retain_at_most`.
    ///
    /// # Errors
    /// When the file cannot be written; what was taken out before stays out.
    pub async fn trim(&self, now: u64) -> Result<Trimmed, BusError> {
        let mut all = Trimmed::default();
        loop {
            let options = self.shared.options.clone();
            let (step, more) =
                self.write(move |group| retention::trim(group, now, &options)).await?;
            all.events += step.events;
            all.bytes += step.bytes;
            if !more {
                return Ok(all);
            }
        }
    }

    /// Notes a schedule that ticks by `rule`; one that is new, or had another
    /// rule, begins at `now`. Returns its last tick. All times in ms since 1970.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn begin_schedule(
        &self,
        service: &str,
        schedule: &str,
        rule: &str,
        now: u64,
    ) -> Result<u64, BusError> {
        let (service, schedule, rule) = (service.to_owned(), schedule.to_owned(), rule.to_owned());
        self.write(move |group| {
            Ok(schedules::begin(group.connection, &service, &schedule, &rule, now)?)
        })
        .await
    }

    /// A schedule ticked in the future, by a clock that was ahead: it counts as having
    /// ticked at `now`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn set_schedule_back(
        &self,
        service: &str,
        schedule: &str,
        now: u64,
    ) -> Result<(), BusError> {
        let (service, schedule) = (service.to_owned(), schedule.to_owned());
        self.write(move |group| {
            Ok(schedules::set_back(group.connection, &service, &schedule, now)?)
        })
        .await
    }

    /// Appends a tick's event and notes the tick, both or neither; a tick without
    /// an event is skipped. Does nothing where the schedule has not begun, or
    /// ticked at `tick` or later. Returns whether it did.
    ///
    /// # Errors
    /// When there is no room, or the file failed.
    pub async fn append_tick(
        &self,
        service: &str,
        schedule: &str,
        tick: u64,
        event: Option<Event>,
    ) -> Result<bool, BusError> {
        let (service, schedule) = (service.to_owned(), schedule.to_owned());
        let entry = event.map(Written::from);
        self.write(move |group| schedules::append_tick(group, &service, &schedule, tick, entry))
            .await
    }

    /// When a schedule ticked last, or began; none where it has not begun.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn last_tick(&self, service: &str, schedule: &str) -> Result<Option<u64>, BusError> {
        let (service, schedule) = (service.to_owned(), schedule.to_owned());
        self.ask(move |file| schedules::last_tick(file, &service, &schedule)).await
    }

    /// The schedules that have begun, as service and name.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn schedules(&self) -> Result<Vec<(String, String)>, BusError> {
        self.ask(schedules::all).await
    }

    /// A schedule is no longer; should it come again, it begins anew.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn end_schedule(&self, service: &str, schedule: &str) -> Result<(), BusError> {
        let (service, schedule) = (service.to_owned(), schedule.to_owned());
        self.write(move |group| Ok(schedules::end(group.connection, &service, &schedule)?)).await
    }

    /// Commits what is queued and closes the file.
    pub async fn close(&self) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Readers first: the last connection to close carries the write-ahead log over,
        // which one that only reads cannot.
        self.readers.close().await;
        drop(jobs);
        self.ended.clone().wait().await;
    }

    /// Reads what the writer has written, and tells it once that is durable: a reader's
    /// connection also sees what is not.
    async fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, BusError> {
        self.write(move |group| Ok(read(group.connection)?)).await
    }

    /// Has the writer do `work`; returns once its group is durable.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Group<'_>) -> Result<T, JobError> + Send + 'static,
    ) -> Result<T, BusError> {
        self.shared.check()?;
        let (reply, done) = oneshot::channel();
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let written = async {
            let sent = match jobs {
                Some(jobs) => jobs.send(Box::new(Work { work, reply })).await.is_ok(),
                None => false,
            };
            if sent && let Ok(result) = done.await {
                return result;
            }
            // Once it has ended it has said why.
            self.ended.clone().wait().await;
            self.shared.check()?;
            Err(BusError::Unavailable("the bus is closed".to_owned()))
        };
        self.patiently(written).await
    }

    /// Waits for the bus, but not for ever. Where it takes too long, what was begun may be
    /// done all the same; every work is such that doing it again is harmless.
    async fn patiently<T>(
        &self,
        wait: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        let patience = self.shared.options.patience;
        deadline::within(patience, wait).await.unwrap_or_else(|deadline::Late| {
            self.shared.note_late();
            Err(BusError::Unavailable(format!(
                "the bus did nothing within {patience:?}: check the disk that {} is on",
                self.shared.path.display()
            )))
        })
    }
}

/// An outbox's row as it is kept.
fn sequenced(outgoing: Outgoing) -> (u64, Written) {
    let Outgoing { sequence, mut event } = outgoing;
    let text = Value::Text(format_compact!("{sequence:020}"));
    Arc::make_mut(&mut event).extensions.insert(SEQUENCE.into(), text);
    (sequence, event.into())
}
