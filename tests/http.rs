//! Requests, as RFC 9110, 9112 and 9113 say, through guests of both kinds.

mod broken;
mod connections;
mod disconnects;
mod endings;
mod events;
mod floods;
mod fuzz;
mod idempotency;
mod limits;
mod malformed;
mod messages;
mod polls;
mod sdk;
mod sized;
mod slow;
mod streaming;
mod streams;
mod unsent;
mod wire;
