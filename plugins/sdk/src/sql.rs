//! Tables in the service's own store (`hotdock:sql`).
//!
//! ```no_run
//! use hotdock_sdk::{params, sql};
//!
//! #[derive(serde::Deserialize)]
//! struct Order {
//!     id: i64,
//!     quantity: i64,
//! }
//!
//! let placed = sql::execute("INSERT INTO orders (quantity) VALUES (?1)", &params![2])?;
//! let id = placed.last_insert_id;
//! let orders: Vec<Order> = sql::query("SELECT * FROM orders WHERE id = ?1", &params![id])?;
//! # Ok::<_, sql::Error>(())
//! ```

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::bindings::hotdock::sql::sql as host;
pub use crate::bindings::hotdock::sql::sql::{Error as HostError, Execution, Rows, Value};

/// Why a statement could not be run, or its rows not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host refused or failed.
    #[error("sql: {0:?}")]
    Host(HostError),
    /// A row does not have the expected shape.
    #[error("a row: {0}")]
    Row(#[source] serde_json::Error),
}

/// Parameters of a statement, each anything that is `Into<Value>`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { [$($crate::sql::Value::from($value)),*] };
}

/// Runs one statement and reads each row into a `T`, whose fields are named as
/// the columns. `NULL` is an absent value; a blob is a list of numbers.
///
/// # Errors
/// The host's error, or a row that is no `T`.
pub fn query<T: DeserializeOwned>(statement: &str, parameters: &[Value]) -> Result<Vec<T>, Error> {
    let Rows { columns, values } = rows(statement, parameters)?;
    values.into_iter().map(|row| from_row(&columns, row).map_err(Error::Row)).collect()
}

/// Runs one statement and returns its rows as they are.
///
/// # Errors
/// The host's error.
pub fn rows(statement: &str, parameters: &[Value]) -> Result<Rows, Error> {
    host::query(statement, parameters).map_err(Error::Host)
}

/// Runs one statement and says what it changed.
///
/// # Errors
/// The host's error; after [`HostError::Constraint`] the invocation may go on.
pub fn execute(statement: &str, parameters: &[Value]) -> Result<Execution, Error> {
    host::execute(statement, parameters).map_err(Error::Host)
}

fn from_row<T: DeserializeOwned>(columns: &[String], row: Vec<Value>) -> serde_json::Result<T> {
    let fields: Map<String, Json> =
        columns.iter().cloned().zip(row.into_iter().map(json)).collect();
    serde_json::from_value(Json::Object(fields))
}

fn json(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(value) => value.into(),
        Value::Real(value) => value.into(),
        Value::Text(value) => value.into(),
        Value::Blob(value) => value.into(),
    }
}

macro_rules! value_from {
    ($($type:ty => $case:ident),* $(,)?) => { $(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$case(value.into())
            }
        }
    )* };
}

value_from! {
    bool => Integer, i32 => Integer, u32 => Integer, i64 => Integer,
    f64 => Real,
    &str => Text, String => Text,
    &[u8] => Blob, Vec<u8> => Blob,
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{Value, from_row};

    #[derive(Debug, Deserialize, PartialEq)]
    struct Row {
        id: i64,
        name: Option<String>,
    }

    fn columns() -> Vec<String> {
        vec!["id".to_owned(), "name".to_owned()]
    }

    #[test]
    fn a_row_becomes_a_struct() {
        let row = from_row(&columns(), params![7, "seven"].to_vec());
        assert_eq!(row.ok(), Some(Row { id: 7, name: Some("seven".to_owned()) }));
    }

    #[test]
    fn null_is_an_absent_value_both_ways() {
        let row = from_row(&columns(), params![7, None::<String>].to_vec());
        assert_eq!(row.ok(), Some(Row { id: 7, name: None }));
    }

    #[test]
    fn a_row_of_another_shape_is_an_error() {
        assert!(from_row::<Row>(&columns(), vec![Value::Real(0.5), Value::Null]).is_err());
    }
}
