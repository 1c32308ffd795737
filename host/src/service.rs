//! Services: which version has the traffic, who may run, and which path leads
//! where.
//!
//! Readers hold an immutable [`Snapshot`]; a deployment builds a new one and
//! stores it in one step, so a request sees either the old state or the new.

mod admission;
mod lease;
mod metrics;
mod name;
mod registry;
mod routes;
mod tally;
mod version;

pub use admission::{Admission, Permit, QueueFull};
pub use lease::Lease;
pub use metrics::{Outcome, RequestCount, ServiceCollector, ServiceMetrics};
pub use name::{InvalidServiceName, ServiceName};
pub use registry::{Registry, Service, Snapshot};
pub use routes::{RouteConflict, RouteMatch, RouteTable};
pub use tally::Tally;
pub use version::{Version, VersionId};
