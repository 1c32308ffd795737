//! From rows of `host.db` to records, and back.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CanaryRecord, DeployedRecord, RefusalRecord, Seen, VersionRecord};
use crate::deploy::origin::Origin;
use crate::deploy::plugin_file::Stem;
use crate::digest::Digest;
use crate::manifest::ManifestText;
use crate::name::{ServiceName, VersionId};
use crate::service::{Share, TrafficPlan};

pub(super) fn insert_version(
    connection: &Connection,
    version: &VersionRecord,
) -> rusqlite::Result<()> {
    let (origin, file) = match &version.origin {
        Origin::File(file) => ("file", file.as_str()),
        Origin::Upload => ("upload", version.id.service.as_str()),
        Origin::Oci(_) => ("oci", version.id.service.as_str()),
    };
    connection.execute(
        "INSERT INTO version (service, number, component, manifest_file, manifest, file, deployed_at,
                              origin, who, reference, served)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0)",
        params![
            version.id.service.as_str(),
            version.id.number,
            version.component.to_string(),
            version.manifest.as_ref().map(|manifest| &manifest.file),
            version.manifest.as_ref().map(|manifest| &manifest.text),
            file,
            version.deployed_at,
            origin,
            version.who,
            version.origin.reference(),
        ],
    )?;
    Ok(())
}

/// Writes how a service's traffic is shared, and what had the greatest share until
/// then if that changes, and what has it now; returns its revision.
pub(super) fn share(
    connection: &Connection,
    service: &str,
    plan: &TrafficPlan,
    canary: Option<&CanaryRecord>,
) -> rusqlite::Result<u64> {
    let before = Share::greatest(&shares(connection, service)?);
    let previous = before.filter(|before| Some(*before) != Share::greatest(&plan.versions));
    // Never one that it had before, also where it was not deployed in between.
    let revision: u64 = connection.query_row(
        "INSERT INTO service (name, last_number, last_revision) VALUES (?1, 0, 1)
         ON CONFLICT (name) DO UPDATE SET last_revision = last_revision + 1
         RETURNING last_revision",
        [service],
        |row| row.get(0),
    )?;
    connection.execute(
        "INSERT INTO deployed (service, revision, rules, sticky, canary) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (service) DO UPDATE
         SET revision = excluded.revision, rules = excluded.rules, sticky = excluded.sticky,
             canary = excluded.canary, previous = coalesce(?6, previous)",
        params![
            service,
            revision,
            json(&plan.rules),
            plan.sticky.as_ref().map(json),
            canary.map(json),
            previous
        ],
    )?;
    connection.execute("DELETE FROM share WHERE service = ?1", [service])?;
    for share in &plan.versions {
        connection.execute(
            "INSERT INTO share (service, number, weight) VALUES (?1, ?2, ?3)",
            params![service, share.version, share.weight],
        )?;
    }
    connection.execute(
        "UPDATE version SET served = 1 WHERE service = ?1 AND number = ?2",
        params![service, Share::greatest(&plan.versions)],
    )?;
    Ok(revision)
}

/// The version before `newest` that a rollback leads to: what had the greatest share before what
/// has it now, else the newest that had it at some time; none that was rolled back.
pub(super) fn earlier(
    connection: &Connection,
    service: &str,
    newest: u64,
) -> rusqlite::Result<Option<u64>> {
    let select = "SELECT number FROM version
                  WHERE service = ?1 AND number < ?2 AND served AND rolled_back IS NULL
                  ORDER BY number IS (SELECT previous FROM deployed WHERE service = ?1) DESC,
                           number DESC
                  LIMIT 1";
    connection.query_row(select, params![service, newest], |row| row.get(0)).optional()
}

pub(super) fn insert_acted(
    connection: &Connection,
    file: &str,
    seen: &Seen,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO acted (file, component, manifest) VALUES (?1, ?2, ?3)",
        params![
            file,
            seen.component.map(|digest| digest.to_string()),
            seen.manifest.map(|digest| digest.to_string()),
        ],
    )?;
    Ok(())
}

pub(super) fn insert_refusal(
    connection: &Connection,
    file: &Stem,
    refusal: &RefusalRecord,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO refusal (file, component, manifest, service, reasons, blocked, host, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            file.as_str(),
            refusal.seen.component.map(|digest| digest.to_string()),
            refusal.seen.manifest.map(|digest| digest.to_string()),
            refusal.service.as_ref().map(ServiceName::as_str),
            json(&refusal.reasons),
            u8::from(refusal.blocked) + u8::from(refusal.waits),
            refusal.host,
            refusal.at,
        ],
    )?;
    Ok(())
}

