//! State through the whole host: durability, isolation, the output gate.

mod crash;
mod fuzz;
mod gate;
mod idempotency;
mod interfaces;
mod isolation;
mod sandbox;
mod stuck;
mod undone;
