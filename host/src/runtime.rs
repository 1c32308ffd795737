//! Runs guests' code: engines with their linkers, components, pools of instances, what
//! guests import, and one call into an instance.
//!
//! A [`Pool`] gives an instance of a version's component; `Running` drives a call of it,
//! first where its request came in and on a thread of its own once it computes for long. The
//! `Exchange` is where the two sides meet: what the guest imports finds its transaction
//! there, and what it answers is handed over there. Whose call it is, and what becomes of its
//! transaction, is not known here: [`invocation`](crate::invocation) says so.

mod account;
mod answer;
mod call;
pub(crate) mod calls;
mod compile;
mod component;
mod engine;
mod entry;
mod exchange;
pub(crate) mod field_lines;
#[cfg(test)]
pub(crate) mod fixture;
mod function;
pub mod functions;
mod handlers;
mod imports;
mod in_use;
mod instance;
mod lane;
mod limits;
mod memories;
mod metrics;
mod neighbours;
mod output;
mod outside;
mod pace;
mod pool;
mod pools;
mod replay;
mod run;
mod secrets;
mod slots;
mod trace;
mod values;
mod whole;
mod words;

pub(crate) use account::TooMuchHeld;
pub(crate) use answer::{AnswerBody, announced};
pub use answer::{content_length, has_content, is_answer};
pub(crate) use call::Call;
pub use compile::{CompileError, Processor, compatibility_key, compile, compile_for};
pub use component::{
    EventInterface, LoadedComponent, Program, RequestInterface, Servable, missing_import, named,
    not_servable,
};
pub use engine::{Runtime, RuntimeError, RuntimeOptions};
pub(crate) use exchange::{Answer, Exchange, Given, LeaseRequest, Occasion};
pub(crate) use function::FunctionCall;
pub(crate) use handlers::types as event_types;
pub(crate) use imports::Abort;
pub use imports::provides;
pub use limits::Limit;
pub(crate) use limits::LimitReached;
pub(crate) use memories::NoMemory;
pub use metrics::RuntimeCollector;
pub(crate) use neighbours::{Addressed, Answering, Neighbours};
pub(crate) use outside::RequestKeys;
pub use pool::Pool;
pub use replay::{BodyTooLarge, Fault, ReplayBody, Unread};
pub(crate) use run::{Ended, OverBudget, Panicked, Running, Step};
pub use secrets::Secrets;
pub(crate) use slots::OverShare;
pub(crate) use words::words;
