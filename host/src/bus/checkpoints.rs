//! Carrying the write-ahead log over into the file, beside the writer.
//!
//! A thread does most of it with a connection of its own. What was committed meanwhile the
//! writer does itself, since a log only starts over when all of it is carried over.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::schema;
use super::shared::{Broken, Shared};

/// After how many bytes of events the log is carried over.
const CHECKPOINT_BYTES: u64 = 16 << 20;

/// Pages that the log may have before the writer waits for readers to be done
/// with it, so that it starts over.
const MAX_LOG_PAGES: i64 = 64 << 10;

/// The writer's end of it.
pub(super) struct Checkpoints {
    shared: Arc<Shared>,
    /// Bytes since the last one.
    since: u64,
    /// Whether the thread was asked, and the writer has not done its part.
    is_asked: bool,
    is_done: Arc<AtomicBool>,
    ask: mpsc::SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Checkpoints {
    /// Starts the thread.
    pub(super) fn start(database: &Path, shared: Arc<Shared>) -> Result<Self, schema::OpenError> {
        let connection = schema::open_beside_writer(database)?;
        let (ask, asked) = mpsc::sync_channel(1);
        let is_done = Arc::new(AtomicBool::new(false));
        let thread = {
            let (shared, is_done) = (Arc::clone(&shared), Arc::clone(&is_done));
            let thread = thread::Builder::new().name("bus-checkpoint".to_owned());
            thread.spawn(move || {
                let _broken = Broken::of("its checkpointing thread panicked", &shared);
                while asked.recv().is_ok() {
                    checkpoint(&connection, &shared, "PASSIVE");
                    is_done.store(true, Ordering::Release);
                }
            })?
        };
        Ok(Self { shared, since: 0, is_asked: false, is_done, ask, thread })
    }

    /// So many bytes have been committed by `writer`, in whose time it does what is left.
    pub(super) fn committed(&mut self, writer: &Connection, bytes: u64) {
        self.since += bytes;
        if self.is_asked && self.is_done.swap(false, Ordering::Acquire) {
            self.is_asked = false;
            let pages = checkpoint(writer, &self.shared, "PASSIVE");
            // Readers kept it from starting over.
            if pages.is_some_and(|pages| pages > MAX_LOG_PAGES) {
                checkpoint(writer, &self.shared, "RESTART");
            }
        }
        if self.since >= CHECKPOINT_BYTES && !self.is_asked {
            self.since = 0;
            self.is_asked = self.ask.try_send(()).is_ok();
        }
    }

    /// Returns when the thread's connection is closed.
    pub(super) fn finish(self) {
        drop(self.ask);
        // A panic has rung the alarm.
        let _ = self.thread.join();
    }
}

/// Returns how many pages the log has.
fn checkpoint(connection: &Connection, shared: &Shared, mode: &str) -> Option<i64> {
    // Once a sync has failed, nothing is built on what the log seems to have.
    shared.check().ok()?;
    let pragma = format!("PRAGMA wal_checkpoint({mode})");
    match connection.query_row(&pragma, [], |row| row.get(1)) {
        Ok(pages) => Some(pages),
        Err(error) => {
            shared.failed(&error).warn("the bus's write-ahead log is carried over later");
            None
        }
    }
}
