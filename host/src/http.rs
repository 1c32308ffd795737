//! The public listener: HTTP/1.1 and HTTP/2 (h2c) on one port.
//!
//! A request's way: [`connection`] reads it from its connection, [`request`] makes the head that a guest may see, [`dispatch`]
//! finds the service and runs it, `arriving` reads its body, [`problem`] is what the host says where there is
//! no answer, `response` gives the answer the form that HTTP wants, and `leftover` says what
//! becomes of a body that nobody read.

mod arriving;
mod authority;
pub mod client;
pub mod connection;
pub mod dispatch;
pub mod events;
pub mod forwarded;
pub mod idempotency;
mod judged;
mod leftover;
mod paced;
pub mod problem;
pub mod request;
pub(crate) mod response;
pub mod sticky;
pub mod uploads;
