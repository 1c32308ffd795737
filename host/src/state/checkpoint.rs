//! Carrying the write-ahead log over into the file.
//!
//! Not a part of COMMIT, as SQLite would have it: someone waits there, and a
//! failure is kept quiet, though what it leaves in the file is not certain.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

/// Pages of the log that are worth it.
const PAGES: i32 = 1_000;

/// Knows how long a connection's log is.
pub(super) struct Checkpoints {
    pages: Arc<AtomicI32>,
}

impl Checkpoints {
    /// Of a connection whose own checkpoints are off.
    pub(super) fn install(connection: &mut Connection) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicI32::new(0));
        let committed = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut Wal, pages: i32| {
            committed.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages })
    }

    /// Carries over what no reader needs in the log, if that is worth it.
    pub(super) fn run_if_due(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.pages.load(Ordering::Relaxed) < PAGES {
            return Ok(());
        }
        connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row((), |_| Ok(()))
    }
}
