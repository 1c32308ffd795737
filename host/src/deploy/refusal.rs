//! Why a candidate does not come to serve.

use super::record::Seen;
use crate::service::ServiceName;

/// Every reason why a file's content is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) service: Option<ServiceName>,
    pub(super) seen: Seen,
    pub(super) reasons: Vec<String>,
    /// Whether what other services have is among the reasons.
    pub(super) blocked: bool,
}

/// Why a flow ends before its swap.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(Refusal),
    /// Its files changed again while the candidate waited for its turn, or its
    /// service did where it was to stay as it was; which of them.
    Superseded(String),
    /// The host is being stopped.
    Stopping,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
