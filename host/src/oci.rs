//! Components in OCI registries, as the CNCF's Wasm OCI artifact layout has them:
//! a config `application/vnd.wasm.config.v0+json` and one layer `application/wasm`.
//!
//! It is the command line that pulls and pushes, with the credentials of whoever
//! runs it; a host takes what it is sent, and notes the [`Reference`].

mod artifact;
mod cause;
mod client;
mod credentials;
mod error;
mod reference;
mod transfer;

pub use credentials::Credentials;
pub use error::OciError;
pub use reference::{InvalidReference, Reference};
pub use transfer::{Access, Pulled, pull, push};
