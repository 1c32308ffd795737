//! What a deployment tells whoever watches: people at a terminal, tests.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::deployments::Deployment;
use crate::name::{ServiceName, VersionId};
use crate::service::TrafficPlan;

/// Something that a deployment did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// A deployment came to another step or to its end.
    Deployment(Box<Deployment>),
    /// A child process compiles a component; `Serving` or `Refused` follows.
    Compiling {
        /// The service that it would be a version of.
        service: ServiceName,
        /// The plugin file; none for an upload.
        file: Option<String>,
        /// The component's size.
        bytes: usize,
    },
    /// A plugin file's content does not come to serve; what serves goes on.
    Refused {
        /// The service, if it was known.
        service: Option<ServiceName>,
        /// The plugin file; none for an upload.
        file: Option<String>,
        /// Every reason.
        reasons: Vec<String>,
    },
    /// A version has its service's traffic.
    Serving {
        /// Which.
        version: VersionId,
        /// Its routes as `[METHODS ][host]path`.
        routes: Vec<String>,
        /// How long it took to compile; none when its code was in the cache.
        #[serde(rename = "compile_ms", serialize_with = "milliseconds")]
        compile_time: Option<Duration>,
        /// Whether it served before the host was started anew.
        restored: bool,
    },
    /// A service's traffic is shared anew.
    Shared {
        /// The service.
        service: ServiceName,
        /// How.
        traffic: TrafficPlan,
        /// The operator whose word it is, if it is one's.
        #[serde(skip_serializing_if = "Option::is_none")]
        who: Option<String>,
    },
    /// A version lost its share to another.
    RolledBack {
        /// Which lost it.
        version: VersionId,
        /// The number of the version that has it.
        to: u64,
        /// Why.
        reason: String,
        /// The operator whose word it is, if it is one's.
        #[serde(skip_serializing_if = "Option::is_none")]
        who: Option<String>,
    },
    /// A candidate's file waits for other services to export what it imports.
    Pending {
        /// Its service.
        service: Option<ServiceName>,
        /// The plugin file.
        file: String,
        /// What it waits for.
        reasons: Vec<String>,
    },
    /// A canary waits for the operator.
    Held {
        /// The version on trial.
        version: VersionId,
        /// Why.
        reason: String,
    },
    /// A version lost its traffic; its last requests go on.
    Draining {
        /// Which.
        version: VersionId,
        /// Its requests at this moment.
        leases: u64,
    },
    /// A version's last request is done, or its time is up.
    Drained {
        /// Which.
        version: VersionId,
        /// Requests that went on beyond the drain deadline.
        leases_left: u64,
    },
    /// A service is gone, its file with it or by the operator's word; its store is
    /// kept.
    Undeployed {
        /// Which.
        service: ServiceName,
        /// The plugin file that is gone.
        file: Option<String>,
        /// The operator whose word it is, if it is one's.
        #[serde(skip_serializing_if = "Option::is_none")]
        who: Option<String>,
    },
}

impl Notice {
    /// The name of its kind, as it is on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Deployment(_) => "deployment",
            Self::Compiling { .. } => "compiling",
            Self::Refused { .. } => "refused",
            Self::Serving { .. } => "serving",
            Self::Shared { .. } => "shared",
            Self::RolledBack { .. } => "rolled-back",
            Self::Pending { .. } => "pending",
            Self::Held { .. } => "held",
            Self::Draining { .. } => "draining",
            Self::Drained { .. } => "drained",
            Self::Undeployed { .. } => "undeployed",
        }
    }
}

fn milliseconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let millis = time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    millis.serialize(serializer)
}
