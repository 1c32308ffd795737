//! `hotdock:sql`: the service's own tables.

use wasmtime::component::Linker;

use super::bindings::hotdock::sql::sql::{self, Error, Execution, Rows, Value};
use super::{Abort, Host, hold};
use crate::runtime::exchange::Held;
use crate::runtime::instance::InstanceState;
use crate::state::{self, SqlErrorKind};

/// What a call comes to: an error for the guest, or the end of the run.
#[derive(Debug)]
pub enum SqlError {
    Guest(Error),
    Abort(Abort),
}

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    sql::add_to_linker::<_, Host>(linker, |state| state)
}

impl sql::Host for InstanceState {
    async fn query(&mut self, statement: String, parameters: Vec<Value>) -> Result<Rows, SqlError> {
        let mut held = hold(self).map_err(|_| Error::Answered)?;
        let parameters: Vec<state::Value> = parameters.into_iter().map(Into::into).collect();
        let mut result = held.transaction().query(&statement, parameters.clone()).await;
        if matches!(result, Err(state::Error::NeedsLease)) {
            take_lease(&mut held).await?;
            result = held.transaction().query(&statement, parameters).await;
        }
        Ok(result?.into())
    }

    async fn execute(
        &mut self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Execution, SqlError> {
        let mut held = hold(self).map_err(|_| Error::Answered)?;
        let parameters: Vec<state::Value> = parameters.into_iter().map(Into::into).collect();
        let mut result = held.transaction().execute(&statement, parameters.clone()).await;
        if matches!(result, Err(state::Error::NeedsLease)) {
            take_lease(&mut held).await?;
            result = held.transaction().execute(&statement, parameters).await;
        }
        let state::Execution { changes, last_insert_id } = result?;
        Ok(Execution { changes, last_insert_id })
    }

    fn convert_error(&mut self, error: SqlError) -> wasmtime::Result<Error> {
        match error {
            SqlError::Guest(error) => Ok(error),
            SqlError::Abort(abort) => Err(abort.into()),
        }
    }
}

/// Takes the writer lease. The body is read to its end first: nobody waits for
/// a client while holding the writer.
async fn take_lease(held: &mut Held) -> Result<(), SqlError> {
    let body = held.exchange().body().clone();
    body.buffer().await.map_err(|error| {
        Error::Limit(format!("{error}; read the body to its end before the first write"))
    })?;
    Ok(held.transaction().take_lease().await?)
}

impl From<Error> for SqlError {
    fn from(error: Error) -> Self {
        Self::Guest(error)
    }
}

impl From<state::Error> for SqlError {
    fn from(error: state::Error) -> Self {
        match error {
            state::Error::Sql(error) => Self::Guest(match error.kind {
                SqlErrorKind::Syntax => Error::Syntax(error.message),
                SqlErrorKind::Constraint => Error::Constraint(error.message),
                SqlErrorKind::Parameters => Error::Parameters(error.message),
                SqlErrorKind::Denied => Error::Denied(error.message),
                SqlErrorKind::Limit => Error::Limit(error.message),
            }),
            error => Self::Abort(Abort(error)),
        }
    }
}

impl From<Value> for state::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(value) => Self::Integer(value),
            Value::Real(value) => Self::Real(value),
            Value::Text(value) => Self::Text(value),
            Value::Blob(value) => Self::Blob(value),
        }
    }
}

impl From<state::Value> for Value {
    fn from(value: state::Value) -> Self {
        match value {
            state::Value::Null => Self::Null,
            state::Value::Integer(value) => Self::Integer(value),
            state::Value::Real(value) => Self::Real(value),
            state::Value::Text(value) => Self::Text(value),
            state::Value::Blob(value) => Self::Blob(value),
        }
    }
}

impl From<state::Rows> for Rows {
    fn from(rows: state::Rows) -> Self {
        let values =
            rows.values.into_iter().map(|row| row.into_iter().map(Into::into).collect()).collect();
        Self { columns: rows.columns, values }
    }
}
