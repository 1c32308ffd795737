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

/// The first wait of a delivery that conflicted with others.
const FIRST_AFTER_CONFLICT: Duration = Duration::from_millis(5);

/// The wait of a delivery that conflicted with others, for the `times`-th time in a row: some part
/// of a time that doubles, at most `max`, so that those that conflict come apart.
pub(super) fn wait_after_conflict(max: Duration, times: u32, random: f64) -> Duration {
    let doublings = times.saturating_sub(1).min(31);
    FIRST_AFTER_CONFLICT.saturating_mul(1 << doublings).min(max).mul_f64(random.clamp(0.0, 1.0))
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

    #[test]
    fn those_that_conflict_come_apart() {
        let max = Duration::from_millis(50);
        let longest = [1, 2, 3, 4, 5, 1_000].map(|times| wait_after_conflict(max, times, 1.0));
        assert_eq!(longest.map(|wait| wait.as_millis()), [5, 10, 20, 40, 50, 50]);
        assert_eq!(wait_after_conflict(max, 9, 0.0), Duration::ZERO);
    }
}
