//! What was measured.

use serde::Serialize;

/// What an invocation of a component costs, stage by stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The service.
    pub service: String,
    /// The request: method and target.
    pub request: String,
    /// What it is answered.
    pub status: u16,
    /// How often each stage was run.
    pub requests: usize,
    /// Its costs, in the order in which a request meets them; then what they are
    /// compared with.
    pub rows: Vec<Row>,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What is measured, for programs; it stays what it is from release to release.
    pub stage: &'static str,
    /// The same for people.
    #[serde(skip)]
    pub what: &'static str,
    /// What one run of it costs.
    #[serde(flatten)]
    pub cost: Cost,
}

/// What one run of a stage costs: medians.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// How long it takes, on this machine.
    pub nanoseconds: Spread,
    /// How often all threads together ask for memory meanwhile.
    pub allocations: u64,
    /// How many bytes they ask for.
    pub bytes: u64,
}

/// A tenth of the runs took at most `p10`, a tenth at least `p90`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The first tenth's end.
    pub p10: u64,
    /// The middle.
    pub median: u64,
    /// The last tenth's start.
    pub p90: u64,
}
