//! The tables of `host.db` and the format's number.

use std::path::Path;

use rusqlite::{Connection, Transaction, params};

use super::RecordError;
use crate::digest::Digest;
use crate::journal;
use crate::sqlite::{self, Access, Formats};

/// `hotd` in ASCII: whose file this is (SQLite, `PRAGMA application_id`).
const APPLICATION: i64 = 0x686f_7464;

/// The formats.
const FORMATS: Formats = Formats {
    application: Some(APPLICATION),
    steps: &[FORMAT_1, FORMAT_2, FORMAT_3, FORMAT_4, FORMAT_5, FORMAT_6],
};
/// The newest of them.
pub(super) const FORMAT: i64 = FORMATS.steps.len() as i64;

const FORMAT_1: &str = "
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
        blocked INTEGER NOT NULL,         -- by what others have: 1; by what they lack, and it waits: 2
        host TEXT NOT NULL,
        at TEXT NOT NULL
    ) STRICT;
";

/// Versions share the traffic, come by upload, too, and remember who brought
/// them; a plugin file acts when it holds something else than it did.
const FORMAT_2: &str = "
    ALTER TABLE version ADD COLUMN origin TEXT NOT NULL DEFAULT 'file'; -- or 'upload'; then `file` is
                                          -- what the manifest's defaults come from
    ALTER TABLE version ADD COLUMN who TEXT;
    ALTER TABLE version ADD COLUMN rolled_back TEXT; -- why, if it was
    CREATE TABLE deployed (
        service TEXT PRIMARY KEY,
        file TEXT UNIQUE,                 -- the plugin file that it was last deployed from; NULL: uploaded
        revision INTEGER NOT NULL,        -- counts the changes
        rules TEXT NOT NULL,              -- JSON
        sticky TEXT,                      -- JSON
        canary TEXT                       -- JSON; NULL: none is under way
    ) STRICT;
    CREATE TABLE share (
        service TEXT NOT NULL REFERENCES deployed (service) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        weight INTEGER NOT NULL,          -- per cent
        PRIMARY KEY (service, number),
        FOREIGN KEY (service, number) REFERENCES version (service, number)
    ) STRICT;
    CREATE TABLE acted (                  -- what a plugin file held when it was last deployed
        file TEXT PRIMARY KEY,
        component TEXT,
        manifest TEXT
    ) STRICT;
    INSERT INTO deployed SELECT service, file, 1, '[]', NULL, NULL FROM traffic;
    INSERT INTO share SELECT service, number, 100 FROM traffic;
";

/// Versions remember what they were in a registry; `origin` may be 'oci'.
const FORMAT_3: &str = "
    ALTER TABLE version ADD COLUMN reference TEXT; -- `oci://…@sha256:…`
";

/// A service remembers what had the greatest share before what has it now, so
/// that a rollback leads there and not to whatever has the number before.
const FORMAT_4: &str = "
    ALTER TABLE deployed ADD COLUMN previous INTEGER; -- NULL: nothing had it before, or nobody knows
";

/// A service's revisions go on where they were when it is deployed again: who knows one of
/// those that were is not to take a later one for it.
const FORMAT_5: &str = "
    ALTER TABLE service ADD COLUMN last_revision INTEGER NOT NULL DEFAULT 0; -- stays, as last_number
    UPDATE service SET last_revision = revision FROM deployed WHERE deployed.service = service.name;
";

/// Versions remember whether they had the greatest share at some time, so that no rollback leads
/// to one that was only tried out. Of those that are there nobody knows: they may have.
const FORMAT_6: &str = "
    ALTER TABLE version ADD COLUMN served INTEGER NOT NULL DEFAULT 1;
";

/// Looks whether the file could be opened, and changes nothing. One that is not there can be made.
///
/// # Errors
/// As a deployer's start.
pub fn check_record(path: &Path) -> Result<(), RecordError> {
    if path.exists() {
        FORMATS.of(&sqlite::open(path, Access::Read)?)?;
    }
    Ok(())
}

/// Makes an empty file this format's, and upgrades an older one; refuses newer
/// formats.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), RecordError> {
    // Looked at before anything is changed, the journal's mode included.
    FORMATS.of(connection)?;
    journal::begin(connection, path)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Done after a commit by `Checkpoints`, which hears of an error where SQLite keeps it
    // to itself.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    FORMATS.upgrade(connection, |upgrade, _, now| match now {
        2 => carry_files_over(upgrade),
        _ => Ok(()),
    })?;
    Ok(())
}

/// What the plugin files held that serve, as format 1 knew it by their versions.
fn carry_files_over(change: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut statement = change.prepare(
        "SELECT traffic.file, component, manifest_file, manifest
         FROM traffic JOIN version USING (service, number)",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (file, component): (String, String) = (row.get(0)?, row.get(1)?);
        let (manifest_file, text): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
        // An embedded manifest is part of the component.
        let beside = manifest_file.filter(|name| *name == format!("{file}.toml"));
        let manifest = beside.and(text).map(|text| Digest::of(text.as_bytes()).to_string());
        change.execute(
            "INSERT INTO acted (file, component, manifest) VALUES (?1, ?2, ?3)",
            params![file, component, manifest],
        )?;
    }
    drop(rows);
    drop(statement);
    change.execute_batch("DROP TABLE traffic")
}
