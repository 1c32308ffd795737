//! What a component's bytes say of it without being compiled or run: its
//! [`Interfaces`] with their types, what changes between two of them
//! ([`exports`], [`imports`]), and the [`Sizes`] of what it is made of.

mod difference;
mod interfaces;
mod sizes;
mod types;

pub use difference::{Differences, exports, imports};
pub use interfaces::{Interfaces, NotReadable};
pub use sizes::{CustomSections, Sizes, SizesError};
