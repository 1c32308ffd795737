//! Migrations: a service's own schema, applied once and in order.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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

/// How long a candidate's health may take on migrations that are not committed: nobody else
/// writes meanwhile.
pub(super) const TRIAL_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// It was applied, and is not there any more, or not where it was.
    #[error(
        "migration {name} was applied at {applied_at} and {now}: \
         restore the migrations as they were applied, and add new ones after them"
    )]
    Missing {
        /// The migration.
        name: String,
        /// When, in RFC 3339.
        applied_at: String,
        /// That it is gone, or comes after others.
        now: &'static str,
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
/// `apply`, or when nobody waits for it any more. Returns the names.
pub(super) fn run(
    writer: &mut Writer,
    migrations: &[Migration],
    apply: bool,
    gone: &Arc<AtomicBool>,
) -> Result<Vec<String>, MigrationError> {
    let mut footprint = Footprint { sql: true, ..Footprint::default() };
    writer.begin_lease(&Writes::default(), &mut footprint)?;
    let deadline = Instant::now() + writer.options().migration_timeout;
    // A deployment tries them first.
    let kept = if apply { Ok(0) } else { keep_their_order(&writer.connection, migrations) };
    let applied = kept.and_then(|_| apply_all(writer, migrations, deadline, gone));
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

/// Applies what is not yet applied below a lease that is begun, so that what is undone of the
/// lease leaves it.
pub(super) fn put_on_trial(
    writer: &mut Writer,
    migrations: &[Migration],
    gone: &Arc<AtomicBool>,
) -> Result<(), Error> {
    let deadline = Instant::now() + writer.options().migration_timeout;
    let applied = apply_all(writer, migrations, deadline, gone);
    let applied = applied.map(drop).map_err(|error| match error {
        MigrationError::Store(error) => error,
        error => Error::Unavailable(error.to_string()),
    });
    let nested = applied.and_then(|()| writer.nest_lease());
    if nested.is_err() {
        end_trial(writer);
        writer.redo();
        writer.commit_group();
    }
    nested
}

/// Undoes it. Where the group was undone already, it is.
pub(super) fn end_trial(writer: &mut Writer) {
    if let Err(error) = writer.undo_lease(false) {
        tracing::debug!(%error, "migrations on trial are undone with their group");
    }
}

fn apply_all(
    writer: &mut Writer,
    migrations: &[Migration],
    deadline: Instant,
    gone: &Arc<AtomicBool>,
) -> Result<Vec<String>, MigrationError> {
    let mut names = Vec::new();
    for migration in migrations {
        if !is_applied(&writer.connection, migration)? {
            apply_one(writer, migration, deadline, gone)?;
            names.push(migration.name.clone());
        }
    }
    Ok(names)
}

/// How many were applied. They come first, and in the order in which they were: another
/// store, which has yet to apply all, would come to another schema.
fn keep_their_order(
    connection: &Connection,
    migrations: &[Migration],
) -> Result<usize, MigrationError> {
    let mut applied = connection
        .prepare_cached("SELECT name, applied_at FROM _migrations ORDER BY position")
        .map_err(|error| Error::of_host(&error))?;
    let applied = applied
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect::<Result<Vec<(String, String)>, _>>)
        .map_err(|error| Error::of_host(&error))?;
    let number = applied.len();
    for (index, (name, applied_at)) in applied.into_iter().enumerate() {
        let is_here = migrations.get(index).is_some_and(|migration| migration.name == name);
        if !is_here {
            let is_there = migrations.iter().any(|migration| migration.name == name);
            let now = if is_there { "comes after others now" } else { "is gone" };
            return Err(MigrationError::Missing { name, applied_at, now });
        }
    }
    Ok(number)
}

/// Whether just these were applied, each as it is.
pub(super) fn are_applied(
    connection: &Connection,
    migrations: &[Migration],
) -> Result<bool, MigrationError> {
    if keep_their_order(connection, migrations)? != migrations.len() {
        return Ok(false);
    }
    migrations.iter().try_fold(true, |all, each| Ok(all && is_applied(connection, each)?))
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
    gone: &Arc<AtomicBool>,
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
            gone: Some(Arc::clone(gone)),
            // All of it is undone then, and nothing else is in its transaction.
            ends_early: true,
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
        let preparing = guest.preparing();
        let first = Batch::new(connection, rest).next();
        drop(preparing);
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
