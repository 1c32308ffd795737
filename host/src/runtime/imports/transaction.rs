//! `hotdock:transaction`: commit now, or give up what was written.

use wasmtime::component::Linker;

use super::bindings::hotdock::transaction::transaction::{self, Error};
use super::{Abort, Host, hold};
use crate::failpoint;
use crate::runtime::account::outside_async;
use crate::runtime::instance::InstanceState;
use crate::state;

/// What a call comes to: an error for the guest, or the end of the run.
#[derive(Debug)]
pub enum TransactionError {
    Guest(Error),
    Abort(Abort),
}

pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    transaction::add_to_linker::<_, Host>(linker, |state| state)
}

impl transaction::Host for InstanceState {
    async fn commit(&mut self) -> Result<(), TransactionError> {
        let mut held = hold(self).map_err(|_| Error::Answered)?;
        held.exchange().may_commit().map_err(|refused| Error::Refused(refused.to_string()))?;
        if held.transaction().has_writes() {
            held.exchange().note_committing();
        }
        let buffered = held.transaction().buffered_bytes();
        let committed = outside_async(held.transaction().commit()).await;
        // What went to the store's writer is the store's, and so is what comes of it.
        let kept = held.transaction().buffered_bytes();
        self.account.subtract(buffered.saturating_sub(kept));
        let exchange = held.exchange();
        if !matches!(committed, Err(state::Error::Uncertain(_))) {
            exchange.note_commit(committed.is_ok());
        }
        match committed {
            Ok(()) => Ok(()),
            // The guest can still mend it.
            Err(error @ state::Error::ForeignKey) => Err(Error::Refused(error.to_string()).into()),
            // Run again from its start, as long as nothing of it is out yet;
            // after that only the guest can know what to do.
            Err(error @ state::Error::Rerun(_)) if exchange.has_committed() => {
                tracing::debug!(version = %self.version, %error, "an explicit commit conflicts");
                Err(Error::Conflict.into())
            }
            Err(error) => {
                // Whoever commits halfway and may send requests is about to.
                if matches!(error, state::Error::Rerun(_)) && self.may_send {
                    exchange.note_commit_conflict();
                }
                Err(TransactionError::Abort(Abort(error)))
            }
        }
    }

    async fn rollback(&mut self) -> Result<(), TransactionError> {
        let mut held = hold(self).map_err(|_| Error::Answered)?;
        failpoint::panic_at("in a call of the guest's");
        held.transaction().rollback().await.map_err(|error| TransactionError::Abort(Abort(error)))
    }

    fn convert_error(&mut self, error: TransactionError) -> wasmtime::Result<Error> {
        match error {
            TransactionError::Guest(error) => Ok(error),
            TransactionError::Abort(abort) => Err(abort.into()),
        }
    }
}

impl From<Error> for TransactionError {
    fn from(error: Error) -> Self {
        Self::Guest(error)
    }
}
