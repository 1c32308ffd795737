//! Why a candidate does not come to serve.

use super::record::Seen;
use crate::escape::cut;
use crate::name::ServiceName;

/// Every reason why a file's content is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) service: Option<ServiceName>,
    pub(super) seen: Seen,
    pub(super) reasons: Vec<String>,
    /// Whether what other services have is among the reasons.
    pub(super) blocked: bool,
    /// Whether all that it lacks is what other services may come to export: its file waits.
    pub(super) waits: bool,
}

/// Why a deployment ends in which the host panicked.
const PANICKED: &str = "the host panicked in the middle of it, which is a fault of the host's and \
                        not of the component's: see its log, and deploy it again";

impl Refusal {
    /// Not of this content: whoever looks at it again tries it again.
    pub(super) fn panicked(service: Option<ServiceName>) -> Self {
        let reasons = vec![PANICKED.to_owned()];
        Self { service, seen: Seen::default(), reasons, blocked: false, waits: false }
    }
}

/// How many reasons are worth reading, and how many bytes of one.
const MAX_REASONS: usize = 100;
const MAX_REASON: usize = 2 << 10;

/// The reasons, as far as they are kept, logged and shown: a component has names of any length, and
/// as many as it likes.
pub(super) fn bounded(mut reasons: Vec<String>) -> Vec<String> {
    let more = reasons.len().saturating_sub(MAX_REASONS);
    reasons.truncate(MAX_REASONS);
    for reason in reasons.iter_mut().filter(|reason| reason.len() > MAX_REASON) {
        *reason = cut(&*reason, MAX_REASON);
    }
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    reasons
}

/// Why a candidate is superseded by what its file has now.
pub(super) const CHANGED: &str = "its file changed meanwhile";

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::compatibility::MAX_BREAKING;

    #[test]
    fn reasons_are_bounded_in_number_and_length() {
        let all = bounded((0..400).map(|at| format!("{at} {}", "x".repeat(90_000))).collect());
        assert_eq!(all.len(), MAX_REASONS + 1);
        assert!(all.iter().all(|reason| reason.len() <= MAX_REASON + '…'.len_utf8()));
        assert_eq!(all.last().map(String::as_str), Some("and 300 more"));
        // Those of what a version breaks end with how it is deployed all the same.
        let few: Vec<_> = (0..MAX_BREAKING + 2).map(|at| at.to_string()).collect();
        assert_eq!(bounded(few.clone()), few);
    }
}
