//! Events, from the transaction that publishes one to the transaction that has
//! its effect.
//!
//! - `relay`: from a store's outbox to the bus
//! - `subscription`: reads the bus and parts what it wants by key (`window`)
//! - `delivery`: hands an event to the version that has the traffic
//! - `held`, `settling`, `backoff`, `lanes`, `breaker`: what becomes of one that fails
//! - `receive`: events from outside
//! - `schedule`: events at given times
//! - `webhook`: an event to an HTTP endpoint; `gone`: those that want no more
//! - `retention`: late copies of all cursors, and what the bus forgets
//!
//! Nothing here is durable by itself: the bus and the stores are, and everything
//! here begins anew from them.

mod backoff;
mod breaker;
mod command;
mod delivery;
mod engine;
mod gone;
mod held;
mod lanes;
mod metrics;
mod operate;
pub mod receive;
mod relay;
mod retention;
pub mod schedule;
mod settling;
mod status;
mod subscriber;
mod subscription;
mod target;
pub mod webhook;
mod window;

pub use command::Refusal;
pub use engine::{Events, PrepareError};
pub use metrics::EventsCollector;
pub use operate::{
    DeadLetterId, DeadLetterPage, DeadLetterView, DeadLettersOf, Dropped, EventPage, EventView,
    HeldPage, HeldView, MAX_PAGE, OperateError, Replay, ReplayFrom, Resumed, SubscriptionPage,
    SubscriptionStatus, Unread, Wanted,
};
pub use subscriber::Webhooks;
