//! The file: how it is opened, and its tables.

use rusqlite::{Connection, ErrorCode};
use std::path::Path;

use super::options::BusOptions;
use super::shared::Extent;
use super::{Position, skipped};
use crate::journal::{self, JournalError};
use crate::sqlite::{self, Access, FormatError, Formats};

/// `hbus` in ASCII: whose file this is (SQLite, `PRAGMA application_id`).
const APPLICATION: i64 = 0x6862_7573;

/// The formats of the tables.
const FORMATS: Formats =
    Formats { application: Some(APPLICATION), steps: &[FORMAT_1, FORMAT_2, FORMAT_3, FORMAT_4] };

/// The newest of them.
const FORMAT: usize = FORMATS.steps.len();

/// The write-ahead log is cut to this size after a checkpoint, in bytes.
/// Overwriting what is there is cheaper to sync than growing it.
const JOURNAL_SIZE_LIMIT: i64 = 64 << 20;

/// Page cache of the writer and of each reader, in KiB.
const WRITER_CACHE_KIB: i64 = 16 << 10;
const READER_CACHE_KIB: i64 = 2 << 10;

/// There is no `auto_vacuum`: pages of trimmed events are used again by the next
/// ones, so the file is as large as the events ever were at once, which
/// `max-bytes` bounds. Vacuuming would move the newest events to the front of
/// the file again and again.
const FORMAT_1: &str = "
    CREATE TABLE log (                              -- one row
        id INTEGER PRIMARY KEY CHECK (id = 1),
        bytes INTEGER NOT NULL                      -- of the events' texts
    ) STRICT;
    INSERT INTO log VALUES (1, 0);
    CREATE TABLE event (
        position INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused
        recorded_at INTEGER NOT NULL,               -- ms since 1970
        event TEXT NOT NULL                         -- CloudEvents JSON
    ) STRICT;
    CREATE TABLE source (                           -- how far each store's outbox is here
        store_id TEXT PRIMARY KEY, last INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE recent_ids (                       -- of outside events, a row for a commit
        position INTEGER PRIMARY KEY,               -- of the commit's last event
        digests BLOB NOT NULL                       -- 16 bytes each
    ) STRICT;
    CREATE TABLE id_run (                           -- many rows of recent_ids made one, sorted
        run INTEGER PRIMARY KEY, ids INTEGER NOT NULL,
        position INTEGER NOT NULL                   -- of the last event in it
    ) STRICT;
    CREATE TABLE id_block (
        block INTEGER PRIMARY KEY,                  -- run << 12 | the digests' first 12 bits
        digests BLOB NOT NULL
    ) STRICT;
    CREATE TABLE cursor (                           -- late copies of the consumers' own
        subscription TEXT PRIMARY KEY,
        position INTEGER NOT NULL,
        active INTEGER NOT NULL,
        changed_at INTEGER NOT NULL                 -- ms since 1970, of `active`
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE schedule (
        service TEXT NOT NULL, name TEXT NOT NULL,
        rule TEXT NOT NULL,                         -- what its ticks follow from
        last_tick INTEGER NOT NULL,                 -- ms since 1970
        PRIMARY KEY (service, name)
    ) STRICT, WITHOUT ROWID;
";

/// Positions that were never given out here.
const FORMAT_2: &str = "
    CREATE TABLE skipped (first INTEGER PRIMARY KEY, last INTEGER NOT NULL) STRICT;
";

/// Subscriptions that an operator dropped while their service was gone: their rows are in
/// its store until it is back.
const FORMAT_3: &str = "
    CREATE TABLE dropped (subscription TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
";

/// Whose the events are. What came before is nobody's.
const FORMAT_4: &str = "
    CREATE TABLE publisher (
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,                  -- a service's, or _operator or _anybody
        bytes INTEGER NOT NULL                      -- of its events' texts
    ) STRICT;
    CREATE TABLE run (                              -- one publisher's, of one commit
        first INTEGER PRIMARY KEY,                  -- position
        last INTEGER NOT NULL, publisher INTEGER NOT NULL
    ) STRICT;
";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    Journal(#[from] JournalError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error(
        "it has format {0}, this host knows up to {FORMAT}: use the host that made it, or a newer one"
    )]
    Newer(i64),
    #[error("it was not made by hotdock: {WHAT_TO_DO}")]
    Foreign,
    #[error("{0}: {WHAT_TO_DO}")]
    Damaged(rusqlite::Error),
}

/// Where the file is none that can be used.
const WHAT_TO_DO: &str =
    "bring it back from a copy, or move it away, and events that only it has are lost";

impl From<FormatError> for OpenError {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
                _ => Self::Sqlite(error),
            },
            FormatError::Newer(found) => Self::Newer(found),
            FormatError::Foreign => Self::Foreign,
        }
    }
}

/// Looks at a file that may be there.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
    if path.exists() {
        FORMATS.of(&sqlite::open(path, Access::Read)?)?;
    }
    Ok(())
}

/// Opens the file for writing; makes it, with its tables, where it is new.
pub(super) fn open_writer(path: &Path, options: &BusOptions) -> Result<Connection, OpenError> {
    let mut connection = sqlite::open(path, Access::Make)?;
    // Looked at before anything is changed, the journal's mode included.
    FORMATS.of(&connection)?;
    journal::begin(&connection, path)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_SIZE_LIMIT)?;
    connection.pragma_update(None, "max_page_count", options.max_pages)?;
    // It is carried over elsewhere, and synced by the syncer.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    FORMATS.upgrade(&mut connection, |_, _, _| Ok(()))?;
    Ok(connection)
}

/// Opens a file that the writer has open, to carry its log over.
pub(super) fn open_beside_writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = sqlite::open(path, Access::Write)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_SIZE_LIMIT)?;
    Ok(connection)
}

/// Opens the file for reading; the writer has made it.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = sqlite::open(path, Access::Read)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    Ok(connection)
}

/// How much is in the file.
pub(super) fn extent(connection: &Connection) -> rusqlite::Result<Extent> {
    let last = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'";
    let last: Position = connection.query_row(last, [], |row| row.get(0))?;
    let first = "SELECT coalesce(min(position), ?1) FROM event";
    let first = connection.query_row(first, [last + 1], |row| row.get(0))?;
    Ok(Extent {
        first,
        last,
        skipped: skipped::after(connection, first)?,
        bytes: connection.query_row("SELECT bytes FROM log", [], |row| row.get(0))?,
    })
}
