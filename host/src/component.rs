//! What a component's bytes say of it without being compiled or run: its
//! [`Interfaces`] with their types, what changes between two of them
//! ([`exports`], [`imports`]), the [`Sizes`] of what it is made of, and how many instances
//! one of it has ([`component_instances`]), and what the host does for it in one step ([`steps`]).

mod difference;
mod instances;
mod interfaces;
mod sizes;
mod steps;
mod types;

pub use difference::{Differences, exports, imports};
pub use instances::{InstancesError, component_instances};
pub use interfaces::{Interfaces, NotReadable};
pub use sizes::{CustomSections, Sizes, SizesError};
pub use steps::{Steps, steps};

/// The largest component that is read.
pub const MAX_COMPONENT_BYTES: u64 = 256 << 20;
