//! One invocation from its instance to its answer: a request, a delivery or a call is run, its
//! transaction ends, it is run again where the transaction asks for that, and everything is
//! given back.
//!
//! The path: [`invoke`] (a request), [`deliver`] (an event) or `call` (a function) takes an instance from the
//! version's [`Pool`](crate::runtime::Pool), drives it until it hands over its answer, ends its
//! transaction, runs it again where the transaction asks for that, and gives the instance
//! back. Nothing of an answer leaves before its transaction is durable.

mod afterwards;
mod again;
mod bounds;
mod delivery;
mod failure;
mod function;
mod guest_body;
mod idempotent;
mod probe;
mod request;
mod respond;
mod response;
mod runs;
mod stages;

pub use delivery::{Delivery, Verdict, deliver};
pub use failure::Failure;
pub(crate) use function::{Called, Uncalled, call};
pub(crate) use idempotent::Replayed;
pub use probe::{ProbeError, probe};
pub use request::{Invocation, invoke};
pub use response::ResponseBody;
pub use stages::{Stage, instantiate, invoke_in_stages};
