//! Requests, as RFC 9110, 9112 and 9113 say, through guests of both kinds.

mod disconnects;
mod events;
mod idempotency;
mod limits;
mod malformed;
mod messages;
mod sdk;
mod streaming;
