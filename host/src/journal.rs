//! What SQLite keeps to itself when it begins a write-ahead log, and when it carries one
//! over.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::sqlite::BUSY_TIMEOUT;

/// Pages of the log that are worth it.
const CHECKPOINT_PAGES: u32 = 1_000;

/// Why a file has no write-ahead log that can be relied on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// SQLite's word.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// It goes on without one.
    #[error("its write-ahead log could not be begun: the mode is {0}")]
    NotBegun(String),
    /// It was cut to nothing, and may be what it was after a power cut.
    #[error("its write-ahead log could not be synced: {0}")]
    Log(std::io::Error),
    /// SQLite syncs the folder at the log's first commit, and doesn't look at the
    /// answer.
    #[error("its folder could not be synced: {0}")]
    Folder(std::io::Error),
}

/// Has the file at `path` use a write-ahead log that is there after a power cut,
/// with a sync at each commit.
pub(crate) fn begin(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    run(connection, "PRAGMA synchronous = FULL")?;
    run(connection, "PRAGMA journal_mode = WAL")?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(JournalError::NotBegun(mode));
    }
    // What an earlier process left in the log looks written, but where a sync of it
    // failed it may never be on disk: nothing is built on it before it is in the file,
    // and nothing is written behind it in the log, which would end before that after a
    // power cut. Who reads the file from outside at this moment can keep the log.
    run(connection, "PRAGMA wal_checkpoint(TRUNCATE)")?;
    // Nor is it to come back at a power cut: what of it was on disk is older than the file then,
    // and would be carried over once more.
    sync_log(path).map_err(JournalError::Log)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = std::fs::File::open(folder.unwrap_or(Path::new(".")));
    folder.and_then(|folder| folder.sync_all()).map_err(JournalError::Folder)
}

/// Syncs the log of the file at `path`, where it has one.
fn sync_log(path: &Path) -> std::io::Result<()> {
    // As SQLite names it, which follows links.
    let mut log = path.canonicalize()?.into_os_string();
    log.push("-wal");
    match std::fs::File::open(log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        log => log?.sync_all(),
    }
}

/// Runs a pragma to its end. It commits only then, after the row that says that it
/// did: whoever reads that row alone never hears of a write or a sync that failed.
fn run(connection: &Connection, pragma: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(pragma)?;
    let mut rows = statement.query(())?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Carries a connection's write-ahead log over into the file.
///
/// Not a part of COMMIT, as SQLite would have it: someone waits there, and a
/// failure is kept quiet, though what it leaves in the file is not certain.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    pages: Arc<AtomicU32>,
    /// From how many pages on it is tried again: where a reader is in the way, looking through
    /// a long log at each commit would cost more than the commit.
    due: AtomicU32,
    /// Pages when it was looked at last.
    seen: AtomicU32,
}

impl Checkpoints {
    /// Of a connection whose own checkpoints are off.
    pub(crate) fn install(connection: &mut Connection) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicU32::new(0));
        let committed = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut Wal, pages: i32| {
            committed.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages, due: AtomicU32::new(CHECKPOINT_PAGES), seen: AtomicU32::new(0) })
    }

    /// Pages of the log, those included that are in the file already.
    pub(crate) fn pages(&self) -> u32 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Carries over what no reader needs in the log, if that is worth it.
    pub(crate) fn run_if_due(&self, connection: &Connection) -> rusqlite::Result<()> {
        let pages = self.pages();
        if pages < self.seen.swap(pages, Ordering::Relaxed) {
            // It was begun anew.
            self.due.store(CHECKPOINT_PAGES, Ordering::Relaxed);
        }
        if pages < self.due.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (logged, done) = connection
            .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?
            .query_row((), |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))?;
        let more = if done < logged { pages } else { 0 };
        self.due.store(more + CHECKPOINT_PAGES, Ordering::Relaxed);
        Ok(())
    }

    /// Carries all over and cuts the log to nothing, where no reader is in the way. Waits for
    /// nobody.
    pub(crate) fn cut(&self, connection: &Connection) -> rusqlite::Result<bool> {
        connection.busy_timeout(Duration::ZERO)?;
        let is_busy = connection
            .prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")
            .and_then(|mut cut| cut.query_row((), |row| row.get::<_, bool>(0)));
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let is_cut = !is_busy?;
        if is_cut {
            self.pages.store(0, Ordering::Relaxed);
            self.due.store(CHECKPOINT_PAGES, Ordering::Relaxed);
        }
        Ok(is_cut)
    }
}
