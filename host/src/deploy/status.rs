//! What `GET /v1/services` shows: per service what serves, what is on its way
//! in, what was refused last, and what still drains.

use serde::Serialize;
use utoipa::ToSchema;

use super::deployments::Deployment;
use super::origin::Origin;
use super::relations::{ProvidedInterface, UsedInterface};
use crate::service::TrafficPlan;

/// The answer of `GET /v1/services`. Field names are stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Status {
    /// By name: every service that serves, has versions that drain or could not be
    /// restored.
    pub services: Vec<ServiceStatus>,
    /// By name: plugin files that serve nothing, or whose content isn't what serves.
    pub files: Vec<FileStatus>,
    /// By name: services of which there is only an upload, on its way or refused since the host's
    /// start.
    pub uploads: Vec<UploadStatus>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What its newest version does.
    pub state: ServiceState,
    /// Why it could not be restored when the host started; its versions are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Why its store cannot be opened: what needs it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// The version with the greatest share of the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<VersionStatus>,
    /// The others with a share, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sharing: Vec<VersionStatus>,
    /// How the traffic is shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficPlan>,
    /// Counts the changes of the traffic; the entity tag that `If-Match` takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The interfaces that its versions with traffic export for other services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provides: Vec<ProvidedInterface>,
    /// The interfaces that they import from other services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<UsedInterface>,
    /// The services that import from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub callers: Vec<String>,
    /// The services that it imports from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub callees: Vec<String>,
    /// The services that it may call (`[capabilities] calls`), whether or not it does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub may_call: Vec<String>,
    /// A canary under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,
    /// The newest deployment since the host's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// A version on its way in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateStatus>,
    /// Why the file's newest content does not serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalStatus>,
    /// What the file's newest content waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingStatus>,
    /// Versions without traffic whose last requests go on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<DrainingStatus>,
}

/// A service after a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RolledBack {
    /// The service as it is now.
    #[serde(flatten)]
    pub service: ServiceStatus,
    /// The deployments on their way that were called off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub called_off: Vec<String>,
    /// Whether an earlier version was given the traffic. If not, what was on its way was called
    /// off, and the traffic stayed where it was.
    pub traffic_moved: bool,
}

/// What a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// It answers requests.
    Serving,
    /// It is gone but for requests that go on.
    Draining,
    /// It served when the host ended and could not be restored.
    Lost,
}

/// A version that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct VersionStatus {
    /// Counted per service from 1; never given twice.
    pub version: u64,
    /// The component's SHA-256.
    pub digest: String,
    /// The manifest's SHA-256; that of nothing where there is none.
    pub manifest_digest: String,
    /// Its routes as `[METHODS ][host]path`.
    pub routes: Vec<String>,
    /// Its share of the traffic, in per cent.
    pub weight: u8,
    /// When it first got traffic (RFC 3339).
    pub deployed_at: String,
    /// Where it came from.
    pub origin: VersionOrigin,
    /// The plugin file that it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What it was in a registry: `oci://…@sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Who brought it, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Requests on it now.
    pub leases: u64,
    /// Requests that came to it since it was loaded.
    pub requests: u64,
    /// Those whose client got 5xx, whether by the version, its store, its load or the host.
    pub errors: u64,
    /// Deliveries of events that came to it since it was loaded; each attempt is one.
    pub deliveries: u64,
    /// Those that were not handled, whether by the version, its store or the host.
    pub delivery_errors: u64,
}

/// Where a version came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VersionOrigin {
    /// The plugin folder.
    File,
    /// The admin listener.
    Upload,
    /// A registry, by way of the admin listener.
    Oci,
}

/// A version that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeptVersion {
    /// Counted per service from 1; never given twice.
    pub version: u64,
    /// The component's SHA-256.
    pub digest: String,
    /// Its share of the traffic, in per cent.
    pub weight: u8,
    /// When it first got traffic (RFC 3339).
    pub deployed_at: String,
    /// Where it came from.
    pub origin: VersionOrigin,
    /// The plugin file that it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What it was in a registry: `oci://…@sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Who brought it, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Why its traffic was taken from it, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
}

/// A canary under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CanaryStatus {
    /// The deployment that it belongs to.
    pub deployment: String,
    /// The version that it is compared with.
    pub old: u64,
    /// The version on trial.
    pub new: u64,
    /// The shares that it goes through, in per cent.
    pub steps: Vec<u8>,
    /// Which of them it has now, counted from 0.
    pub step: usize,
    /// Whether it waits for the operator.
    pub held: bool,
}

impl From<&Origin> for VersionOrigin {
    fn from(origin: &Origin) -> Self {
        match origin {
            Origin::File(_) => Self::File,
            Origin::Upload => Self::Upload,
            Origin::Oci(_) => Self::Oci,
        }
    }
}

/// A plugin file that serves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FileStatus {
    /// Its name.
    pub file: String,
    /// The service that it would be, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// A version on its way in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateStatus>,
    /// Why it does not serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalStatus>,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingStatus>,
}

/// An upload of a service that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UploadStatus {
    /// The service that it would be.
    pub name: String,
    /// The version on its way in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateStatus>,
    /// Its newest deployment since the host's start.
    pub deployment: Deployment,
}

/// A version on its way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CandidateStatus {
    /// Its deployment.
    pub deployment: String,
    /// The plugin file; none for an upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Its bytes are there.
    Received,
    /// It waits for its turn to be compiled.
    Waiting,
    /// A child process compiles it.
    Compiling,
    /// Imports, exports, routes and migrations are looked at.
    Validating,
    /// Its migrations are applied, it is instantiated and asked how it is.
    Warming,
    /// It has a share of the traffic and is compared with the old version.
    Canary,
    /// It has the traffic.
    Serving,
}

impl Step {
    pub(super) fn is_before_traffic(self) -> bool {
        !matches!(self, Self::Canary | Self::Serving)
    }
}

/// Content of a plugin file that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
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

/// Content of a plugin file that imports what no service exports yet. It is deployed by itself
/// once one does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PendingStatus {
    /// The plugin file.
    pub file: String,
    /// The component's SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What it waits for.
    pub reasons: Vec<String>,
    /// When it was last looked at (RFC 3339).
    pub at: String,
}

/// A version without traffic whose last requests go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DrainingStatus {
    /// Which.
    pub version: u64,
    /// The component's SHA-256.
    pub digest: String,
    /// Requests on it now.
    pub leases: u64,
    /// Since when it drains (RFC 3339).
    pub since: String,
    /// When what is still on it is ended (RFC 3339).
    pub until: String,
}
