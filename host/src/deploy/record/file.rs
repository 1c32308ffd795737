//! The file itself, and what is asked of it. All of it blocks.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use super::{
    CanaryRecord, DeployedRecord, RecordError, RefusalRecord, Seen, VersionRecord, rows, schema,
};
use crate::alarm::Alarm;
use crate::deploy::plugin_file::Stem;
use crate::digest::Digest;
use crate::failpoint;
use crate::journal::Checkpoints;
use crate::name::ServiceName;
use crate::service::TrafficPlan;
use crate::sqlite::{self, Access};

/// The open `host.db`.
#[derive(Debug)]
pub(in crate::deploy) struct RecordFile {
    pub(super) connection: Connection,
    checkpoints: Checkpoints,
    /// How many of a service's versions are kept, besides those with traffic.
    keep: u64,
    /// Rings when the file fails.
    alarm: Alarm,
}

impl RecordFile {
    /// Opens `host.db`, making it where there is none.
    pub(in crate::deploy) fn open(
        path: &Path,
        keep: usize,
        alarm: Alarm,
    ) -> Result<Self, RecordError> {
        let mut connection = sqlite::open(path, Access::Make)?;
        schema::prepare(&mut connection, path)?;
        let checkpoints = Checkpoints::install(&mut connection)?;
        Ok(Self { connection, checkpoints, keep: keep as u64, alarm })
    }

    /// The number of the service's next version. Never given twice, also when
    /// the version doesn't come to serve.
    pub(in crate::deploy) fn next_number(&self, service: &ServiceName) -> Result<u64, RecordError> {
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
    pub(in crate::deploy) fn deploy(
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
    pub(in crate::deploy) fn share(
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
    pub(in crate::deploy) fn remove(&self, service: &ServiceName) -> Result<(), RecordError> {
        let delete = "DELETE FROM deployed WHERE service = ?1";
        self.change(|change| change.execute(delete, [service.as_str()]).map(drop))
    }

    /// The file is gone, and with it what it served.
    pub(in crate::deploy) fn remove_file(&self, file: &Stem) -> Result<(), RecordError> {
        self.change(|change| remove_file(change, file))
    }

    /// Remembers of files that they were refused, or that they are gone, and with them what
    /// they served; what serves of the others stays.
    pub(in crate::deploy) fn note_files(
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
    pub(in crate::deploy) fn forget_refusal(&self, file: &Stem) -> Result<(), RecordError> {
        let delete = "DELETE FROM refusal WHERE file = ?1";
        self.change(|change| change.execute(delete, [file.as_str()]).map(drop))
    }

    /// The services that are deployed, each with the versions that have traffic.
    pub(in crate::deploy) fn deployed(
        &self,
    ) -> Result<Vec<(DeployedRecord, Vec<VersionRecord>)>, RecordError> {
        let services = rows::deployed(&self.connection)?;
        let with_versions = |deployed: DeployedRecord| {
            let shares = deployed.plan.versions.iter();
            let versions = shares
                .map(|share| rows::version(&self.connection, &deployed.service, share.version))
                .collect::<Result<Vec<_>, _>>()?;
            // The foreign key keeps each of them.
            Ok((deployed, versions.into_iter().flatten().collect()))
        };
        services.into_iter().map(with_versions).collect()
    }

    /// The service's versions that are kept, the newest first.
    pub(in crate::deploy) fn versions(
        &self,
        service: &ServiceName,
    ) -> Result<Vec<VersionRecord>, RecordError> {
        Ok(rows::versions(&self.connection, service)?)
    }

    /// All services' versions that are kept; first those that served before.
    pub(in crate::deploy) fn all_versions(&self) -> Result<Vec<VersionRecord>, RecordError> {
        Ok(rows::all_versions(&self.connection)?)
    }

    /// One of a service's.
    pub(in crate::deploy) fn version(
        &self,
        service: &ServiceName,
        number: u64,
    ) -> Result<Option<VersionRecord>, RecordError> {
        Ok(rows::version(&self.connection, service, number)?)
    }

    /// The version before `newest` that a rollback leads to.
    pub(in crate::deploy) fn earlier(
        &self,
        service: &ServiceName,
        newest: u64,
    ) -> Result<Option<u64>, RecordError> {
        Ok(rows::earlier(&self.connection, service.as_str(), newest)?)
    }

    /// The refusals by file.
    pub(in crate::deploy) fn refusals(&self) -> Result<BTreeMap<Stem, RefusalRecord>, RecordError> {
        Ok(rows::refusals(&self.connection)?)
    }

    /// What each plugin file held when it was last deployed.
    pub(in crate::deploy) fn acted(&self) -> Result<BTreeMap<Stem, Seen>, RecordError> {
        Ok(rows::acted(&self.connection)?)
    }

    /// The components of all versions that are kept.
    pub(in crate::deploy) fn kept_components(&self) -> Result<HashSet<Digest>, RecordError> {
        Ok(rows::components(&self.connection)?)
    }

    /// Changes nothing, where something could be changed.
    pub(in crate::deploy) fn probe(&self) -> Result<(), RecordError> {
        self.change(|change| change.execute("DELETE FROM deployed WHERE FALSE", ()).map(drop))
    }

    /// Makes a change, all of it or nothing. Durable when it returns. Where the file
    /// fails at it the host has to end: what a failed sync left is not certain.
    fn change<T>(
        &self,
        make: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, RecordError> {
        // At once to write: one that began to read would not wait for whoever else writes. And
        // not one within another: `make` has this one only.
        let begun = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate);
        let changed = begun.and_then(|change| {
            let made = make(&change)?;
            failpoint::stall("host.db");
            change.commit()?;
            Ok(made)
        });
        let changed = changed.map_err(|error| self.failed(error))?;
        if let Err(error) = self.checkpoints.run_if_due(&self.connection) {
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
        error.into()
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
