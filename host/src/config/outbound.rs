//! `[outbound]`: outgoing requests.

use std::time::Duration;

use super::Network;
use super::file::Contradiction;
use super::value::{COUNT, HEAD, networks, number, time};

/// Limits of outgoing requests, for the whole host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundConfig {
    /// Networks outside the public internet that services may reach, as far as
    /// their manifests say so.
    pub allow_private: Vec<Network>,
    /// How long the lookup of a name may take, and then again the TCP connection.
    pub connect_timeout: Duration,
    /// How long a TLS handshake may take.
    pub tls_timeout: Duration,
    /// How long an answer's head may take once there is a connection.
    pub first_byte_timeout: Duration,
    /// How long a connection is kept without work.
    pub idle_timeout: Duration,
    /// Connections without work that a service keeps per origin.
    pub max_idle_per_origin: usize,
    /// A service's connections at once per origin; a request waits for one until its
    /// connect timeout.
    pub max_connections_per_origin: usize,
    /// Connections at once of all services; the last quarter is for those that have few.
    pub max_connections: usize,
    /// Bytes of an answer's head.
    pub max_header_bytes: u32,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            allow_private: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            tls_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            max_idle_per_origin: 16,
            max_connections_per_origin: 128,
            max_connections: 4096,
            max_header_bytes: 64 << 10,
        }
    }
}

/// `[outbound]` of the file.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct FileOutbound {
    #[serde(deserialize_with = "networks")]
    allow_private: Option<Vec<Network>>,
    #[serde(deserialize_with = "time")]
    connect_timeout: Option<Duration>,
    #[serde(deserialize_with = "time")]
    tls_timeout: Option<Duration>,
    #[serde(deserialize_with = "time")]
    first_byte_timeout: Option<Duration>,
    #[serde(deserialize_with = "time")]
    idle_timeout: Option<Duration>,
    #[serde(deserialize_with = "number::<_, _, 0, COUNT>")]
    max_idle_per_origin: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 1, COUNT>")]
    max_connections_per_origin: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 1, COUNT>")]
    max_connections: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 8192, HEAD>")]
    max_header_bytes: Option<u32>,
}

impl FileOutbound {
    /// What cannot hold together.
    pub(super) fn contradictions(&self) -> impl Iterator<Item = Contradiction> {
        let default = OutboundConfig::default();
        let all = self.max_connections.unwrap_or(default.max_connections);
        let each = self.max_connections_per_origin;
        let of_one = each.unwrap_or(default.max_connections_per_origin);
        let (key, idle) = ("outbound.max-connections-per-origin", "outbound.max-idle-per-origin");
        let shares = [
            Contradiction::more((key, each), ("outbound.max-connections", all)),
            Contradiction::more((idle, self.max_idle_per_origin), (key, of_one)),
        ];
        shares.into_iter().flatten()
    }

    /// What holds when `allow_private` was said on the command line.
    pub(super) fn resolve(self, allow_private: Option<Vec<Network>>) -> OutboundConfig {
        let default = OutboundConfig::default();
        OutboundConfig {
            allow_private: allow_private.or(self.allow_private).unwrap_or(default.allow_private),
            connect_timeout: self.connect_timeout.unwrap_or(default.connect_timeout),
            tls_timeout: self.tls_timeout.unwrap_or(default.tls_timeout),
            first_byte_timeout: self.first_byte_timeout.unwrap_or(default.first_byte_timeout),
            idle_timeout: self.idle_timeout.unwrap_or(default.idle_timeout),
            max_idle_per_origin: self.max_idle_per_origin.unwrap_or(default.max_idle_per_origin),
            max_connections_per_origin: self
                .max_connections_per_origin
                .unwrap_or(default.max_connections_per_origin),
            max_connections: self.max_connections.unwrap_or(default.max_connections),
            max_header_bytes: self.max_header_bytes.unwrap_or(default.max_header_bytes),
        }
    }
}
