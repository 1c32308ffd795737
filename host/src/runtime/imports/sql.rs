//! `hotdock:sql`: the service's own tables.

use wasmtime::component::Linker;

use super::bindings::hotdock::sql::sql::{self, Error, Execution, Rows, Value};
use super::{Abort, Host, Unwritable, hold_to_read, hold_to_write};
use crate::runtime::account::{Account, TooMuchHeld, outside, outside_async};
use crate::runtime::exchange::Held;
use crate::runtime::instance::InstanceState;
use crate::runtime::pace::Pace;
use crate::state::{self, SqlErrorKind};

/// What a call comes to: an error for the guest, or the end of the run.
#[derive(Debug)]
pub enum SqlError {
    Guest(Error),
    /// The run ends.
    Trap(wasmtime::Error),
}

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    sql::add_to_linker::<_, Host>(linker, |state| state)
}

impl sql::Host for InstanceState {
    async fn query(&mut self, statement: String, parameters: Vec<Value>) -> Result<Rows, SqlError> {
        let mut held = hold_to_read(self).await.map_err(|_| Error::Answered)?;
        let parameters: Vec<state::Value> = parameters.into_iter().map(Into::into).collect();
        let mut result = query(&mut held, &statement, &parameters).await;
        if matches!(result, Err(state::Error::NeedsLease)) {
            if held.is_late() {
                return Err(Error::Answered.into());
            }
            held.exchange().may_write()?;
            take_lease(&mut held, &self.account).await?;
            result = query(&mut held, &statement, &parameters).await;
        }
        hand_over(result?, &self.account).await
    }

    async fn execute(
        &mut self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Execution, SqlError> {
        let mut held = hold_to_write(self)?;
        let parameters: Vec<state::Value> = parameters.into_iter().map(Into::into).collect();
        let mut result = execute(&mut held, &statement, &parameters).await;
        if matches!(result, Err(state::Error::NeedsLease)) {
            take_lease(&mut held, &self.account).await?;
            result = execute(&mut held, &statement, &parameters).await;
        }
        let state::Execution { changes, last_insert_id } = result?;
        Ok(Execution { changes, last_insert_id })
    }

    fn convert_error(&mut self, error: SqlError) -> wasmtime::Result<Error> {
        match error {
            SqlError::Guest(error) => Ok(error),
            SqlError::Trap(error) => Err(error),
        }
    }
}

/// Runs a statement, on whatever thread: its copy of the parameters, and the rows, are the
/// store's own.
async fn query(
    held: &mut Held,
    statement: &str,
    parameters: &[state::Value],
) -> Result<state::Rows, state::Error> {
    outside_async(async { held.transaction().query(statement, parameters.to_vec()).await }).await
}

/// The same of one that returns no rows.
async fn execute(
    held: &mut Held,
    statement: &str,
    parameters: &[state::Value],
) -> Result<state::Execution, state::Error> {
    outside_async(async { held.transaction().execute(statement, parameters.to_vec()).await }).await
}

/// Copies what the store found for the guest, whose it is from here on.
async fn hand_over(found: state::Rows, account: &Account) -> Result<Rows, SqlError> {
    let mut pace = Pace::start();
    let mut rows =
        Rows { columns: found.columns.clone(), values: Vec::with_capacity(found.values.len()) };
    let state::Rows { columns, values } = found;
    outside(|| drop(columns));
    for row in values {
        let copy: Vec<Value> = row.iter().map(Into::into).collect();
        outside(|| drop(row));
        pace.step(account, copy.iter().map(size).sum()).await?;
        rows.values.push(copy);
    }
    Ok(rows)
}

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Integer(_) | Value::Real(_) => 0,
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
    }
}

/// Takes the writer lease. The body is read to its end first: nobody waits for
/// a client while holding the writer.
async fn take_lease(held: &mut Held, account: &Account) -> Result<(), SqlError> {
    let body = held.exchange().body().clone();
    body.buffer().await.map_err(|error| {
        Error::Limit(format!("{error}; read the body to its end before the first write"))
    })?;
    let over = || state::Error::Unavailable("the run is over".to_owned());
    let buffered = held.transaction().buffered_bytes();
    held.lease().await.ok_or_else(|| SqlError::from(over()))?;
    // What it had written went to the store's writer; its events wait with the lease.
    let kept = held.transaction().buffered_bytes();
    account.subtract(buffered.saturating_sub(kept));
    Ok(())
}

impl From<Unwritable> for SqlError {
    fn from(unwritable: Unwritable) -> Self {
        Self::Guest(match unwritable {
            Unwritable::Answered => Error::Answered,
            Unwritable::ReadOnly => Error::Denied(unwritable.to_string()),
        })
    }
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
            // It could not be begun; the transaction goes on.
            state::Error::Limit(message) => Self::Guest(Error::Limit(message)),
            error => Self::Trap(Abort(error).into()),
        }
    }
}

impl From<TooMuchHeld> for SqlError {
    fn from(error: TooMuchHeld) -> Self {
        Self::Trap(error.into())
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

impl From<&state::Value> for Value {
    fn from(value: &state::Value) -> Self {
        match value {
            state::Value::Null => Self::Null,
            state::Value::Integer(value) => Self::Integer(*value),
            state::Value::Real(value) => Self::Real(*value),
            state::Value::Text(value) => Self::Text(value.clone()),
            state::Value::Blob(value) => Self::Blob(value.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_a_statement_meets_before_it_begins_is_the_guests_to_hear_of() {
        let limit = state::Error::Limit("have a smaller schema".to_owned());
        let told = SqlError::from(limit);
        assert!(matches!(&told, SqlError::Guest(Error::Limit(text)) if text.contains("schema")));
        let failed = SqlError::from(state::Error::Unavailable("it is gone".to_owned()));
        assert!(matches!(failed, SqlError::Trap(_)));
    }
}
