//! Services: which versions have the traffic, who may run, and which path leads
//! where.
//!
//! Readers hold an immutable [`Snapshot`]; a deployment builds a new one and
//! stores it in one step, so a request sees either the old state or the new.

mod admission;
pub mod contracts;
mod downloads;
mod lease;
mod leavers;
mod metrics;
pub mod path;
mod providers;
mod registry;
pub(crate) mod routes;
mod traffic;
mod version;
mod version_metrics;

pub use admission::{Admission, Line, Permit, QueueFull};
pub use downloads::{Downloads, Taking};
pub use lease::Lease;
pub use leavers::Leavers;
pub use metrics::{Outcome, RequestCount, ServiceCollector, ServiceMetrics};
pub(crate) use providers::provider;
pub use registry::{Registry, Service, Snapshot};
pub use routes::{RouteConflict, RouteMatch, RouteTable};
pub use traffic::{Rule, Share, Ticket, Traffic, TrafficError, TrafficPlan};
pub use version::Version;
pub use version_metrics::{Ending, Kind, Latencies, Measure, Measurement, Series, VersionMetrics};
