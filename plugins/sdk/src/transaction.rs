//! The invocation's transaction; most services never need it.

use crate::bindings::hotdock::transaction::transaction as host;
pub use crate::bindings::hotdock::transaction::transaction::Error;

/// Makes everything written so far durable and begins the next transaction.
/// From here on the host never runs the handler again by itself.
///
/// # Errors
/// [`Error::Conflict`] if, after an earlier commit, another invocation was
/// first: what was written since is undone.
pub fn commit() -> Result<(), Error> {
    host::commit()
}

/// Undoes everything written since the invocation began or last committed.
///
/// # Errors
/// [`Error::Answered`] once the answer has left.
pub fn rollback() -> Result<(), Error> {
    host::rollback()
}