pub(super) fn deployed(connection: &Connection) -> rusqlite::Result<Vec<DeployedRecord>> {
    let mut statement = connection.prepare(
        "SELECT service, file, revision, rules, sticky, canary FROM deployed ORDER BY service",
    )?;
    let services = statement.query_map([], |row| {
        let service: ServiceName = parsed(row, 0)?;
        let plan = TrafficPlan {
            versions: shares(connection, service.as_str())?,
            rules: from_json(row, 3)?.unwrap_or_default(),
            sticky: from_json(row, 4)?,
        };
        Ok(DeployedRecord {
            service,
            file: row.get::<_, Option<String>>(1)?.map(|file| Stem::new(&file)),
            revision: row.get(2)?,
            plan,
            canary: from_json(row, 5)?,
        })
    })?;
    services.collect()
}

fn shares(connection: &Connection, service: &str) -> rusqlite::Result<Vec<Share>> {
    let mut statement = connection
        .prepare_cached("SELECT number, weight FROM share WHERE service = ?1 ORDER BY number")?;
    let shares = statement
        .query_map([service], |row| Ok(Share { version: row.get(0)?, weight: row.get(1)? }))?;
    shares.collect()
}

const VERSION: &str =
    "SELECT service, number, component, manifest_file, manifest, file, deployed_at,
                              origin, who, rolled_back, reference FROM version";

pub(super) fn versions(
    connection: &Connection,
    service: &ServiceName,
) -> rusqlite::Result<Vec<VersionRecord>> {
    let mut statement =
        connection.prepare_cached(&format!("{VERSION} WHERE service = ?1 ORDER BY number DESC"))?;
    statement.query_map([service.as_str()], read_version)?.collect()
}

pub(super) fn all_versions(connection: &Connection) -> rusqlite::Result<Vec<VersionRecord>> {
    let mut statement = connection.prepare(&format!(
        "{VERSION} ORDER BY number IS (SELECT previous FROM deployed
                                       WHERE deployed.service = version.service) DESC,
                            number DESC"
    ))?;
    statement.query_map([], read_version)?.collect()
}

pub(super) fn version(
    connection: &Connection,
    service: &ServiceName,
    number: u64,
) -> rusqlite::Result<Option<VersionRecord>> {
    let mut statement =
        connection.prepare_cached(&format!("{VERSION} WHERE service = ?1 AND number = ?2"))?;
    statement.query_row(params![service.as_str(), number], read_version).optional()
}

fn read_version(row: &Row<'_>) -> rusqlite::Result<VersionRecord> {
    let manifest = match (row.get(3)?, row.get(4)?) {
        (Some(file), Some(text)) => Some(ManifestText { file, text }),
        _ => None,
    };
    let origin = match (row.get::<_, String>(7)?.as_str(), row.get(10)?) {
        ("oci", Some(reference)) => Origin::Oci(reference),
        ("upload" | "oci", _) => Origin::Upload,
        _ => Origin::File(Stem::new(&row.get::<_, String>(5)?)),
    };
    Ok(VersionRecord {
        id: VersionId { service: parsed(row, 0)?, number: row.get(1)? },
        component: parsed(row, 2)?,
        manifest,
        origin,
        deployed_at: row.get(6)?,
        who: row.get(8)?,
        rolled_back: row.get(9)?,
    })
}

pub(super) fn refusals(connection: &Connection) -> rusqlite::Result<BTreeMap<Stem, RefusalRecord>> {
    let mut statement = connection.prepare(
        "SELECT file, component, manifest, service, reasons, blocked, host, at FROM refusal",
    )?;
    let refusals = statement.query_map([], |row| {
        let refusal = RefusalRecord {
            seen: Seen { component: parsed_if_any(row, 1)?, manifest: parsed_if_any(row, 2)? },
            service: parsed_if_any(row, 3)?,
            reasons: from_json(row, 4)?.unwrap_or_default(),
            blocked: row.get(5)?,
            waits: row.get::<_, u8>(5)? > 1,
            host: row.get(6)?,
            at: row.get(7)?,
        };
        Ok((Stem::new(&row.get::<_, String>(0)?), refusal))
    })?;
    refusals.collect()
}

pub(super) fn acted(connection: &Connection) -> rusqlite::Result<BTreeMap<Stem, Seen>> {
    let mut statement = connection.prepare("SELECT file, component, manifest FROM acted")?;
    let acted = statement.query_map([], |row| {
        let seen = Seen { component: parsed_if_any(row, 1)?, manifest: parsed_if_any(row, 2)? };
        Ok((Stem::new(&row.get::<_, String>(0)?), seen))
    })?;
    acted.collect()
}

pub(super) fn components(connection: &Connection) -> rusqlite::Result<HashSet<Digest>> {
    let mut statement = connection.prepare("SELECT DISTINCT component FROM version")?;
    statement.query_map([], |row| parsed(row, 0))?.collect()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("records have text keys only")
}

fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| conversion(column, error)))
        .transpose()
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
