//! Migrations: a service's own schema, applied once and in order.

use std::time::{Duration, Instant};

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{Batch, Connection, OptionalExtension as _};

use super::budget::Budget;
use super::error::{Error, SqlErrorKind};
use super::history::Footprint;
use super::rollback;
use super::sandbox::{Bounds, Broken, Watched};
use super::snapshot::Writes;
use super::writer::Writer;
use crate::digest::Digest;

/// How long all migrations of one deployment may take together.
pub(super) const MIGRATION_TIMEOUT: Duration = Duration::from_secs(60);

/// SQL that is applied once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Unique in the service.
    pub name: String,
    /// One or more statements.
    pub sql: String,
}

/// Why migrations were not applied. None of them was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MigrationError {
    /// Its SQL is not what was applied.
    #[error(
        "migration {name} was changed after it was applied at {applied_at}: \
         restore its text and add the change as a new migration"
    )]
    Changed {
        /// The migration.
        name: String,
        /// When, in RFC 3339.
        applied_at: String,
    },
    /// Its SQL failed.
    #[error("migration {name} failed: {reason}")]
    Failed {
        /// The migration.
        name: String,
        /// SQLite's words.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Applies what is not yet applied, in one transaction; undoes it again unless
/// `apply`. Returns the names.
pub(super) fn run(
    writer: &mut Writer,
    migrations: &[Migration],
    apply: bool,
) -> Result<Vec<String>, MigrationError> {
    let mut footprint = Footprint { sql: true, ..Footprint::default() };
    writer.begin_lease(&Writes::default(), &mut footprint)?;
    let deadline = Instant::now() + MIGRATION_TIMEOUT;
    let applied = apply_all(writer, migrations, deadline);
    if applied.is_err() || !apply {
        // It may have undone all of it already.
        let undone = writer.undo_lease(false);
        writer.redo();
        writer.commit_group();
        return applied.and_then(|names| undone.map(|()| names).map_err(MigrationError::from));
    }
    let mut durable = writer.end_lease(&footprint)?;
    writer.commit_group();
    durable.try_recv().unwrap_or_else(|_| {
        Err(Error::Unavailable("the migrations' commit has no known outcome".to_owned()))
    })?;
    writer.schema_changed()?;
    applied
}

fn apply_all(
    writer: &mut Writer,
    migrations: &[Migration],
    deadline: Instant,
) -> Result<Vec<String>, MigrationError> {
    let mut names = Vec::new();
    for migration in migrations {
        if !is_applied(&writer.connection, migration)? {
            apply_one(writer, migration, deadline)?;
            names.push(migration.name.clone());
        }
    }
    Ok(names)
}

fn is_applied(connection: &Connection, migration: &Migration) -> Result<bool, MigrationError> {
    let found: Option<(String, String)> = connection
        .query_row(
            "SELECT digest, applied_at FROM _migrations WHERE name = ?1",
            [&migration.name],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(|error| Error::of_host(&error))?;
    match found {
        None => Ok(false),
        Some((digest, _)) if digest == digest_of(migration) => Ok(true),
        Some((_, applied_at)) => {
            Err(MigrationError::Changed { name: migration.name.clone(), applied_at })
        }
    }
}

fn apply_one(
    writer: &mut Writer,
    migration: &Migration,
    deadline: Instant,
) -> Result<(), MigrationError> {
    let failed = |reason: String| MigrationError::Failed { name: migration.name.clone(), reason };
    rollback::refuse_nul(&migration.sql)
        .and_then(|()| rollback::refuse_clause(&migration.sql))
        .map_err(|error| failed(error.to_string()))?;
    let of_host = |error: rusqlite::Error| Error::of_host(&error);
    writer.sandbox().hosts(&writer.connection).map_err(of_host)?;
    let bounds = Bounds {
        watched: Watched {
            deadline,
            budget: Budget::default(),
            gone: None,
            ends_early: false,
            gives_way: true,
        },
        memory: writer.options().max_migration_memory,
        migrates: true,
    };
    let ran = run_all(writer, &migration.sql, &bounds);
    let reason = ran.as_ref().err().map(ToString::to_string);
    let survived = writer.survive(ran.err());
    survived.map_err(|error| failed(error.to_string()))?;
    reason.map_or(Ok(()), |reason| Err(failed(reason)))?;
    writer.judge_lease().map_err(|error| failed(error.to_string()))?;
    let connection = &writer.connection;
    writer.sandbox().check_schema(connection, &bounds).map_err(|broken| match broken {
        Broken::Rule(reason) | Broken::TooLarge(reason) => failed(reason),
        Broken::Unreadable(error) => of_host(error).into(),
    })?;
    connection
        .execute(
            "INSERT INTO _migrations (name, digest, applied_at)
             VALUES (?1, ?2, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
            (&migration.name, digest_of(migration)),
        )
        .map_err(|error| Error::of_host(&error))?;
    Ok(())
}

/// Runs the statements of a migration, one after the other, as a guest.
fn run_all(writer: &Writer, sql: &str, bounds: &Bounds) -> Result<(), Error> {
    let connection = &writer.connection;
    let mut rest = sql;
    loop {
        let mut guest = writer.sandbox().enter(connection, bounds.clone());
        guest.begin(rest);
        let first = Batch::new(connection, rest).next();
        let Some(mut statement) = first.map_err(|error| guest.failed(error))? else {
            return Ok(());
        };
        // It has no parameters, or binding none fails.
        let text = statement.expanded_sql().filter(|text| !text.is_empty());
        let Some(text) = text else {
            return Err(Error::sql(SqlErrorKind::Limit, "there is no memory for its text"));
        };
        rest = rest.split_once(&text).map_or("", |(_, rest)| rest);
        let plan = guest.plan(&text, &statement, writer.sandbox().known_plan(&text));
        guest.take_values(plan.value_bytes);
        let mut rows = statement.query(()).map_err(|error| guest.failed(error))?;
        while rows.next().map_err(|error| guest.failed(error))?.is_some() {}
    }
}

fn digest_of(migration: &Migration) -> String {
    Digest::of(migration.sql.as_bytes()).to_string()
}
