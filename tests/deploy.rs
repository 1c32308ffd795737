//! Deployment by file: what a user drops, and what becomes of it.

mod changes;
mod host;
mod load;
mod refusals;
