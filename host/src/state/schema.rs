//! The file: how it is opened, and the host's own tables in it.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, Transaction};

use super::error::Error;
use super::keyvalue;
use super::memory;
use super::options::StoreOptions;
use super::sandbox::MAX_OBJECTS;
use super::store::Core;
use crate::journal::{self, JournalError};
use crate::machine::{has_no_descriptor, is_shortage};
use crate::sqlite::{self, Access, FormatError, Formats};

/// The formats of the host's tables.
const FORMATS: Formats = Formats {
    application: None,
    steps: &[FORMAT_1, FORMAT_2, FORMAT_3, FORMAT_4, FORMAT_5, FORMAT_6],
};

/// The newest of them.
pub(super) const FORMAT: usize = FORMATS.steps.len();

/// Statements that a connection keeps prepared.
const CACHED_STATEMENTS: usize = 64;

/// The write-ahead log is cut to this size after a checkpoint, in bytes.
const JOURNAL_SIZE_LIMIT: i64 = 64 << 20;

/// Page cache of the writer and of each reader, in KiB.
const WRITER_CACHE_KIB: i64 = 8 << 10;
const READER_CACHE_KIB: i64 = 512;

const FORMAT_1: &str = "
    CREATE TABLE _meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE _kv (
        bucket TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (bucket, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE _migrations (
        position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
        digest TEXT NOT NULL, applied_at TEXT NOT NULL
    ) STRICT;
";

/// Answers under their idempotency keys. The rows' order is their age, so the
/// oldest are found without an index of their own.
const FORMAT_2: &str = "
    CREATE TABLE _idempotency (
        id INTEGER PRIMARY KEY, created_at INTEGER NOT NULL, -- ms since 1970
        scope BLOB NOT NULL UNIQUE, request BLOB NOT NULL,
        status INTEGER NOT NULL, headers BLOB NOT NULL, trailers BLOB, body BLOB NOT NULL
    ) STRICT;
";

/// Events: those on their way to the bus, and how far each subscription has come
/// with those from it. Events are CloudEvents JSON; times are ms since 1970.
const FORMAT_3: &str = "
    CREATE TABLE _outbox (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT, event BLOB NOT NULL
    ) STRICT;
    CREATE TABLE _cursor (
        subscription TEXT PRIMARY KEY, position INTEGER NOT NULL,
        until INTEGER -- where a replay ends
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE _done (
        subscription TEXT NOT NULL, position INTEGER NOT NULL,
        PRIMARY KEY (subscription, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE _held (
        subscription TEXT NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL,
        event BLOB NOT NULL, attempts INTEGER NOT NULL, due_at INTEGER NOT NULL,
        parked INTEGER NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (subscription, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE _dead (
        id INTEGER PRIMARY KEY AUTOINCREMENT, subscription TEXT NOT NULL,
        position INTEGER NOT NULL, key TEXT NOT NULL, event BLOB NOT NULL,
        attempts INTEGER NOT NULL, reason TEXT NOT NULL, died_at INTEGER NOT NULL
    ) STRICT;
";

/// Large values beside their keys: SQLite reads all of an entry that it compares in a table
/// without rowids, so that a key's search costs what its neighbours' values have.
const FORMAT_4: &str = "
    CREATE TABLE _kv_large (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
    ALTER TABLE _kv ADD COLUMN large INTEGER; -- of _kv_large; the value here is empty then
    ALTER TABLE _held RENAME TO _held_3;
    CREATE TABLE _held (
        subscription TEXT NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL,
        event BLOB NOT NULL, attempts INTEGER NOT NULL, due_at INTEGER NOT NULL,
        parked INTEGER NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (subscription, position)
    ) STRICT;
    INSERT INTO _held SELECT * FROM _held_3;
    DROP TABLE _held_3;
";

/// Whose held events and dead letters are, and what one source has among a subscription's dead
/// letters. Those from before are nobody's.
const FORMAT_5: &str = "
    ALTER TABLE _held ADD COLUMN source TEXT;
    ALTER TABLE _dead ADD COLUMN source TEXT;
    ALTER TABLE _dead ADD COLUMN without_data INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE _dead_bytes (
        subscription TEXT NOT NULL, source TEXT NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (subscription, source)
    ) STRICT, WITHOUT ROWID;
";

/// What all answers under idempotency keys have together, which they may not fill the store with.
const FORMAT_6: &str = "
    CREATE TABLE _idempotency_bytes (bytes INTEGER NOT NULL) STRICT; -- one row
    INSERT INTO _idempotency_bytes SELECT coalesce(sum(
        length(headers) + coalesce(length(trailers), 0) + length(body)
    ), 0) FROM _idempotency;
";

/// The first format in which large values are beside their keys.
const LARGE_VALUES: usize = 4;

/// The host's tables in the newest format; all others are a guest's.
pub(super) const TABLES: &[&str] = &[
    "_meta",
    "_kv",
    "_kv_large",
    "_migrations",
    "_idempotency",
    "_idempotency_bytes",
    "_outbox",
    "_cursor",
    "_done",
    "_held",
    "_dead",
    "_dead_bytes",
];

/// Opens the file for writing; makes it, with the host's tables, where it is new.
/// A disk that fails at it ends the store; a file that is none is this service's
/// trouble alone.
pub(super) fn open_writer(core: &Core) -> Result<Connection, Error> {
    let Core { path, options, .. } = core;
    let failed = |error: rusqlite::Error| {
        // Without descriptors SQLite says the same of what it cannot open. Whoever opens it again
        // carries the log over anew, so nothing is built on what may not have been written.
        let is_of_disk = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
        if is_of_disk && !has_no_descriptor() {
            core.poison(&error);
        }
        match Error::of_host(&error) {
            Error::Unavailable(reason) => {
                Error::Unavailable(format!("{} cannot be opened: {reason}", path.display()))
            }
            other => other,
        }
    };
    let mut connection = open(path, options).map_err(failed)?;
    journal::begin(&connection, path).map_err(|error| match error {
        JournalError::Sqlite(error) => failed(error),
        // Neither was opened: whoever begins anew does all of it.
        JournalError::Log(error) | JournalError::Folder(error) if is_shortage(&error) => {
            Error::Unavailable(format!("{} cannot be opened: {error}", path.display()))
        }
        JournalError::NotBegun(_) | JournalError::Log(_) | JournalError::Folder(_) => {
            core.poison(&error);
            Error::Unavailable(format!("{} cannot be opened: {error}", path.display()))
        }
    })?;
    (|| {
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        connection.pragma_update(None, "journal_size_limit", JOURNAL_SIZE_LIMIT)?;
        // The writer does it itself.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "max_page_count", options.max_pages)
    })()
    .map_err(failed)?;
    FORMATS.upgrade(&mut connection, more).map_err(|error| match error {
        FormatError::Sqlite(error) => failed(error),
        FormatError::Newer(found) => Error::Unavailable(format!(
            "{} has format {found}, this host knows up to {FORMAT}: use the host that made it, \
             or a newer one",
            path.display()
        )),
        FormatError::Foreign => Error::Unavailable(format!("{}: {error}", path.display())),
    })?;
    Ok(connection)
}

/// Opens the file for reading; the writer has made it.
pub(super) fn open_reader(path: &Path, options: &StoreOptions) -> rusqlite::Result<Connection> {
    let connection = open(path, options)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    // Here, not at the first read: the file's schema comes from the disk.
    connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))?;
    Ok(connection)
}

fn open(path: &Path, options: &StoreOptions) -> rusqlite::Result<Connection> {
    memory::install();
    let connection = sqlite::open(path, Access::Make)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    // Guests' SQL runs here, so SQLite's own advice for untrusted SQL holds
    // (SQLite, "Defense Against The Dark Arts").
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Which are kept in memory, piece by piece; see `temporary`.
    connection.pragma_update(None, "temp_store", "FILE")?;
    for (category, limit) in limits(options) {
        connection.set_limit(category, limit)?;
    }
    Ok(connection)
}

/// As SQLite's advice has them (the host's own statements are well below them), except that
/// statements and expressions may be longer than it says. Values of guests' have another limit
/// (see `sandbox`).
fn limits(options: &StoreOptions) -> [(Limit, i32); 15] {
    [
        (Limit::SQLITE_LIMIT_LENGTH, limit(options.max_value_bytes + (1 << 20))),
        // Of migrations, which come as one text.
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 20),
        (Limit::SQLITE_LIMIT_COLUMN, 100),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_PARSER_DEPTH, 1_000),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 5),
        (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 32),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
        (Limit::SQLITE_LIMIT_TRIGGER_STEPS, 100),
        (Limit::SQLITE_LIMIT_SCHEMA, MAX_OBJECTS),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ]
}

fn limit(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// What an upgrade does besides the steps' texts.
fn more(upgrade: &Transaction<'_>, had: usize, now: usize) -> rusqlite::Result<()> {
    if now == FORMAT && (1..LARGE_VALUES).contains(&had) {
        keyvalue::move_large(upgrade)?;
    }
    if now == FORMAT && had == 0 {
        let store_id = uuid::Uuid::new_v4().to_string();
        upgrade.execute("INSERT INTO _meta VALUES ('store_id', ?1)", [store_id])?;
    }
    Ok(())
}
