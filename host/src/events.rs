//! Events, from the transaction that publishes one to the transaction that has
//! its effect.
//!
//! - [`relay`]: from a store's outbox to the bus
//! - [`subscription`]: reads the bus and parts what it wants by key ([`window`])
//! - [`delivery`]: hands an event to the version that has the traffic
//! - [`held`], [`backoff`], [`breaker`]: what becomes of one that fails
//! - [`receive`]: events from outside
//! - [`schedule`]: when a schedule ticks
//! - [`webhook`]: an event to an HTTP endpoint
//! - [`retention`]: late copies of all cursors, and what the bus forgets
//!
//! Nothing here is durable by itself: the bus and the stores are, and everything
//! here begins anew from them.

mod backoff;
mod breaker;
mod command;
mod delivery;
mod engine;
mod held;
mod operate;
pub mod receive;
mod relay;
mod retention;
pub mod schedule;
mod status;
mod subscription;
mod target;
pub mod webhook;
mod window;

pub use command::Refusal;
pub use engine::{Events, PrepareError};
pub use operate::{
    DeadLetterView, EventPage, EventView, MAX_PAGE, OperateError, SubscriptionStatus,
};
pub use status::{Counts, State};
