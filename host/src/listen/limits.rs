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

    /// The same for fewer connections in all, of which one address has the same part.
    pub(super) fn at_most(self, max_connections: usize) -> Self {
        if max_connections >= self.max_connections {
            return self;
        }
        let part = self.max_per_address as u128 * max_connections as u128;
        let part = part.div_ceil(self.max_connections.max(1) as u128);
        let max_per_address = usize::try_from(part).unwrap_or(max_connections).max(1);
        Self { max_connections, max_per_address, ..self }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_same_part_of_fewer() {
        let limits = HttpLimits {
            max_connections: 10_000,
            max_connections_per_address: 2_500,
            ..HttpLimits::default()
        };
        let fewer = ConnectionLimits::public(&limits).at_most(160);
        assert_eq!((fewer.max_connections, fewer.max_per_address), (160, 40));
        let one = ConnectionLimits::public(&limits).at_most(1);
        assert_eq!((one.max_connections, one.max_per_address), (1, 1));
        let all = ConnectionLimits::public(&limits).at_most(20_000);
        assert_eq!((all.max_connections, all.max_per_address), (10_000, 2_500));
    }
}
