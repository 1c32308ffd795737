//! What the writer tells everyone else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;

use compact_str::CompactString;
use tokio::sync::watch;

use super::error::{BusError, is_disk_full, is_io_failure};
use super::options::BusOptions;
use super::tail::Tail;
use super::{Batch, BusHealth, Position, Publisher, ReadLimit, Recorded, ShareHealth};

/// The state that is read without the file.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) options: BusOptions,
    tail: RwLock<Tail>,
    /// The last durable position.
    grown: watch::Sender<Position>,
    first: AtomicU64,
    skipped: AtomicU64,
    bytes: AtomicU64,
    full: AtomicBool,
    late: AtomicU64,
    /// What each publisher has, and how often it was refused more.
    shares: Mutex<BTreeMap<CompactString, (u64, u64)>>,
}

/// Nobody writes any more after a panic: held by a thread of the bus's for as long as it runs.
pub(super) struct Broken {
    how: &'static str,
    shared: Arc<Shared>,
}

impl Broken {
    pub(super) fn of(how: &'static str, shared: &Arc<Shared>) -> Self {
        Self { how, shared: Arc::clone(shared) }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if thread::panicking() {
            self.shared.poison(self.how);
        }
    }
}

/// How much of the log there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first event's position, or the next one's where there is none.
    pub(super) first: Position,
    /// The last event's position, also after it was trimmed.
    pub(super) last: Position,
    /// Positions between them that were never given out.
    pub(super) skipped: u64,
    /// Bytes of all events' texts.
    pub(super) bytes: u64,
}

impl Shared {
    pub(super) fn new(path: PathBuf, options: BusOptions, extent: Extent) -> Self {
        Self {
            path,
            tail: RwLock::new(Tail::after(extent.last, &options)),
            options,
            grown: watch::Sender::new(extent.last),
            first: AtomicU64::new(extent.first),
            skipped: AtomicU64::new(extent.skipped),
            bytes: AtomicU64::new(extent.bytes),
            full: AtomicBool::new(false),
            late: AtomicU64::new(0),
            shares: Mutex::default(),
        }
    }

    /// Shows what has become durable.
    pub(super) fn publish(&self, appended: Vec<Recorded>, extent: Extent) {
        if self.first.swap(extent.first, Ordering::AcqRel) < extent.first {
            self.tail.write().unwrap_or_else(PoisonError::into_inner).trim(extent.first);
        }
        self.skipped.store(extent.skipped, Ordering::Release);
        let before = self.bytes.swap(extent.bytes, Ordering::AcqRel);
        if !appended.is_empty() || extent.bytes < before {
            self.full.store(false, Ordering::Release);
        }
        if extent.last > self.last() {
            // The tail first: who hears of a position finds it there.
            let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
            tail.extend(appended);
            tail.skip_to(extent.last);
            drop(tail);
            self.grown.send_replace(extent.last);
        }
    }

    pub(super) fn read_tail(&self, after: Position, limit: ReadLimit) -> Option<Batch> {
        self.tail.read().unwrap_or_else(PoisonError::into_inner).read(after, limit)
    }

    pub(super) fn first(&self) -> Position {
        self.first.load(Ordering::Acquire)
    }

    pub(super) fn last(&self) -> Position {
        *self.grown.borrow()
    }

    pub(super) fn grown(&self) -> watch::Receiver<Position> {
        self.grown.subscribe()
    }

    pub(super) fn health(&self) -> BusHealth {
        let (first, last) = (self.first(), self.last());
        BusHealth {
            events: (last + 1).saturating_sub(first + self.skipped.load(Ordering::Acquire)),
            bytes: self.bytes.load(Ordering::Acquire),
            max_bytes: self.options.max_bytes,
            first,
            last,
            full: self.full.load(Ordering::Acquire),
            late: self.late.load(Ordering::Relaxed),
            failed: self.options.alarm.reason().map(str::to_owned),
        }
    }

    /// Whether this and all other files are still to be trusted.
    pub(super) fn check(&self) -> Result<(), BusError> {
        match self.options.alarm.reason() {
            Some(reason) => Err(BusError::Failed(reason.to_owned())),
            None => Ok(()),
        }
    }

    /// Shows what publishers have.
    pub(super) fn note_shares(&self, shares: impl Iterator<Item = (CompactString, u64)>) {
        let mut all = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, bytes) in shares {
            all.entry(name).or_default().0 = bytes;
        }
    }

    /// Refuses an append since its publisher has as much as one may.
    pub(super) fn note_share_full(&self, publisher: &Publisher) {
        let mut all = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(publisher.name().into()).or_default().1 += 1;
    }

    /// What each publisher has that ever published.
    pub(super) fn shares(&self) -> Vec<ShareHealth> {
        let all = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let share = |(publisher, &(bytes, refused)): (&CompactString, &(u64, u64))| ShareHealth {
            publisher: publisher.clone(),
            bytes,
            refused,
        };
        all.iter().map(share).collect()
    }

    /// Refuses an append for want of room.
    pub(super) fn note_full(&self) {
        self.full.store(true, Ordering::Release);
    }

    /// Somebody waited in vain.
    pub(super) fn note_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    /// Nothing more is promised: the file failed.
    pub(super) fn poison(&self, reason: impl std::fmt::Display) {
        self.options.alarm.ring(format!(
            "the bus at {} failed: {reason}; nothing more is acknowledged. \
             Check the disk and start the host again",
            self.path.display()
        ));
    }

    /// What a failure of a statement is; ends the bus where the file itself failed.
    pub(super) fn failed(&self, error: &rusqlite::Error) -> BusError {
        if is_io_failure(error) {
            self.poison(error);
        } else if is_disk_full(error) {
            let was_full = self.full.swap(true, Ordering::AcqRel);
            // Which says so itself, once until there is room again.
            if !self.options.room.is_full() && !was_full {
                tracing::warn!("the disk has no room left for {}: {error}", self.path.display());
            }
            return BusError::DiskFull;
        }
        let unavailable =
            || BusError::Unavailable(format!("{} cannot be used: {error}", self.path.display()));
        self.check().err().unwrap_or_else(unavailable)
    }
}
