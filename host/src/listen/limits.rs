//! What a connection may take, and how long.

use std::sync::Arc;

use super::clock::{Ms, ms};
use crate::config::{HttpLimits, Network};

/// Connections are not looked at more often than that.
const LEAST_LOOK_MS: Ms = 50;

/// The limits of one listener's connections.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// `[http] first-byte-timeout`.
    pub(super) first_byte: Ms,
    /// `[http] header-read-timeout`.
    pub(super) head: Ms,
    /// `[http] idle-timeout`.
    pub(super) idle: Ms,
    /// `[http] answer-idle`.
    pub(super) answer_idle: Ms,
    /// How often it is looked at least.
    pub(super) look: Ms,
    /// `[http] max-control-frames`.
    pub(super) max_control_frames: u32,
    /// `[http] max-connections` or `admin-max-connections`.
    pub(super) max_connections: usize,
    /// `[http] max-connections-per-address`.
    pub(super) max_per_address: usize,
    /// Who may have as many as there are: proxies.
    pub(super) exempt: Arc<[Network]>,
}

impl ConnectionLimits {
    /// Those of the public listener.
    #[must_use]
    pub fn public(limits: &HttpLimits) -> Self {
        let [first_byte, head, idle, answer_idle] = [
            limits.first_byte_timeout,
            limits.header_read_timeout,
            limits.idle_timeout,
            limits.answer_idle,
        ]
        .map(ms);
        Self {
            first_byte,
            head,
            idle,
            answer_idle,
            look: first_byte.min(head).min(idle).min(answer_idle).max(LEAST_LOOK_MS),
            max_control_frames: limits.max_control_frames,
            max_connections: limits.max_connections,
            max_per_address: limits.max_connections_per_address,
            exempt: limits.trust_forwarded.as_slice().into(),
        }
    }

    /// Those of the admin listener.
    #[must_use]
    pub fn admin(limits: &HttpLimits) -> Self {
        let max_connections = limits.admin_max_connections;
        Self {
            max_connections,
            // Somebody else still gets in.
            max_per_address: (max_connections / 4 * 3).max(1),
            exempt: Arc::default(),
            ..Self::public(limits)
        }
    }
}
