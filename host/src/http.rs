//! The public listener: HTTP/1.1 and HTTP/2 (h2c) on one port.
//!
//! A request's way: [`connection`] reads it from its connection, [`request`] makes the head that a
//! guest may see, [`dispatch`] finds the service, `serve` runs it, `arriving` reads its body,
//! [`problem`] is what the host says where there is no answer, `response` gives the answer the form
//! that HTTP wants, and `leftover` says what becomes of a body that nobody read.
//!
//! A request of another service's comes in by `by_name`, and goes on in `serve`.

mod arriving;
mod authority;
mod by_name;
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
mod serve;
pub mod sticky;
pub mod uploads;

pub use by_name::ByName;
