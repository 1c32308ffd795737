//! How long a failing event waits.

use std::time::Duration;

use crate::manifest::Backoff;

/// The wait before the delivery after `attempts` failed ones: doubled each time,
/// at most `max`, less a random part of up to a half, so that what failed
/// together doesn't come back together. `random` is in 0..1.
pub(super) fn wait(backoff: Backoff, attempts: u32, random: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    let whole = backoff.first.saturating_mul(1 << doublings).min(backoff.max);
    whole.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_most_and_takes_up_to_a_half_off() {
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) };
        let waits = [1, 2, 3, 4, 5, 1_000].map(|attempts| wait(backoff, attempts, 0.0).as_millis());
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(wait(backoff, 1, 1.0), Duration::from_millis(50));
    }
}
