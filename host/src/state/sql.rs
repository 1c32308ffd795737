//! A guest's SQL, run in its sandbox.

use std::time::Instant;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ToSql, params_from_iter};

use super::error::{Error, SqlErrorKind};
use super::options::StoreOptions;
use super::sandbox::Sandbox;

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
    pub(super) connection: &'a Connection,
    pub(super) sandbox: &'a Sandbox,
    pub(super) options: &'a StoreOptions,
    /// Whether it may write; if not, a writing statement needs a lease first.
    pub(super) writable: bool,
    pub(super) deadlines: Deadlines,
}

impl Scope<'_> {
    /// Runs a statement and returns its rows, and whether it wrote.
    pub(super) fn query(
        &self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<(Rows, bool), Error> {
        let guest = self.sandbox.enter(self.deadlines.reading);
        let mut prepared = self.prepare(statement)?;
        if !prepared.readonly() {
            guest.until(self.deadlines.writing);
        }
        self.check(&prepared, parameters)?;
        let writes = !prepared.readonly();
        let columns: Vec<String> = prepared.column_names().map(str::to_owned).collect();
        let mut found = prepared.query(params_from_iter(parameters)).map_err(Error::of_guest)?;
        let mut values = Vec::new();
        let mut bytes = 0;
        while let Some(row) = found.next().map_err(Error::of_guest)? {
            if values.len() == self.options.max_rows {
                let limit = self.options.max_rows;
                return Err(limited(format!("the query returns more than {limit} rows")));
            }
            let mut cells = Vec::with_capacity(columns.len());
            for index in 0..columns.len() {
                let cell = value(row.get_ref(index).map_err(Error::of_guest)?);
                bytes += size(&cell);
                cells.push(cell);
            }
            if bytes > self.options.max_result_bytes {
                let limit = self.options.max_result_bytes;
                return Err(limited(format!("the query returns more than {limit} bytes")));
            }
            values.push(cells);
        }
        Ok((Rows { columns, values }, writes))
    }

    /// Runs a statement to its end and returns how many rows it changed.
    pub(super) fn execute(&self, statement: &str, parameters: &[Value]) -> Result<u64, Error> {
        let guest = self.sandbox.enter(self.deadlines.reading);
        let mut prepared = self.prepare(statement)?;
        if !prepared.readonly() {
            guest.until(self.deadlines.writing);
        }
        self.check(&prepared, parameters)?;
        let before = self.connection.total_changes();
        let mut rows = prepared.query(params_from_iter(parameters)).map_err(Error::of_guest)?;
        while rows.next().map_err(Error::of_guest)?.is_some() {}
        Ok(self.connection.total_changes() - before)
    }

    fn prepare(&self, statement: &str) -> Result<CachedStatement<'_>, Error> {
        let text = format!("{GUEST_PREFIX}{statement}");
        self.connection.prepare_cached(&text).map_err(Error::of_guest)
    }

    fn check(&self, prepared: &CachedStatement<'_>, parameters: &[Value]) -> Result<(), Error> {
        let taken = prepared.parameter_count();
        if taken != parameters.len() {
            let given = parameters.len();
            let message = format!("the statement takes {taken} parameters, {given} were given");
            return Err(Error::sql(SqlErrorKind::Parameters, message));
        }
        if let Some(large) =
            parameters.iter().find(|value| size(value) > self.options.max_value_bytes)
        {
            let limit = self.options.max_value_bytes;
            return Err(limited(format!("a value of {} bytes; {limit} are taken", size(large))));
        }
        if !self.writable && !prepared.readonly() {
            return Err(Error::NeedsLease);
        }
        Ok(())
    }
}

/// Whether a statement's first word says that it writes, so that no connection has
/// to be asked. Of others it is known when they are prepared.
pub(super) fn begins_with_write(statement: &str) -> bool {
    let first = statement.trim_start().split(|character: char| !character.is_ascii_alphabetic());
    let first = first.into_iter().next().unwrap_or_default();
    ["INSERT", "UPDATE", "DELETE", "REPLACE"].iter().any(|word| word.eq_ignore_ascii_case(first))
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
