//! What SQLite keeps to itself when it begins a write-ahead log.

use std::path::Path;

use rusqlite::Connection;

/// Why a file has no write-ahead log that can be relied on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// SQLite's word.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// SQLite says nothing of a write or a sync that fails meanwhile, and goes on
    /// without a log.
    #[error("its write-ahead log could not be begun")]
    NotBegun,
    /// SQLite syncs the folder at the log's first commit, and doesn't look at the
    /// answer.
    #[error("its folder could not be synced: {0}")]
    Folder(std::io::Error),
}

/// Has the file at `path` use a write-ahead log that is there after a power cut,
/// with a sync at each commit.
pub(crate) fn begin(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    if !mode.eq_ignore_ascii_case("wal") {
        // Where the disk is full, a write says so.
        let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        connection.pragma_update(None, "user_version", format)?;
        return Err(JournalError::NotBegun);
    }
    // What an earlier process left in the log looks written, but where a sync of it
    // failed it may not be on disk: nothing is built on it before it is in the file.
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = std::fs::File::open(folder.unwrap_or(Path::new(".")));
    folder.and_then(|folder| folder.sync_all()).map_err(JournalError::Folder)
}
