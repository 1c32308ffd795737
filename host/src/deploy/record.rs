//! `host.db`: which services there are, their versions, which has the traffic,
//! and per plugin file what was last done about it.
//!
//! Every change is one transaction with `synchronous=FULL`: it is there after a
//! crash or it never was.

mod schema;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::types::Type;
use rusqlite::{Connection, Row, Transaction, params};

use super::config::KEPT_VERSIONS;
use super::plugin_file::Stem;
use crate::digest::Digest;
use crate::manifest::ManifestText;
use crate::service::{ServiceName, VersionId};

/// The open `host.db`.
#[derive(Debug)]
pub(super) struct Record {
    connection: Mutex<Connection>,
}

/// A version as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VersionRecord {
    pub(super) id: VersionId,
    pub(super) component: Digest,
    /// The manifest's text; none where it is the default.
    pub(super) manifest: Option<ManifestText>,
    /// The plugin file that it came from.
    pub(super) file: Stem,
    /// RFC 3339.
    pub(super) deployed_at: String,
}

/// What was last refused of a plugin file, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusalRecord {
    pub(super) seen: Seen,
    pub(super) service: Option<ServiceName>,
    pub(super) reasons: Vec<String>,
    /// Whether what other services have is among the reasons.
    pub(super) blocked: bool,
    /// The host that refused it; another may accept it.
    pub(super) host: String,
    /// RFC 3339.
    pub(super) at: String,
}

/// The content of a pair of plugin files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// None where it could not be read.
    pub(super) component: Option<Digest>,
    /// Of the manifest beside it, or embedded; of nothing where there is none.
    pub(super) manifest: Option<Digest>,
}

/// Why `host.db` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// SQLite's word.
    #[error("host.db: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Made by a newer Hotdock.
    #[error(
        "host.db has format {found}, and this hotdock knows {known}: run the newer hotdock that made it"
    )]
    Newer {
        /// The file's.
        found: i64,
        /// The newest that this build reads.
        known: i64,
    },
    /// Some other program's database.
    #[error("host.db was not made by hotdock")]
    Foreign,
}

impl Record {
    /// Opens `host.db`, making it where there is none.
    pub(super) fn open(path: &Path) -> Result<Self, RecordError> {
        let mut connection = Connection::open(path)?;
        schema::prepare(&mut connection)?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// The number of the service's next version. Never given twice, also when
    /// the version doesn't come to serve.
    pub(super) fn next_number(&self, service: &ServiceName) -> Result<u64, RecordError> {
        let number = self.lock().query_row(
            "INSERT INTO service (name, last_number) VALUES (?1, 1)
             ON CONFLICT (name) DO UPDATE SET last_number = last_number + 1
             RETURNING last_number",
            [service.as_str()],
            |row| row.get(0),
        )?;
        Ok(number)
    }

    /// Gives a version its service's traffic. What its file served before under
    /// another name, and what another file served under this name, ends with it.
    /// Returns whether old versions were forgotten.
    pub(super) fn swap(&self, version: &VersionRecord) -> Result<bool, RecordError> {
        let mut connection = self.lock();
        let change = connection.transaction()?;
        let (service, file) = (version.id.service.as_str(), version.file.as_str());
        change.execute(
            "INSERT INTO version (service, number, component, manifest_file, manifest, file, deployed_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                service,
                version.id.number,
                version.component.to_string(),
                version.manifest.as_ref().map(|manifest| &manifest.file),
                version.manifest.as_ref().map(|manifest| &manifest.text),
                file,
                version.deployed_at,
            ],
        )?;
        change.execute("DELETE FROM traffic WHERE service = ?1 OR file = ?2", [service, file])?;
        change.execute(
            "INSERT INTO traffic (service, number, file) VALUES (?1, ?2, ?3)",
            params![service, version.id.number, file],
        )?;
        change.execute("DELETE FROM refusal WHERE file = ?1", [file])?;
        let pruned = prune(&change, service)?;
        change.commit()?;
        Ok(pruned > 0)
    }

