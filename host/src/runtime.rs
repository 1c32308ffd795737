//! Runs a version's code: one engine, one linker, pools of instances, and the
//! invocation that ties a request, an instance and a transaction together.
//!
//! The path of an invocation: [`invoke`] takes an instance from the version's
//! [`Pool`], drives it until it hands over its answer, ends its transaction,
//! runs it again where the transaction asks for that, and gives the instance
//! back. Nothing of an answer leaves before its transaction is durable.

mod component;
mod engine;
mod exchange;
mod imports;
mod instance;
mod invocation;
mod limits;
mod output;
mod outside;
mod pool;
mod probe;
mod replay;
mod response;
mod run;

pub use component::{LoadedComponent, Program, Servable};
pub use engine::{CompileError, Runtime, RuntimeError, compatibility_key, compile};
pub use invocation::{Failure, Invocation, invoke};
pub use pool::Pool;
pub use probe::{ProbeError, probe};
pub use replay::{BodyTooLarge, ReplayBody};
pub use response::ResponseBody;
