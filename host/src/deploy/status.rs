//! What `GET /v1/services` shows: per service what serves, what is on its way
//! in, what was refused last, and what still drains.

use serde::Serialize;

/// The answer of `GET /v1/services`. Field names are stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// By name: every service that serves or has versions that drain.
    pub services: Vec<ServiceStatus>,
    /// By name: plugin files that serve nothing, or whose content isn't what serves.
    pub files: Vec<FileStatus>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What its newest version does.
    pub state: ServiceState,
    /// The version that has the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<VersionStatus>,
    /// A version on its way in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateStatus>,
    /// Why the file's newest content does not serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalStatus>,
    /// Versions without traffic whose last requests go on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<DrainingStatus>,
}

/// What a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// It answers requests.
    Serving,
    /// It is gone but for requests that go on.
    Draining,
}

/// A version that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionStatus {
    /// Counted per service from 1; never given twice.
    pub version: u64,
    /// The component's SHA-256.
    pub digest: String,
    /// The manifest's SHA-256; that of nothing where there is none.
    pub manifest_digest: String,
    /// Its routes as `[METHODS ][host]path`.
    pub routes: Vec<String>,
    /// When it got its traffic (RFC 3339).
    pub deployed_at: String,
    /// The plugin file that it came from.
    pub file: String,
    /// Requests on it now.
    pub leases: u64,
}

/// A plugin file that serves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileStatus {
    /// Its name.
    pub file: String,
    /// A version on its way in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateStatus>,
    /// Why it does not serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalStatus>,
}

/// A version on its way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CandidateStatus {
    /// The plugin file.
    pub file: String,
    /// The service that it would be a version of.
    pub service: String,
    /// The component's SHA-256.
    pub digest: String,
    /// Where it is.
    pub step: Step,
    /// Since when it is there (RFC 3339).
    pub since: String,
}

/// The steps of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// It waits for its turn to be compiled.
    Waiting,
    /// A child process compiles it.
    Compiling,
    /// Imports, exports, routes and migrations are looked at.
    Validating,
    /// Its migrations are applied, it is instantiated and asked how it is.
    Warming,
}

/// Content of a plugin file that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalStatus {
    /// The plugin file.
    pub file: String,
    /// The component's SHA-256, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Every reason.
    pub reasons: Vec<String>,
    /// When (RFC 3339).
    pub at: String,
}

/// A version without traffic whose last requests go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DrainingStatus {
    /// Which.
    pub version: u64,
    /// The component's SHA-256.
    pub digest: String,
    /// Requests on it now.
    pub leases: u64,
    /// Since when it drains (RFC 3339).
    pub since: String,
}
