//! Durable state: one SQLite file per service, one transaction per invocation.
//!
//! An invocation begins *optimistic*: it reads a committed snapshot, what it
//! read is remembered, and its writes are buffered. At its end the store's
//! writer checks that nothing it had read was written since and applies the
//! writes. Where something was, or where it writes by SQL, it runs *leased*:
//! alone on the writer's connection and on the writer's thread, seeing all that
//! came before it, so that it cannot conflict. (The shape is that of optimistic
//! concurrency control with backward validation, Kung and Robinson 1981.)
//!
//! The writer works in *groups*: what is queued when it is free. A member is
//! *validated* when it is in the group's SQLite transaction and *durable* when
//! that is committed and synced. Many wait for one sync while others compute.
//!
//! Where SQLite undoes the transaction (a writing statement is stopped, the disk is
//! full) or refuses its commit, who is not at fault is done again: the writer applies
//! what was buffered, lease holders are told to run again.
//!
//! SQLite's particulars stay in this module.

mod budget;
mod control;
mod dead;
mod doing;
mod error;
mod fate;
mod held;
mod history;
mod idempotency;
mod inbox;
mod inline;
mod kept;
mod keyvalue;
mod log;
pub(crate) mod memory;
mod migration;
mod options;
mod outbox;
mod positions;
mod raw;
mod rollback;
mod sandbox;
mod schema;
mod snapshot;
mod sql;
mod store;
mod temporary;
mod threads;
mod transaction;
mod turn;
mod writer;

#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use dead::{DeadLetter, DeadLetters, Revival};
pub use error::{Error, Rerun, SqlError, SqlErrorKind};
pub use fate::Fate;
pub use held::{Due, HeldCount, HeldEntry, Settlement};
pub use idempotency::{Claimant, KeptAnswer, KeyClaim};
pub use inbox::{Consumption, Cursor, Progress};
pub use kept::KeptStores;
pub use keyvalue::KeyPage;
pub use migration::{Migration, MigrationError};
pub use options::StoreOptions;
pub use outbox::{OutgoingLimit, StoreIdentity};
pub use positions::last_position;
pub use sql::{Execution, Rows, Value};
pub use store::{Store, Turn};
pub(crate) use threads::NICER;
pub use transaction::{Committed, Transaction};
