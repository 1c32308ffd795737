//! `host.db`: which services there are, their versions, how these share the
//! traffic, and per plugin file what was last done about it.
//!
//! Every change is one transaction with `synchronous=FULL`: it is there after a
//! crash or it never was.

mod rows;
mod schema;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, Transaction, params};
use serde::{Deserialize, Serialize};

use super::origin::Origin;
use super::plugin_file::Stem;
use crate::alarm::Alarm;
use crate::digest::Digest;
use crate::journal::{Checkpoints, JournalError};
use crate::manifest::{Canary, ManifestText};
use crate::service::{ServiceName, TrafficPlan, VersionId};

/// The open `host.db`.
#[derive(Debug)]
pub(super) struct Record {
    connection: Mutex<Connection>,
    checkpoints: Checkpoints,
    /// How many of a service's versions are kept, besides those with traffic.
    keep: u64,
    /// Rings when the file fails.
    alarm: Alarm,
}

/// A version as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VersionRecord {
    pub(super) id: VersionId,
    pub(super) component: Digest,
    /// The manifest's text; none where it is the default.
    pub(super) manifest: Option<ManifestText>,
    pub(super) origin: Origin,
    /// Who brought it, as far as that is known.
    pub(super) who: Option<String>,
    /// RFC 3339.
    pub(super) deployed_at: String,
    /// Why its traffic was taken from it, if it was.
    pub(super) rolled_back: Option<String>,
}

/// A service that is deployed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DeployedRecord {
    pub(super) service: ServiceName,
    /// The plugin file that it was last deployed from.
    pub(super) file: Option<Stem>,
    /// Counts the changes of its traffic.
    pub(super) revision: u64,
    pub(super) plan: TrafficPlan,
    pub(super) canary: Option<CanaryRecord>,
}

/// A canary under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CanaryRecord {
    /// The deployment that it belongs to.
    pub(super) deployment: String,
    /// The version that serves.
    pub(super) old: u64,
    /// The version on trial.
    pub(super) new: u64,
    /// How it goes on.
    pub(super) settings: Canary,
    /// Which of the steps it is at.
    pub(super) step: usize,
    /// Whether it waits for the operator.
    pub(super) held: bool,
    /// Why it does.
    #[serde(default)]
    pub(super) reason: Option<String>,
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
    /// It has no write-ahead log that can be relied on.
    #[error("host.db: {0}")]
    Journal(String),
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

impl From<JournalError> for RecordError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error.to_string())
    }
}

impl Record {
    /// Opens `host.db`, making it where there is none.
    pub(super) fn open(path: &Path, keep: usize, alarm: Alarm) -> Result<Self, RecordError> {
        let mut connection = Connection::open(path)?;
        schema::prepare(&mut connection, path)?;
        let checkpoints = Checkpoints::install(&mut connection)?;
        Ok(Self { connection: Mutex::new(connection), checkpoints, keep: keep as u64, alarm })
    }

    /// The number of the service's next version. Never given twice, also when
    /// the version doesn't come to serve.
    pub(super) fn next_number(&self, service: &ServiceName) -> Result<u64, RecordError> {
        self.change(|change| {
            change.query_row(
                "INSERT INTO service (name, last_number) VALUES (?1, 1)
                 ON CONFLICT (name) DO UPDATE SET last_number = last_number + 1
                 RETURNING last_number",
                [service.as_str()],
                |row| row.get(0),
            )
        })
    }

    /// Gives a new version its share of its service's traffic. What its file
    /// served before under another name, and what another file served under this
    /// name, ends with it; `seen` is what the file held. Returns the service's
    /// revision, and whether old versions were forgotten.
    pub(super) fn deploy(
        &self,
        version: &VersionRecord,
        seen: &Seen,
        plan: &TrafficPlan,
        canary: Option<&CanaryRecord>,
    ) -> Result<(u64, bool), RecordError> {
        let service = version.id.service.as_str();
        let file = version.origin.file().map(Stem::as_str);
        self.change(|change| {
            rows::insert_version(change, version)?;
            change.execute(
                "DELETE FROM deployed WHERE file = ?1 AND service <> ?2",
                [file, Some(service)],
            )?;
            let revision = rows::share(change, service, plan, canary)?;
            let of_file = "UPDATE deployed SET file = ?2 WHERE service = ?1";
            change.execute(of_file, params![service, file])?;
            if let Some(file) = file {
                change.execute("DELETE FROM refusal WHERE file = ?1", [file])?;
                rows::insert_acted(change, file, seen)?;
            }
            let pruned = prune(change, service, self.keep)?;
            Ok((revision, pruned > 0))
        })
    }

    /// Shares a service's traffic anew among versions that are kept. `rolled_back`
    /// are those that lost it by their fault or by the operator's word, and why.
    /// Those that have some count as good again. Returns the service's revision.
    pub(super) fn share(
        &self,
        service: &ServiceName,
        plan: &TrafficPlan,
        canary: Option<&CanaryRecord>,
        rolled_back: Option<(u64, &str)>,
    ) -> Result<u64, RecordError> {
        let service = service.as_str();
        self.change(|change| {
            let revision = rows::share(change, service, plan, canary)?;
            change.execute(
                "UPDATE version SET rolled_back = NULL WHERE service = ?1
                 AND number IN (SELECT number FROM share WHERE service = ?1)",
                [service],
            )?;
            if let Some((number, reason)) = rolled_back {
                change.execute(
                    "UPDATE version SET rolled_back = ?3 WHERE service = ?1 AND number = ?2",
                    params![service, number, reason],
                )?;
            }
            Ok(revision)
        })
    }

