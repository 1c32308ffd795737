//! A stop watch that also reads the count of allocations.

use std::time::Instant;

use super::report::{Cost, Spread};
use crate::allocator::{Allocated, Counting};

/// What one run of a stage took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lap {
    nanoseconds: u64,
    allocated: Allocated,
}

/// Where a stage began.
pub(super) struct Watch<'a> {
    counting: &'a Counting,
    at: Instant,
    allocated: Allocated,
}

/// The runs of a stage. Has room for all of them from the start, so that keeping one
/// is no part of the next.
pub(super) struct Laps(Vec<Lap>);

impl<'a> Watch<'a> {
    pub(super) fn start(counting: &'a Counting) -> Self {
        Self { counting, allocated: counting.so_far(), at: Instant::now() }
    }

    /// What came since the start or the last lap.
    pub(super) fn lap(&mut self) -> Lap {
        let (now, allocated) = (Instant::now(), self.counting.so_far());
        let nanoseconds = u64::try_from((now - self.at).as_nanos()).unwrap_or(u64::MAX);
        let lap = Lap { nanoseconds, allocated: allocated.since(self.allocated) };
        self.allocated = allocated;
        // Read again: what reading the counts took is nobody's.
        self.at = Instant::now();
        lap
    }
}

impl Lap {
    /// The two together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            nanoseconds: self.nanoseconds + other.nanoseconds,
            allocated: Allocated {
                count: self.allocated.count + other.allocated.count,
                bytes: self.allocated.bytes + other.allocated.bytes,
            },
        }
    }
}

impl Laps {
    pub(super) fn of(runs: usize) -> Self {
        Self(Vec::with_capacity(runs))
    }

    pub(super) fn add(&mut self, lap: Lap) {
        self.0.push(lap);
    }

    /// What a run of the stage costs.
    pub(super) fn cost(&self) -> Cost {
        let sorted = |of: fn(&Lap) -> u64| {
            let mut values: Vec<u64> = self.0.iter().map(of).collect();
            values.sort_unstable();
            values
        };
        let time = sorted(|lap| lap.nanoseconds);
        let at = |values: &[u64], percent: usize| {
            let index = values.len().saturating_sub(1) * percent / 100;
            values.get(index).copied().unwrap_or_default()
        };
        Cost {
            nanoseconds: Spread { p10: at(&time, 10), median: at(&time, 50), p90: at(&time, 90) },
            allocations: at(&sorted(|lap| lap.allocated.count), 50),
            bytes: at(&sorted(|lap| lap.allocated.bytes), 50),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_the_median_of_its_laps() {
        let mut laps = Laps::of(101);
        for nanoseconds in (0..=100).rev() {
            let allocated = Allocated { count: 3, bytes: nanoseconds };
            laps.add(Lap { nanoseconds, allocated });
        }
        let cost = laps.cost();
        assert_eq!(cost.nanoseconds, Spread { p10: 10, median: 50, p90: 90 });
        assert_eq!((cost.allocations, cost.bytes), (3, 50));
    }
}
