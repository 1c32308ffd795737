//! What a deployment tells whoever watches: people at a terminal, tests.

use std::time::Duration;

use crate::service::{ServiceName, VersionId};

/// Something that a deployment did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A child process compiles a component; `Serving` or `Refused` follows.
    Compiling {
        /// The service that it would be a version of.
        service: ServiceName,
        /// The plugin file.
        file: String,
        /// The component's size.
        bytes: usize,
    },
    /// A plugin file's content does not come to serve; what serves goes on.
    Refused {
        /// The service, if it was known.
        service: Option<ServiceName>,
        /// The plugin file.
        file: String,
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
        compile_time: Option<Duration>,
        /// Whether it served before the host was started anew.
        restored: bool,
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
    /// A service's file is gone, and so is the service; its store is kept.
    Undeployed {
        /// Which.
        service: ServiceName,
        /// The plugin file.
        file: String,
    },
}