    /// The service is deployed no more; its versions are kept.
    pub(super) fn remove(&self, service: &ServiceName) -> Result<(), RecordError> {
        let delete = "DELETE FROM deployed WHERE service = ?1";
        self.change(|change| change.execute(delete, [service.as_str()]).map(drop))
    }

    /// The file is gone, and with it what it served.
    pub(super) fn remove_file(&self, file: &Stem) -> Result<(), RecordError> {
        self.change(|change| remove_file(change, file))
    }

    /// Remembers of files that they were refused, or that they are gone, and with them what
    /// they served; what serves of the others stays.
    pub(super) fn note_files(
        &self,
        files: &BTreeMap<Stem, Option<RefusalRecord>>,
    ) -> Result<(), RecordError> {
        self.change(|change| {
            files.iter().try_for_each(|(file, refusal)| match refusal {
                Some(refusal) => rows::insert_refusal(change, file, refusal),
                None => remove_file(change, file),
            })
        })
    }

    /// The file is as what serves is: no refusal of it counts any more.
    pub(super) fn forget_refusal(&self, file: &Stem) -> Result<(), RecordError> {
        let delete = "DELETE FROM refusal WHERE file = ?1";
        self.change(|change| change.execute(delete, [file.as_str()]).map(drop))
    }

    /// The services that are deployed, each with the versions that have traffic.
    pub(super) fn deployed(
        &self,
    ) -> Result<Vec<(DeployedRecord, Vec<VersionRecord>)>, RecordError> {
        let connection = self.lock();
        let services = rows::deployed(&connection)?;
        let with_versions = |deployed: DeployedRecord| {
            let shares = deployed.plan.versions.iter();
            let versions = shares
                .map(|share| rows::version(&connection, &deployed.service, share.version))
                .collect::<Result<Vec<_>, _>>()?;
            // The foreign key keeps each of them.
            Ok((deployed, versions.into_iter().flatten().collect()))
        };
        services.into_iter().map(with_versions).collect()
    }

    /// The service's versions that are kept, the newest first.
    pub(super) fn versions(
        &self,
        service: &ServiceName,
    ) -> Result<Vec<VersionRecord>, RecordError> {
        Ok(rows::versions(&self.lock(), service)?)
    }

    /// All services' versions that are kept; first those that served before.
    pub(super) fn all_versions(&self) -> Result<Vec<VersionRecord>, RecordError> {
        Ok(rows::all_versions(&self.lock())?)
    }

    /// One of a service's.
    pub(super) fn version(
        &self,
        service: &ServiceName,
        number: u64,
    ) -> Result<Option<VersionRecord>, RecordError> {
        Ok(rows::version(&self.lock(), service, number)?)
    }

    /// The version that had the greatest share before the one that has it now.
    pub(super) fn previous(&self, service: &ServiceName) -> Result<Option<u64>, RecordError> {
        Ok(rows::previous(&self.lock(), service.as_str())?)
    }

    /// The refusals by file.
    pub(super) fn refusals(&self) -> Result<BTreeMap<Stem, RefusalRecord>, RecordError> {
        Ok(rows::refusals(&self.lock())?)
    }

    /// What each plugin file held when it was last deployed.
    pub(super) fn acted(&self) -> Result<BTreeMap<Stem, Seen>, RecordError> {
        Ok(rows::acted(&self.lock())?)
    }

    /// The components of all versions that are kept.
    pub(super) fn kept_components(&self) -> Result<HashSet<Digest>, RecordError> {
        Ok(rows::components(&self.lock())?)
    }

    /// Makes a change, all of it or nothing. Durable when it returns. Where the file
    /// fails at it the host has to end: what a failed sync left is not certain.
    fn change<T>(
        &self,
        make: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, RecordError> {
        let mut connection = self.lock();
        let changed = connection.transaction().and_then(|change| {
            let made = make(&change)?;
            change.commit()?;
            Ok(made)
        });
        let changed = changed.map_err(|error| self.failed(error))?;
        if let Err(error) = self.checkpoints.run_if_due(&connection) {
            let error = self.failed(error);
            tracing::warn!(%error, "the write-ahead log of host.db is carried over later");
        }
        Ok(changed)
    }

    /// Rings where the file itself failed: nothing that this process believes of it is
    /// certain any more.
    fn failed(&self, error: rusqlite::Error) -> RecordError {
        if matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ) {
            self.alarm.ring(format!(
                "host.db failed: {error}; nothing more is acknowledged. \
                 Check the disk and start the host again"
            ));
        }
        RecordError::Sqlite(error)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic in between left a transaction that its drop rolled back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove_file(change: &Transaction<'_>, file: &Stem) -> rusqlite::Result<()> {
    for table in ["deployed", "refusal", "acted"] {
        change.execute(&format!("DELETE FROM {table} WHERE file = ?1"), [file.as_str()])?;
    }
    Ok(())
}

/// Forgets a service's oldest versions, but none that has traffic, and not the one
/// that a rollback leads to.
fn prune(change: &Transaction<'_>, service: &str, keep: u64) -> rusqlite::Result<usize> {
    change.execute(
        "DELETE FROM version WHERE service = ?1
         AND number NOT IN (SELECT number FROM share WHERE service = ?1)
         AND number IS NOT (SELECT previous FROM deployed WHERE service = ?1)
         AND number NOT IN (SELECT number FROM version WHERE service = ?1 ORDER BY number DESC LIMIT ?2)",
        params![service, keep],
    )
}

#[cfg(test)]
mod tests;
