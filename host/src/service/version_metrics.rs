//! What is measured of one version, so that it can be compared with another: how
//! many requests and deliveries of events failed by its doing, and how long they took.
//!
//! They fail alike, but what they take is told apart: where one version happens to
//! get more events for its requests than the other, neither is slower for that.

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
    answers: Histogram,
    deliveries: Histogram,
}

type Histogram = [AtomicU64; PER_OCTAVE * OCTAVES];

/// What a version is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To answer a request.
    Request,
    /// To handle an event; each attempt is one.
    Delivery,
}

/// Measures one of them from its lease on; dropped without an end, it doesn't
/// count.
#[derive(Debug)]
pub struct Measure {
    metrics: Arc<VersionMetrics>,
    kind: Kind,
    begun: Instant,
}

/// A reading of the counters, or what lies between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// Requests that the version answered or failed to, and deliveries.
    pub requests: u64,
    /// Those of them that it failed: answered with 5xx, gave back to be tried again or
    /// rejected, or by its fault did not finish.
    pub errors: u64,
    /// How long requests took to the answer's head.
    pub answers: Latencies,
    /// How long deliveries took until what they did was durable.
    pub deliveries: Latencies,
}

/// A histogram of durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies([u64; PER_OCTAVE * OCTAVES]);

impl Default for VersionMetrics {
    fn default() -> Self {
        Self {
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            answers: std::array::from_fn(|_| AtomicU64::new(0)),
            deliveries: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl VersionMetrics {
    /// Begins to measure.
    #[must_use]
    pub fn begin(self: &Arc<Self>, kind: Kind) -> Measure {
        Measure { metrics: Arc::clone(self), kind, begun: Instant::now() }
    }

    /// What was counted up to now.
    #[must_use]
    pub fn read(&self) -> Measurement {
        Measurement {
            requests: self.requests.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            answers: Latencies::read(&self.answers),
            deliveries: Latencies::read(&self.deliveries),
        }
    }

    /// One ended so after its answer, of which it is `known` to be an error already,
    /// where it is.
    pub fn count_after_answer(&self, outcome: Outcome, known: bool) {
        if outcome.is_of_the_version() && !known {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One ended.
    pub(crate) fn count(&self, kind: Kind, failed: bool, took: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
        let latencies = match kind {
            Kind::Request => &self.answers,
            Kind::Delivery => &self.deliveries,
        };
        latencies[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }
}

impl Measure {
    /// How it ended; `status` where there is an answer. A handler that gives its event
    /// back is without an answer.
    pub fn ended(self, outcome: Outcome, status: Option<StatusCode>) {
        let failed = match outcome {
            Outcome::Answered => status.is_some_and(|status| status.is_server_error()),
            outcome if outcome.is_of_the_version() => true,
            // Nothing is said of the version.
            _ => return,
        };
        self.metrics.count(self.kind, failed, self.begun.elapsed());
    }
}

impl Measurement {
    /// What was counted since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            answers: self.answers.since(&earlier.answers),
            deliveries: self.deliveries.since(&earlier.deliveries),
        }
    }
}

impl Latencies {
    fn read(histogram: &Histogram) -> Self {
        Self(std::array::from_fn(|index| histogram[index].load(Ordering::Relaxed)))
    }

    fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index].saturating_sub(earlier.0[index])))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The duration below which `share` (0 to 1) of all were, at most a fourth too
    /// long; none where there is nothing.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
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
        assert_eq!(metrics.read().answers.quantile(0.5), None);
        for millis in 1..=100 {
            metrics.count(Kind::Request, false, Duration::from_millis(millis));
        }
        let read = metrics.read();
        for (share, exact) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = read.answers.quantile(share).expect("something").as_secs_f64() * 1e3;
            assert!((exact..=exact * 1.25).contains(&found), "{share}: {found}");
        }
        for took in [Duration::ZERO, Duration::MAX] {
            metrics.count(Kind::Request, true, took);
        }
        let window = metrics.read().since(&read);
        assert_eq!((window.requests, window.errors), (2, 2));
        assert!(window.answers.quantile(0.5).expect("something") <= Duration::from_micros(5));
    }

    #[test]
    fn only_what_the_version_did_is_its_error() {
        let metrics = Arc::new(VersionMetrics::default());
        let begin = || metrics.begin(Kind::Request);
        begin().ended(Outcome::Answered, Some(StatusCode::OK));
        begin().ended(Outcome::Answered, Some(StatusCode::BAD_GATEWAY));
        begin().ended(Outcome::Trapped, None);
        begin().ended(Outcome::ClientLeft, None);
        drop(begin());
        metrics.begin(Kind::Delivery).ended(Outcome::Answered, None);
        metrics.begin(Kind::Delivery).ended(Outcome::NoAnswer, None);
        let read = metrics.read();
        assert_eq!((read.requests, read.errors), (5, 3));
        assert_eq!((read.answers.count(), read.deliveries.count()), (3, 2));
    }
}
