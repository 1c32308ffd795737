//! A guest's SQL, run in its sandbox.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, ToSql, params_from_iter};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::budget::Budget;
use super::control::{Control, Controlled};
use super::error::{Error, SqlErrorKind};
use super::options::StoreOptions;
use super::rollback;
use super::sandbox::{Bounds, Broken, Entered, Plan, Sandbox, Watched};

/// The longest statement of a guest's, in bytes.
const MAX_STATEMENT_BYTES: usize = 100_000;

/// Pages of a file in which a guest's statement may drop a table.
const MAX_DROP_PAGES: u32 = 1 << 12;

/// A store is full where less than this part of it is free.
const NEARLY_FULL: u32 = 8;

/// What a guest is told where its statement finds no room in a store that has some.
const NO_ROOM: &str = "the statement finds no room: a table with AUTOINCREMENT has given out its \
                       last number, or it writes more than the store has left";

/// Put in front of guests' statements: prepared statements are cached by their
/// text, and one that the host prepared for itself knows no sandbox.
const GUEST_PREFIX: &str = "/* guest */ ";

/// A value as SQLite stores it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `NULL`
    Null,
    /// A signed 64-bit integer.
    Integer(i64),
    /// An IEEE 754 number.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// A query's result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows, a value per column.
    pub values: Vec<Vec<Value>>,
}

/// What a statement did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    /// Rows inserted, updated or deleted.
    pub changes: u64,
    /// The rowid inserted last by this transaction; 0 if none was.
    pub last_insert_id: i64,
}

/// When a statement is stopped, at the latest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// One that only reads.
    pub(super) reading: Instant,
    /// One that writes. With it SQLite gives up its whole transaction, and so all that is
    /// to be committed together ("If the interrupted SQL operation is an INSERT, UPDATE, or
    /// DELETE that is inside an explicit transaction, then the entire transaction will be
    /// rolled back automatically", `sqlite3_interrupt`).
    pub(super) writing: Instant,
}

/// A connection on which a guest's statement runs.
pub(super) struct Scope<'a> {
    pub(super) connection: &'a Controlled,
    pub(super) sandbox: &'a Sandbox,
    pub(super) options: &'a StoreOptions,
    pub(super) access: Access,
    pub(super) deadlines: Deadlines,
    /// What its time counts against.
    pub(super) budget: Budget,
    /// Set when nobody waits for it any more.
    pub(super) gone: Option<Arc<AtomicBool>>,
    /// Where another thread is found for what only another thread ends.
    pub(super) runtime: &'a Handle,
}

/// What a guest's statement may do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// It may only read; one that writes needs a lease first.
    Read,
    /// It may write. One that fails leaves nothing, whatever its conflict clause: SQLite's
    /// `FAIL` keeps what was done before, and so does a function that fails, and a limit of
    /// the host's that is met after the rows are written.
    Write {
        /// Whether it needs a savepoint for that, besides the lease's.
        savepoint: bool,
        /// Whether its program is looked at for what the schema has of ROLLBACK.
        programs: bool,
    },
}

