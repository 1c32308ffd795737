//! Times of connections: a number, so that it can be in an atomic, and so coarse that it costs
//! next to nothing to ask.

use std::sync::LazyLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Ms since the process looked first, and at least 1.
pub(crate) type Ms = u64;

/// By how much the clock may be late.
const COARSE_MS: Ms = 20;

/// What stands for no time.
pub(crate) const NEVER: Ms = 0;

struct Start {
    coarse: Ms,
    exact: Instant,
}

static START: LazyLock<Start> = LazyLock::new(|| Start { coarse: coarse(), exact: Instant::now() });

/// Now, to a few ms.
pub(crate) fn now() -> Ms {
    1 + coarse().saturating_sub(START.coarse)
}

/// When that is on the clock of timers, and so much later that [`now`] has come there, too.
pub(crate) fn instant(at: Ms) -> Instant {
    START.exact + Duration::from_millis(at.saturating_add(COARSE_MS))
}

pub(crate) fn ms(duration: Duration) -> Ms {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

fn coarse() -> Ms {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1_000 + nanos / 1_000_000
}
