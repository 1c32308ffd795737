//! How traffic is to be shared, by numbers: what an operator says and `host.db`
//! keeps.

use std::cmp::Reverse;
use std::fmt;

use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::manifest::Sticky;

/// How many versions may have traffic at once.
const MAX_VERSIONS: usize = 16;
/// How many rules there may be.
const MAX_RULES: usize = 64;

/// How a service's versions share its traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrafficPlan {
    /// Every version that may get a request. The weights sum up to 100.
    pub versions: Vec<Share>,
    /// Requests that go to one version whatever the weights; the first that
    /// applies counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// What keeps a client on one version; nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
}

/// A version's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The version's number.
    #[schema(minimum = 1)]
    pub version: u64,
    /// Per cent. 0: only what a rule sends there.
    #[schema(maximum = 100)]
    pub weight: u8,
}

/// Requests that go to one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A header's name.
    pub header: String,
    /// The value that it has to have, byte for byte.
    pub value: String,
    /// The version's number; one of those that have traffic.
    #[schema(minimum = 1)]
    pub version: u64,
}

/// Why traffic cannot be shared so.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TrafficError {
    /// Too much or too little is given away.
    #[error("the weights sum up to {0}, not to 100")]
    Sum(u32),
    /// Versions or rules beyond what is kept.
    #[error("there are {found} {what}; at most {most} may be")]
    TooMany {
        /// Versions or rules.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// How many may be.
        most: usize,
    },
    /// It is named more than once.
    #[error("version {0} is named twice")]
    Twice(u64),
    /// The rule leads to a version that the plan doesn't have.
    #[error(
        "the rule for header {header} names version {version}, which has no share: give it one, or 0"
    )]
    RuleWithoutShare {
        /// The rule's header.
        header: String,
        /// The rule's version.
        version: u64,
    },
    /// It can't be a header's name.
    #[error("`{0}` is no name of a header")]
    Header(String),
    /// The service has no such version, or keeps it no longer.
    #[error("there is no version {0}, or it is kept no longer")]
    NoSuchVersion(u64),
}

impl Share {
    /// The version with the greatest of these shares, the older of two equals.
    pub(crate) fn greatest(shares: &[Self]) -> Option<u64> {
        let greatest = shares.iter().max_by_key(|share| (share.weight, Reverse(share.version)));
        greatest.map(|share| share.version)
    }
}

/// The shares: `v1 90 %, v2 10 %`.
impl fmt::Display for TrafficPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Share { version, weight }) in self.versions.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}v{version} {weight} %")?;
        }
        Ok(())
    }
}

impl TrafficPlan {
    /// Everything to one version.
    #[must_use]
    pub fn all(version: u64) -> Self {
        let versions = vec![Share { version, weight: 100 }];
        Self { versions, rules: Vec::new(), sticky: None }
    }

    /// The share of a version; 0 where it has none.
    #[must_use]
    pub fn weight(&self, version: u64) -> u8 {
        self.versions.iter().find(|share| share.version == version).map_or(0, |share| share.weight)
    }

    /// Checks what can be told without knowing the versions.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), TrafficError> {
        let too_many = |what, found, most| TrafficError::TooMany { what, found, most };
        if self.versions.len() > MAX_VERSIONS {
            return Err(too_many("versions", self.versions.len(), MAX_VERSIONS));
        }
        if self.rules.len() > MAX_RULES {
            return Err(too_many("rules", self.rules.len(), MAX_RULES));
        }
        for (index, share) in self.versions.iter().enumerate() {
            if self.versions[..index].iter().any(|earlier| earlier.version == share.version) {
                return Err(TrafficError::Twice(share.version));
            }
        }
        let sum = self.versions.iter().map(|share| u32::from(share.weight)).sum();
        if sum != 100 {
            return Err(TrafficError::Sum(sum));
        }
        for Rule { header, version, .. } in &self.rules {
            if !self.versions.iter().any(|share| share.version == *version) {
                let (header, version) = (header.clone(), *version);
                return Err(TrafficError::RuleWithoutShare { header, version });
            }
        }
        let sticky = match &self.sticky {
            Some(Sticky::Header(name)) => Some(name),
            _ => None,
        };
        for name in self.rules.iter().map(|rule| &rule.header).chain(sticky) {
            if name.parse::<HeaderName>().is_err() {
                return Err(TrafficError::Header(name.clone()));
            }
        }
        Ok(())
    }
}

impl Rule {
    pub(super) fn applies(&self, headers: &HeaderMap) -> bool {
        headers.get_all(self.header.as_str()).iter().any(|value| value == self.value.as_str())
    }
}
