//! The tables of `host.db` and the format's number.

use rusqlite::{Connection, TransactionBehavior};

use super::RecordError;

/// `hotd` in ASCII: whose file this is (SQLite, `PRAGMA application_id`).
const APPLICATION: i64 = 0x686f_7464;
/// The format that this build reads and writes.
const FORMAT: i64 = 1;

const TABLES: &str = "
    CREATE TABLE service (
        name TEXT PRIMARY KEY,
        last_number INTEGER NOT NULL      -- stays when the service goes: numbers are never given twice
    ) STRICT;
    CREATE TABLE version (
        service TEXT NOT NULL,
        number INTEGER NOT NULL,
        component TEXT NOT NULL,          -- SHA-256
        manifest_file TEXT,               -- what messages call the text
        manifest TEXT,                    -- NULL: the default
        file TEXT NOT NULL,               -- the plugin file's stem
        deployed_at TEXT NOT NULL,        -- RFC 3339
        PRIMARY KEY (service, number)
    ) STRICT;
    CREATE TABLE traffic (
        service TEXT PRIMARY KEY,
        number INTEGER NOT NULL,
        file TEXT NOT NULL UNIQUE,        -- one file serves one service
        FOREIGN KEY (service, number) REFERENCES version (service, number)
    ) STRICT;
    CREATE TABLE refusal (
        file TEXT PRIMARY KEY,
        component TEXT,
        manifest TEXT,
        service TEXT,
        reasons TEXT NOT NULL,            -- JSON, a list of texts
        blocked INTEGER NOT NULL,
        host TEXT NOT NULL,
        at TEXT NOT NULL
    ) STRICT;
";

/// Makes an empty file this format's; refuses other formats.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), RecordError> {
    // Looked at before anything is changed, the journal's mode included.
    let (application, format) = identity(connection)?;
    match (application, format) {
        (0, 0) if is_empty(connection)? => {}
        (APPLICATION, FORMAT) => {}
        (APPLICATION, found) => return Err(RecordError::Newer { found, known: FORMAT }),
        _ => return Err(RecordError::Foreign),
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    if format == 0 {
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute_batch(TABLES)?;
        change.pragma_update(None, "application_id", APPLICATION)?;
        change.pragma_update(None, "user_version", FORMAT)?;
        change.commit()?;
    }
    Ok(())
}

fn identity(connection: &Connection) -> Result<(i64, i64), RecordError> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn is_empty(connection: &Connection) -> Result<bool, RecordError> {
    Ok(connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?)
}
