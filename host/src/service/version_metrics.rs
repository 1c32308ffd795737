//! What is measured of one version, so that it can be compared with another: how its
//! requests and its deliveries of events ended, and how long they took.
//!
//! Each is told apart from the other: where one version happens to get more events for its
//! requests than the other, neither is slower or worse for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::Outcome;

/// Buckets per doubling: each is at most a sixteenth wider than its lower end.
const PER_OCTAVE: usize = 1 << BITS;
const BITS: u32 = 4;
/// Doublings of 16 microseconds that are told apart: up to half an hour.
const OCTAVES: usize = 27;
const BUCKETS: usize = PER_OCTAVE * OCTAVES;

/// A version's counters. They only grow: two readings make a window.
#[derive(Debug, Default)]
pub struct VersionMetrics {
    requests: Counters,
    deliveries: Counters,
    calls: Counters,
}

/// What a version is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To answer a request.
    Request,
    /// To handle an event; each attempt is one.
    Delivery,
    /// To run a function for another service.
    Call,
}

/// How one of them ended, as far as versions are compared by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Well,
    /// By the version's doing: with 5xx, a trap, a limit, an event given back or rejected.
    Failed,
    /// Its store or the host failed, or was full.
    HostFailed,
    /// Others changed what it had read.
    Conflict,
    /// Its client left before the answer.
    Left,
    /// The same of one that left before: a client counts once.
    LeftAgain,
    /// The load's doing: as many ran as may.
    Overloaded,
}

/// Of one kind, of one version.
#[derive(Debug)]
struct Counters {
    endings: [AtomicU64; Ending::ALL.len()],
    /// Of those that ended well at first, those that failed after it.
    failed_after: AtomicU64,
    /// They come round: no window has four thousand million in one bucket.
    took: [AtomicU32; BUCKETS],
}

/// Measures one of them from its lease on. Dropped without an end, its client left; an
/// event's handler that is dropped doesn't count.
#[derive(Debug)]
pub struct Measure {
    metrics: Arc<VersionMetrics>,
    kind: Kind,
    begun: Instant,
    ended: bool,
}

/// A reading of the counters, or what lies between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// Until the answer's head.
    pub requests: Series,
    /// Until what they did is durable.
    pub deliveries: Series,
    /// The same, with the result.
    pub calls: Series,
}

/// The same of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    endings: [u64; Ending::ALL.len()],
    failed_after: u64,
    /// How long those took that the version ended, well or not.
    pub took: Latencies,
}

/// A histogram of durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies(Box<[u32; BUCKETS]>);

impl Ending {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 7] = [
        Self::Well,
        Self::Failed,
        Self::HostFailed,
        Self::Conflict,
        Self::Left,
        Self::LeftAgain,
        Self::Overloaded,
    ];

    /// Of an outcome; none where it says nothing of the version or its surroundings. An
    /// answer is `well` or with 5xx.
    fn of(outcome: Outcome, well: bool) -> Option<Self> {
        match outcome {
            Outcome::Answered if well => Some(Self::Well),
            Outcome::Answered => Some(Self::Failed),
            outcome if outcome.is_of_the_version() => Some(Self::Failed),
            Outcome::StoreFull | Outcome::DiskFull | Outcome::StoreFailed | Outcome::HostFailed => {
                Some(Self::HostFailed)
            }
            Outcome::Conflict => Some(Self::Conflict),
            Outcome::ClientLeft => Some(Self::Left),
            Outcome::Overloaded => Some(Self::Overloaded),
            // The client's doing, the swap's, or what another version may have answered.
            _ => None,
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            endings: std::array::from_fn(|_| AtomicU64::new(0)),
            failed_after: AtomicU64::new(0),
            took: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }
}

impl VersionMetrics {
    /// Begins to measure.
    #[must_use]
    pub fn begin(self: &Arc<Self>, kind: Kind) -> Measure {
        Measure { metrics: Arc::clone(self), kind, begun: Instant::now(), ended: false }
    }

    /// What was counted up to now.
    #[must_use]
    pub fn read(&self) -> Measurement {
        Measurement {
            requests: self.requests.read(),
            deliveries: self.deliveries.read(),
            calls: self.calls.read(),
        }
    }

