//! Runs a version's code: the engines with their linkers, pools of instances, and the
//! invocation that ties a request, an instance and a transaction together.
//!
//! The path of an invocation: [`invoke`] (a request) or [`deliver`] (an event)
//! takes an instance from the version's [`Pool`], drives it until it hands over
//! its answer, ends its transaction, runs it again where the transaction asks for
//! that, and gives the instance back. Nothing of an answer leaves before its
//! transaction is durable.

mod account;
mod afterwards;
mod again;
mod bounds;
mod call;
mod compile;
mod component;
mod delivery;
mod engine;
mod entry;
mod exchange;
mod failure;
mod field_lines;
mod guest_body;
mod handlers;
mod idempotent;
mod imports;
mod instance;
mod invocation;
mod lane;
mod limits;
mod memories;
mod metrics;
mod output;
mod outside;
mod pace;
mod pool;
mod probe;
mod replay;
mod respond;
mod response;
mod run;
mod runs;
mod secrets;
mod slots;
mod stages;
mod trace;
mod whole;

pub use compile::{CompileError, Processor, compatibility_key, compile, compile_for};
pub use component::{
    EventInterface, LoadedComponent, Program, RequestInterface, Servable, missing_import,
    not_servable,
};
pub use delivery::{Delivery, Verdict, deliver};
pub use engine::{Runtime, RuntimeError, RuntimeOptions};
pub use failure::Failure;
pub use imports::provides;
pub use invocation::{Invocation, invoke};
pub use limits::Limit;
pub use metrics::RuntimeCollector;
pub use pool::Pool;
pub use probe::{ProbeError, probe};
pub use replay::{BodyTooLarge, Fault, ReplayBody, Unread};
pub use respond::{content_length, has_content};
pub use response::ResponseBody;
pub use secrets::Secrets;
pub use stages::{Stage, instantiate, invoke_in_stages};