    /// Remembers a refusal; what serves stays.
    pub(super) fn refuse(&self, file: &Stem, refusal: &RefusalRecord) -> Result<(), RecordError> {
        self.lock().execute(
            "INSERT OR REPLACE INTO refusal (file, component, manifest, service, reasons, blocked, host, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                file.as_str(),
                refusal.seen.component.map(|digest| digest.to_string()),
                refusal.seen.manifest.map(|digest| digest.to_string()),
                refusal.service.as_ref().map(ServiceName::as_str),
                serde_json::to_string(&refusal.reasons).expect("texts are JSON"),
                refusal.blocked,
                refusal.host,
                refusal.at,
            ],
        )?;
        Ok(())
    }

    /// The file is as what serves is: no refusal of it counts any more.
    pub(super) fn forget_refusal(&self, file: &Stem) -> Result<(), RecordError> {
        self.lock().execute("DELETE FROM refusal WHERE file = ?1", [file.as_str()])?;
        Ok(())
    }

    /// The file is gone, and with it what it served.
    pub(super) fn remove(&self, file: &Stem) -> Result<(), RecordError> {
        let mut connection = self.lock();
        let change = connection.transaction()?;
        change.execute("DELETE FROM traffic WHERE file = ?1", [file.as_str()])?;
        change.execute("DELETE FROM refusal WHERE file = ?1", [file.as_str()])?;
        change.commit()?;
        Ok(())
    }

    /// The versions that have traffic.
    pub(super) fn serving(&self) -> Result<Vec<VersionRecord>, RecordError> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT version.service, version.number, component, manifest_file, manifest,
                    traffic.file, deployed_at
             FROM traffic JOIN version USING (service, number) ORDER BY service",
        )?;
        let versions = statement.query_map([], version)?.collect::<Result<_, _>>()?;
        Ok(versions)
    }

    /// The refusals by file.
    pub(super) fn refusals(&self) -> Result<BTreeMap<Stem, RefusalRecord>, RecordError> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT file, component, manifest, service, reasons, blocked, host, at FROM refusal",
        )?;
        let refusals = statement.query_map([], refusal)?.collect::<Result<_, _>>()?;
        Ok(refusals)
    }

    /// The components of all versions that are kept.
    pub(super) fn kept_components(&self) -> Result<HashSet<Digest>, RecordError> {
        let connection = self.lock();
        let mut statement = connection.prepare("SELECT DISTINCT component FROM version")?;
        let kept = statement.query_map([], |row| parsed(row, 0))?.collect::<Result<_, _>>()?;
        Ok(kept)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic in between left a transaction that its drop rolled back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a service's oldest versions, but none that has traffic.
fn prune(change: &Transaction<'_>, service: &str) -> rusqlite::Result<usize> {
    change.execute(
        "DELETE FROM version WHERE service = ?1
         AND number NOT IN (SELECT number FROM traffic WHERE service = ?1)
         AND number NOT IN (SELECT number FROM version WHERE service = ?1 ORDER BY number DESC LIMIT ?2)",
        params![service, KEPT_VERSIONS as u64],
    )
}

fn version(row: &Row<'_>) -> rusqlite::Result<VersionRecord> {
    let manifest = match (row.get(3)?, row.get(4)?) {
        (Some(file), Some(text)) => Some(ManifestText { file, text }),
        _ => None,
    };
    Ok(VersionRecord {
        id: VersionId { service: parsed(row, 0)?, number: row.get(1)? },
        component: parsed(row, 2)?,
        manifest,
        file: Stem::new(&row.get::<_, String>(5)?),
        deployed_at: row.get(6)?,
    })
}

fn refusal(row: &Row<'_>) -> rusqlite::Result<(Stem, RefusalRecord)> {
    let reasons: String = row.get(4)?;
    let refusal = RefusalRecord {
        seen: Seen { component: parsed_if_any(row, 1)?, manifest: parsed_if_any(row, 2)? },
        service: parsed_if_any(row, 3)?,
        reasons: serde_json::from_str(&reasons).map_err(|error| conversion(4, error))?,
        blocked: row.get(5)?,
        host: row.get(6)?,
        at: row.get(7)?,
    };
    Ok((Stem::new(&row.get::<_, String>(0)?), refusal))
}

fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get::<_, String>(column)?.parse().map_err(|error| conversion(column, error))
}

fn parsed_if_any<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(|error| conversion(column, error))).transpose()
}

fn conversion(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

#[cfg(test)]
mod tests;