    /// One ended so after its answer, of which it is `known` to be an error already,
    /// where it is.
    pub fn count_after_answer(&self, kind: Kind, outcome: Outcome, known: bool) {
        if outcome.is_of_the_version() && !known {
            self.counters(kind).failed_after.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counters(&self, kind: Kind) -> &Counters {
        match kind {
            Kind::Request => &self.requests,
            Kind::Delivery => &self.deliveries,
            Kind::Call => &self.calls,
        }
    }

    /// One for this version ended so before it had a lease.
    pub fn count_refused(&self, kind: Kind, outcome: Outcome) {
        if let Some(ending) = Ending::of(outcome, false) {
            self.counters(kind).endings[ending as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One ended.
    pub(crate) fn count(&self, kind: Kind, ending: Ending, took: Duration) {
        let counters = self.counters(kind);
        counters.endings[ending as usize].fetch_add(1, Ordering::Relaxed);
        // How long others took is not the version's.
        if matches!(ending, Ending::Well | Ending::Failed) {
            counters.took[bucket(took)].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Counters {
    fn read(&self) -> Series {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let took = Box::new(std::array::from_fn(|index| self.took[index].load(Ordering::Relaxed)));
        Series {
            endings: std::array::from_fn(|index| read(&self.endings[index])),
            failed_after: read(&self.failed_after),
            took: Latencies(took),
        }
    }
}

impl Measure {
    /// How it ended; `status` where there is an answer. A handler that gives its event
    /// back is without an answer.
    pub fn ended(mut self, outcome: Outcome, status: Option<StatusCode>) {
        self.ended = true;
        let well = status.is_none_or(|status| !status.is_server_error());
        if let Some(ending) = Ending::of(outcome, well) {
            self.metrics.count(self.kind, ending, self.begun.elapsed());
        }
    }

    /// Its client left, which it had done before.
    pub fn left_again(mut self) {
        self.ended = true;
        self.metrics.count(self.kind, Ending::LeftAgain, Duration::ZERO);
    }

    /// It says nothing of the version: its client did not send it whole.
    pub fn says_nothing(mut self) {
        self.ended = true;
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        if !self.ended && self.kind == Kind::Request {
            self.metrics.count(self.kind, Ending::Left, Duration::ZERO);
        }
    }
}

impl Measurement {
    /// What was counted since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.since(&earlier.requests),
            deliveries: self.deliveries.since(&earlier.deliveries),
            calls: self.calls.since(&earlier.calls),
        }
    }
}

impl Series {
    /// How many ended so.
    #[must_use]
    pub fn count(&self, ending: Ending) -> u64 {
        let after = self.failed_after.min(self.endings[Ending::Well as usize]);
        match ending {
            Ending::Well => self.endings[ending as usize] - after,
            Ending::Failed => self.endings[ending as usize] + after,
            _ => self.endings[ending as usize],
        }
    }

    /// How many came to an end, whatever it was.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.endings.iter().sum()
    }

    /// The same but for those that never came to the version, and for what a client did
    /// again.
    #[must_use]
    pub fn tried(&self) -> u64 {
        self.all() - self.count(Ending::Overloaded) - self.count(Ending::LeftAgain)
    }

    /// How many clients, or events, did not get what they came for, whoever's doing it was;
    /// not those that left.
    #[must_use]
    pub fn errors(&self) -> u64 {
        let errors = [Ending::Failed, Ending::HostFailed, Ending::Conflict, Ending::Overloaded];
        errors.into_iter().map(|ending| self.count(ending)).sum()
    }

    fn since(&self, earlier: &Self) -> Self {
        let since = |index: usize| self.endings[index].saturating_sub(earlier.endings[index]);
        Self {
            endings: std::array::from_fn(since),
            failed_after: self.failed_after.saturating_sub(earlier.failed_after),
            took: self.took.since(&earlier.took),
        }
    }
}

impl Latencies {
    fn since(&self, earlier: &Self) -> Self {
        let since = |index: usize| self.0[index].wrapping_sub(earlier.0[index]);
        Self(Box::new(std::array::from_fn(since)))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// The duration that so many of them did not exceed, from the shortest on, at most a
    /// sixteenth too long; none where there are fewer.
    #[must_use]
    pub fn ranked(&self, rank: u64) -> Option<Duration> {
        let mut seen = 0;
        let found = self.0.iter().position(|bucket| {
            seen += u64::from(*bucket);
            seen >= rank.max(1)
        });
        found.map(upper_end)
    }

    /// How many took no longer than this, as far as is known: of those whose bucket it lies
    /// in, all.
    #[must_use]
    pub fn at_most(&self, time: Duration) -> u64 {
        self.0[..=bucket(time)].iter().map(|count| u64::from(*count)).sum()
    }
}

/// The bits after a number's first, and where that is, make its bucket.
fn bucket(took: Duration) -> usize {
    let least = 1 << BITS;
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(least);
    let octave = micros.ilog2() - BITS;
    let part = (micros >> octave) as usize & (PER_OCTAVE - 1);
    (octave as usize * PER_OCTAVE + part).min(BUCKETS - 1)
}

fn upper_end(bucket: usize) -> Duration {
    let (octave, part) = (bucket / PER_OCTAVE, bucket % PER_OCTAVE);
    Duration::from_micros(((PER_OCTAVE + part + 1) as u64) << octave)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_at_most_a_sixteenth_too_long() {
        let metrics = VersionMetrics::default();
        assert_eq!(metrics.read().requests.took.ranked(1), None);
        for millis in 1..=100 {
            metrics.count(Kind::Request, Ending::Well, Duration::from_millis(millis));
        }
        let read = metrics.read();
        let took = &read.requests.took;
        for rank in [1, 50, 99, 100] {
            let found = took.ranked(rank).expect("something").as_secs_f64() * 1e3;
            let exact = rank as f64;
            assert!((exact..=exact * 1.0625).contains(&found), "{rank}: {found}");
        }
        assert_eq!(took.ranked(101), None);
        assert_eq!(took.at_most(Duration::from_millis(100)), 100);
        assert!((50..55).contains(&took.at_most(Duration::from_millis(50))));
        for took in [Duration::ZERO, Duration::MAX] {
            metrics.count(Kind::Request, Ending::Failed, took);
        }
        let window = metrics.read().since(&read).requests;
        assert_eq!((window.all(), window.errors()), (2, 2));
        assert!(window.took.ranked(1).expect("something") <= Duration::from_micros(17));
    }

    #[test]
    fn requests_and_deliveries_have_their_own_endings() {
        let metrics = Arc::new(VersionMetrics::default());
        let begin = || metrics.begin(Kind::Request);
        begin().ended(Outcome::Answered, Some(StatusCode::OK));
        begin().ended(Outcome::Answered, Some(StatusCode::BAD_GATEWAY));
        begin().ended(Outcome::Trapped, None);
        begin().ended(Outcome::StoreFull, None);
        begin().ended(Outcome::Conflict, None);
        begin().ended(Outcome::BodyTooLarge, None);
        drop(begin());
        begin().left_again();
        metrics.begin(Kind::Delivery).ended(Outcome::Answered, None);
        metrics.begin(Kind::Delivery).ended(Outcome::NoAnswer, None);
        drop(metrics.begin(Kind::Delivery));
        let Measurement { requests, deliveries, calls: _ } = metrics.read();
        let counts = |series: &Series| Ending::ALL.map(|ending| series.count(ending));
        assert_eq!(counts(&requests), [1, 2, 1, 1, 1, 1, 0]);
        assert_eq!(counts(&deliveries), [1, 1, 0, 0, 0, 0, 0]);
        assert_eq!((requests.all(), requests.tried()), (7, 6));
        assert_eq!((requests.errors(), deliveries.errors()), (4, 1));
        assert_eq!((requests.took.count(), deliveries.took.count()), (3, 2));
    }

    #[test]
    fn what_fails_after_its_answer_is_counted_once() {
        let metrics = Arc::new(VersionMetrics::default());
        metrics.begin(Kind::Request).ended(Outcome::Answered, Some(StatusCode::OK));
        metrics.count_after_answer(Kind::Request, Outcome::Trapped, false);
        metrics.begin(Kind::Request).ended(Outcome::Answered, Some(StatusCode::BAD_GATEWAY));
        metrics.count_after_answer(Kind::Request, Outcome::Trapped, true);
        let read = metrics.read().requests;
        assert_eq!((read.all(), read.count(Ending::Well), read.errors()), (2, 0, 2));
    }
}
