//! What is measured of one version, so that it can be compared with another:
//! how many of its requests failed by its doing, and how long they took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::Outcome;

/// Buckets per doubling: each is at most a fourth wider than its lower end.
const PER_OCTAVE: usize = 4;
/// Doublings of a microsecond that are told apart: up to half an hour.
const OCTAVES: usize = 31;

/// A version's counters. They only grow: two readings make a window.
#[derive(Debug)]
pub struct VersionMetrics {
    requests: AtomicU64,
    errors: AtomicU64,
    latencies: [AtomicU64; PER_OCTAVE * OCTAVES],
}

/// Measures one request from its lease on; dropped without an end, it doesn't
/// count.
#[derive(Debug)]
pub struct Measure {
    metrics: Arc<VersionMetrics>,
    begun: Instant,
}

/// A reading of the counters, or what lies between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// Requests that the version answered or failed to.
    pub requests: u64,
    /// Those of them that it failed: answered with 5xx, or by its fault not at all.
    pub errors: u64,
    /// How long they took to the answer's head.
    pub latencies: Latencies,
}

/// A histogram of durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies([u64; PER_OCTAVE * OCTAVES]);

impl Default for VersionMetrics {
    fn default() -> Self {
        Self {
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            latencies: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl VersionMetrics {
    /// Begins to measure a request.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Measure {
        Measure { metrics: Arc::clone(self), begun: Instant::now() }
    }

    /// What was counted up to now.
    #[must_use]
    pub fn read(&self) -> Measurement {
        Measurement {
            requests: self.requests.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            latencies: Latencies(std::array::from_fn(|index| {
                self.latencies[index].load(Ordering::Relaxed)
            })),
        }
    }

    /// A request ended.
    pub(crate) fn count(&self, failed: bool, took: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
        self.latencies[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }
}

impl Measure {
    /// How the request ended; `status` where there is an answer.
    pub fn ended(self, outcome: Outcome, status: Option<StatusCode>) {
        let failed = match outcome {
            Outcome::Answered => status.is_some_and(|status| status.is_server_error()),
            Outcome::Trapped
            | Outcome::Memory
            | Outcome::OverLimit
            | Outcome::Cpu
            | Outcome::Deadline
            | Outcome::NoAnswer
            | Outcome::AnswerCut
            | Outcome::LeaseExpired => true,
            // The client's doing, the load's or the host's: nothing is said of the version.
            Outcome::BodyTooLarge
            | Outcome::KeyRefused
            | Outcome::Drained
            | Outcome::Conflict
            | Outcome::StoreFull
            | Outcome::StoreFailed
            | Outcome::Overloaded
            | Outcome::ClientLeft => return,
        };
        self.metrics.count(failed, self.begun.elapsed());
    }
}

impl Measurement {
    /// What was counted since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            latencies: Latencies(std::array::from_fn(|index| {
                self.latencies.0[index].saturating_sub(earlier.latencies.0[index])
            })),
        }
    }
}

impl Latencies {
    /// The duration below which `share` (0 to 1) of all were, at most a fourth too
    /// long; none where there is nothing.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count: u64 = self.0.iter().sum();
        let wanted = (count as f64 * share).ceil().max(1.0);
        let mut seen = 0;
        let found = self.0.iter().position(|bucket| {
            seen += bucket;
            seen as f64 >= wanted
        });
        found.filter(|_| count > 0).map(upper_end)
    }
}

/// The two bits after a number's first, and where that is, make its bucket.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(4);
    let octave = micros.ilog2() as usize;
    let quarter = (micros >> (octave - 2)) as usize & (PER_OCTAVE - 1);
    ((octave - 2) * PER_OCTAVE + quarter).min(PER_OCTAVE * OCTAVES - 1)
}

fn upper_end(bucket: usize) -> Duration {
    let (octave, quarter) = (bucket / PER_OCTAVE + 2, bucket % PER_OCTAVE);
    Duration::from_micros(((PER_OCTAVE + quarter + 1) as u64) << (octave - 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_a_fourth_too_long() {
        let metrics = VersionMetrics::default();
        assert_eq!(metrics.read().latencies.quantile(0.5), None);
        for millis in 1..=100 {
            metrics.count(false, Duration::from_millis(millis));
        }
        let read = metrics.read();
        for (share, exact) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = read.latencies.quantile(share).expect("something").as_secs_f64() * 1e3;
            assert!((exact..=exact * 1.25).contains(&found), "{share}: {found}");
        }
        for took in [Duration::ZERO, Duration::MAX] {
            metrics.count(true, took);
        }
        let window = metrics.read().since(&read);
        assert_eq!((window.requests, window.errors), (2, 2));
        assert!(window.latencies.quantile(0.5).expect("something") <= Duration::from_micros(5));
    }

    #[test]
    fn only_what_the_version_did_is_its_error() {
        let metrics = Arc::new(VersionMetrics::default());
        metrics.begin().ended(Outcome::Answered, Some(StatusCode::OK));
        metrics.begin().ended(Outcome::Answered, Some(StatusCode::BAD_GATEWAY));
        metrics.begin().ended(Outcome::Trapped, None);
        metrics.begin().ended(Outcome::ClientLeft, None);
        drop(metrics.begin());
        let read = metrics.read();
        assert_eq!((read.requests, read.errors), (3, 2));
    }
}