impl Scope<'_> {
    /// Runs a statement and returns its rows, and whether it wrote.
    pub(super) fn query(
        &self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<(Rows, bool), Error> {
        self.run(statement, parameters, |prepared, guest| self.rows(prepared, guest, parameters))
    }

    /// Runs a statement to its end and returns how many rows it changed by itself (not by
    /// triggers or cascades), and whether it wrote.
    pub(super) fn execute(
        &self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<(u64, bool), Error> {
        self.run(statement, parameters, |prepared, guest| {
            let failed = |error| guest.failed(error);
            let before = self.connection.total_changes();
            let mut rows = prepared.query(params_from_iter(parameters)).map_err(failed)?;
            while rows.next().map_err(failed)?.is_some() {}
            // A statement that changes no rows, such as CREATE, leaves the number of the last
            // that did.
            let changed = self.connection.total_changes() != before;
            Ok(if changed { self.connection.changes() } else { 0 })
        })
    }

    fn run<R>(
        &self,
        statement: &str,
        parameters: &[Value],
        step: impl FnOnce(&mut CachedStatement<'_>, &Entered<'_>) -> Result<R, Error>,
    ) -> Result<(R, bool), Error> {
        if statement.len() > MAX_STATEMENT_BYTES {
            let size = statement.len();
            let limit = MAX_STATEMENT_BYTES;
            return Err(limited(format!("a statement of {size} bytes; {limit} are taken")));
        }
        let text = format!("{GUEST_PREFIX}{statement}");
        let known = self.sandbox.known_plan(&text);
        if known.is_none() {
            // What was planned before was looked at before.
            rollback::refuse_nul(statement)?;
            rollback::refuse_nothing(statement)?;
            rollback::refuse_clause(statement)?;
        }
        let guest = self.enter(self.deadlines.reading, true);
        let mut prepared = self.prepare(statement, &text, &guest)?;
        let plan = guest.plan(&text, &prepared, known);
        self.check(&prepared, parameters, plan)?;
        if prepared.readonly() {
            let result = self.step(&mut prepared, guest, plan, self.deadlines.reading, step);
            return Ok((result?, false));
        }
        let Access::Write { savepoint, .. } = self.access else { return Err(Error::NeedsLease) };
        let guest = if savepoint || plan.changes_schema || plan.drops {
            // The host's statements in between are not the guest's.
            drop(guest);
            self.make_ready(savepoint, plan)?;
            let guest = self.enter(self.deadlines.writing, false);
            guest.begin(statement);
            guest
        } else {
            guest.writes_until(self.deadlines.writing);
            guest
        };
        let mut result = self.step(&mut prepared, guest, plan, self.deadlines.writing, step);
        drop(prepared);
        if matches!(result, Err(Error::Full)) && !self.is_full()? {
            result = Err(Error::sql(SqlErrorKind::Limit, NO_ROOM));
        }
        // Where SQLite gave the whole transaction up there is nothing to undo.
        if !self.connection.is_autocommit() {
            if plan.changes_schema && result.is_ok() {
                result = self.check_schema().and(result);
            }
            self.settle(savepoint, result.is_ok())?;
        }
        Ok((result?, true))
    }

    /// Whether the file has as much as it may, or the disk. SQLite says the same of a table
    /// that has given out its last row number.
    fn is_full(&self) -> Result<bool, Error> {
        let read = |error: rusqlite::Error| Error::of_host(&error);
        let pages = self.connection.pragma_query_value(None, "page_count", |row| row.get(0));
        let (pages, max): (u32, u32) = (pages.map_err(read)?, self.options.max_pages);
        let numbers = self.connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table'
                 AND name NOT GLOB '_*' AND sql LIKE '%AUTOINCREMENT%')",
            (),
            |row| row.get(0),
        );
        let has_numbers: bool = numbers.map_err(read)?;
        let has_room = pages < max - max / NEARLY_FULL && !self.options.room.is_full();
        Ok(!(has_numbers && has_room))
    }

    /// Does what is the host's before a statement that writes.
    fn make_ready(&self, savepoint: bool, plan: Plan) -> Result<(), Error> {
        if plan.changes_schema {
            self.sandbox.hosts(self.connection).map_err(|error| Error::of_host(&error))?;
        }
        if plan.drops {
            self.check_drop()?;
        }
        if savepoint { self.host(Control::OpenStatement) } else { Ok(()) }
    }

    fn enter(&self, deadline: Instant, ends_early: bool) -> Entered<'_> {
        self.sandbox.enter(self.connection, self.bounds(deadline, ends_early))
    }

    fn bounds(&self, deadline: Instant, ends_early: bool) -> Bounds {
        Bounds {
            watched: Watched {
                deadline,
                budget: self.budget.clone(),
                gone: self.gone.clone(),
                ends_early,
                // Others wait for the writer.
                gives_way: matches!(self.access, Access::Read),
            },
            memory: self.options.max_sql_memory,
            migrates: false,
        }
    }

    /// Runs what is prepared, as the guest.
    fn step<R>(
        &self,
        prepared: &mut CachedStatement<'_>,
        mut guest: Entered<'_>,
        plan: Plan,
        deadline: Instant,
        step: impl FnOnce(&mut CachedStatement<'_>, &Entered<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        guest.take_values(plan.value_bytes);
        if plan.sorts && matches!(self.access, Access::Write { .. }) {
            guest.sort_in_steps().map_err(|error| Error::of_host(&error))?;
        }
        let _timer = plan.counts.then(|| self.stop_at(deadline));
        step(prepared, &guest)
    }

    /// Has the running statement ended from outside where SQLite does not look at the clock.
    fn stop_at(&self, deadline: Instant) -> AbortOnDrop {
        let stopper = self.sandbox.stopper().clone();
        let number = stopper.running();
        AbortOnDrop(self.runtime.spawn(async move {
            tokio::time::sleep_until(deadline.into()).await;
            stopper.stop(number);
        }))
    }

    /// Looks whether the schema that a statement left keeps to the rules.
    fn check_schema(&self) -> Result<(), Error> {
        let bounds = self.bounds(self.deadlines.writing, false);
        self.sandbox.check_schema(self.connection, &bounds).map_err(|broken| match broken {
            Broken::Rule(reason) => Error::sql(SqlErrorKind::Denied, reason),
            Broken::TooLarge(reason) => Error::sql(SqlErrorKind::Limit, reason),
            Broken::Unreadable(error) => Error::of_host(&error),
        })
    }

    /// A table is dropped in one step, which takes as long as the table is large.
    fn check_drop(&self) -> Result<(), Error> {
        let pages: u32 = self
            .connection
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .map_err(|error| Error::of_host(&error))?;
        if pages > MAX_DROP_PAGES {
            let limit = u64::from(MAX_DROP_PAGES) * 4_096;
            return Err(limited(format!(
                "in a store of more than {limit} bytes a table or an index is dropped by a \
                 migration"
            )));
        }
        Ok(())
    }

    /// Keeps what a statement did, or undoes it.
    fn settle(&self, savepoint: bool, keep: bool) -> Result<(), Error> {
        match (savepoint, keep) {
            (true, true) => self.host(Control::CloseStatement),
            (true, false) => {
                self.host(Control::UndoStatement)?;
                self.host(Control::CloseStatement)
            }
            (false, true) => Ok(()),
            (false, false) => self.host(Control::UndoLease),
        }
    }

    /// Takes a step of the host's own.
    fn host(&self, step: Control) -> Result<(), Error> {
        self.connection.take(step).map_err(|error| Error::of_host(&error))
    }

    fn rows(
        &self,
        prepared: &mut CachedStatement<'_>,
        guest: &Entered<'_>,
        parameters: &[Value],
    ) -> Result<Rows, Error> {
        let columns: Vec<String> = prepared.column_names().map(str::to_owned).collect();
        let failed = |error| guest.failed(error);
        let mut found = prepared.query(params_from_iter(parameters)).map_err(failed)?;
        let mut values = Vec::new();
        let mut bytes = 0;
        while let Some(row) = found.next().map_err(failed)? {
            if values.len() == self.options.max_rows {
                let limit = self.options.max_rows;
                return Err(limited(format!("the query returns more than {limit} rows")));
            }
            let mut cells = Vec::with_capacity(columns.len());
            for index in 0..columns.len() {
                let cell = row.get_ref(index).map_err(failed)?;
                bytes += size_of(cell);
                // Before it is copied.
                if bytes > self.options.max_result_bytes {
                    let limit = self.options.max_result_bytes;
                    return Err(limited(format!("the query returns more than {limit} bytes")));
                }
                cells.push(value(cell));
            }
            values.push(cells);
        }
        Ok(Rows { columns, values })
    }

    fn prepare(
        &self,
        statement: &str,
        text: &str,
        guest: &Entered<'_>,
    ) -> Result<CachedStatement<'_>, Error> {
        guest.begin(statement);
        let preparing = guest.preparing();
        let prepared = self.connection.prepare_cached(text).map_err(|error| guest.failed(error))?;
        drop(preparing);
        if matches!(self.access, Access::Write { programs: true, .. }) && !prepared.readonly() {
            rollback::refuse_program(self.connection, text)?;
        }
        Ok(prepared)
    }

    fn check(
        &self,
        prepared: &CachedStatement<'_>,
        parameters: &[Value],
        plan: Plan,
    ) -> Result<(), Error> {
        let taken = prepared.parameter_count();
        if taken != parameters.len() {
            let given = parameters.len();
            let message = format!("the statement takes {taken} parameters, {given} were given");
            return Err(Error::sql(SqlErrorKind::Parameters, message));
        }
        let limit = plan.value_bytes;
        if let Some(large) = parameters.iter().find(|value| size(value) > limit) {
            let size = size(large);
            return Err(limited(format!("a value of {size} bytes; this statement takes {limit}")));
        }
        if matches!(self.access, Access::Read) && !prepared.readonly() {
            return Err(Error::NeedsLease);
        }
        Ok(())
    }
}

/// A task that ends when it is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a statement's first word says that it writes, so that no connection has
/// to be asked. Of others it is known when they are prepared.
pub(super) fn begins_with_write(statement: &str) -> bool {
    let first = statement.trim_start().split(|character: char| !character.is_ascii_alphabetic());
    let first = first.into_iter().next().unwrap_or_default();
    const WORDS: [&str; 7] = ["INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "ALTER", "DROP"];
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(first))
}

fn limited(message: String) -> Error {
    Error::sql(SqlErrorKind::Limit, message)
}

fn size(value: &Value) -> usize {
    match value {
        Value::Null => 1,
        Value::Integer(_) | Value::Real(_) => 8,
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
    }
}

fn size_of(found: ValueRef<'_>) -> usize {
    match found {
        ValueRef::Null => 1,
        ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
    }
}

fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Integer(value),
        ValueRef::Real(value) => Value::Real(value),
        // A column may hold text that another tool wrote and that is no UTF-8.
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
