//! What is counted of a service, from its first version to its last, and how the
//! operator's scrape shows it (OpenMetrics text).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::leavers::Leavers;
use super::registry::{Registry, Service, Snapshot};
use super::version::Version;
use super::version_metrics::Kind;
use crate::tally::Tally;

/// How a request to a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service's own answer.
    Answered,
    /// The answer that its key's first request got; no version ran.
    Replayed,
    /// It trapped or exited.
    Trapped,
    /// It trapped at its memory limit.
    Memory,
    /// It trapped at another of its limits: tables, handles, …
    OverLimit,
    /// It used its CPU budget up.
    Cpu,
    /// Its deadline passed.
    Deadline,
    /// It returned without an answer, or with an error.
    NoAnswer,
    /// Its handler wants the event again.
    Retry,
    /// Its handler gave the event up.
    Rejected,
    /// The client's body is too large.
    BodyTooLarge,
    /// Its idempotency key is in use, or was used for another request.
    KeyRefused,
    /// Its answer is too large, or broke off, where it has to be kept whole.
    AnswerCut,
    /// It was still running when its version's drain was over.
    Drained,
    /// Others changed what it read, and it could not run again.
    Conflict,
    /// It held the writer for too long.
    LeaseExpired,
    /// Its transaction was refused at its end or undone at a statement.
    Refused,
    /// Its store is full.
    StoreFull,
    /// The host's disk is full.
    DiskFull,
    /// Its store failed.
    StoreFailed,
    /// The host panicked while it ran.
    HostFailed,
    /// Its queue is full, or the wait was too long.
    Overloaded,
    /// The client left first.
    ClientLeft,
}

/// A service's counters. Shared by its versions.
#[derive(Debug, Default)]
pub struct ServiceMetrics {
    requests: Ended,
    deliveries: Ended,
    calls: Ended,
    /// Of those that were answered, how they ended after it, where they did not end well.
    after_answer: [AtomicU64; Outcome::ALL.len()],
    reruns: AtomicU64,
    /// Whose requests were left.
    pub leavers: Leavers,
}

/// How those of one kind ended, and what they took.
#[derive(Debug)]
struct Ended {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    duration: Histogram,
}

/// Counts a request when it is dropped: as its client's departure, unless it
/// was told another end before. So with a delivery, whose client is the host.
#[derive(Debug)]
pub struct RequestCount {
    metrics: Arc<ServiceMetrics>,
    kind: Kind,
    begun: std::time::Instant,
    outcome: Outcome,
}

impl Outcome {
    const ALL: [(Self, &'static str); 23] = [
        (Self::Answered, "answered"),
        (Self::Replayed, "replayed"),
        (Self::Trapped, "trapped"),
        (Self::Memory, "memory"),
        (Self::OverLimit, "over-limit"),
        (Self::Cpu, "cpu"),
        (Self::Deadline, "deadline"),
        (Self::NoAnswer, "no-answer"),
        (Self::Retry, "retry"),
        (Self::Rejected, "rejected"),
        (Self::BodyTooLarge, "body-too-large"),
        (Self::KeyRefused, "key-refused"),
        (Self::AnswerCut, "answer-cut"),
        (Self::Drained, "drained"),
        (Self::Conflict, "conflict"),
        (Self::LeaseExpired, "lease-expired"),
        (Self::Refused, "transaction-refused"),
        (Self::StoreFull, "store-full"),
        (Self::DiskFull, "disk-full"),
        (Self::StoreFailed, "store-failed"),
        (Self::HostFailed, "host-failed"),
        (Self::Overloaded, "overloaded"),
        (Self::ClientLeft, "client-left"),
    ];
}

impl Outcome {
    /// Whether it is the version's doing, rather than the client's, the load's or the
    /// host's.
    #[must_use]
    pub fn is_of_the_version(self) -> bool {
        match self {
            Self::Trapped
            | Self::Memory
            | Self::OverLimit
            | Self::Cpu
            | Self::Deadline
            | Self::NoAnswer
            | Self::Retry
            | Self::Rejected
            | Self::AnswerCut
            | Self::LeaseExpired
            | Self::Refused => true,
            Self::Answered
            | Self::Replayed
            | Self::BodyTooLarge
            | Self::KeyRefused
            | Self::Drained
            | Self::Conflict
            | Self::StoreFull
            | Self::DiskFull
            | Self::StoreFailed
            | Self::HostFailed
            | Self::Overloaded
            | Self::ClientLeft => false,
        }
    }
}

impl Default for Ended {
    fn default() -> Self {
        Self {
            outcomes: std::array::from_fn(|_| AtomicU64::new(0)),
            // 0.25 ms to 8 s.
            duration: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
        }
    }
}

impl ServiceMetrics {
    /// Begins to count one.
    #[must_use]
    pub fn begin(self: &Arc<Self>, kind: Kind) -> RequestCount {
        RequestCount {
            metrics: Arc::clone(self),
            kind,
            begun: std::time::Instant::now(),
            outcome: Outcome::ClientLeft,
        }
    }

    /// An invocation that was answered was ended so.
    pub fn count_after_answer(&self, outcome: Outcome) {
        self.after_answer[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// An invocation runs again after a conflict.
    pub fn count_rerun(&self) {
        self.reruns.fetch_add(1, Ordering::Relaxed);
    }

    /// How many of a kind ended so.
    #[must_use]
    pub fn count(&self, kind: Kind, outcome: Outcome) -> u64 {
        self.of(kind).outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    fn of(&self, kind: Kind) -> &Ended {
        match kind {
            Kind::Request => &self.requests,
            Kind::Delivery => &self.deliveries,
            Kind::Call => &self.calls,
        }
    }
}

impl RequestCount {
    /// How it ended.
    pub fn ended(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for RequestCount {
    fn drop(&mut self) {
        let ended = self.metrics.of(self.kind);
        ended.outcomes[self.outcome as usize].fetch_add(1, Ordering::Relaxed);
        ended.duration.observe(self.begun.elapsed().as_secs_f64());
    }
}

/// Shows the counters and the present state of every service that there is.
pub struct ServiceCollector {
    registry: Arc<Registry>,
}

impl ServiceCollector {
    /// Of the services in `registry`.
    #[must_use]
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

type Labels<'a> = [(&'static str, &'a str)];

impl Collector for ServiceCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let snapshot = self.registry.load();
        let services = || snapshot.services.values().map(AsRef::as_ref);

        for (kind, name, help, _, _) in KINDS {
            let mut ended = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for service in services() {
                for (outcome, name) in Outcome::ALL {
                    let labels = [("service", service.name.as_str()), ("outcome", name)];
                    encode(&mut ended, &labels, &counter(service.metrics.count(kind, outcome)))?;
                }
            }
        }
        let mut endings = encoder.encode_descriptor(
            "hotdock_ended_after_answer",
            "Invocations that were answered and did not end well, by how they ended",
            None,
            MetricType::Counter,
        )?;
        for service in services() {
            for (outcome, name) in Outcome::ALL {
                let count = service.metrics.after_answer[outcome as usize].load(Ordering::Relaxed);
                if count > 0 {
                    let labels = [("service", service.name.as_str()), ("outcome", name)];
                    encode(&mut endings, &labels, &counter(count))?;
                }
            }
        }
        for (kind, _, _, name, help) in KINDS {
            let mut durations =
                encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for service in services() {
                let labels = [("service", service.name.as_str())];
                encode(&mut durations, &labels, &service.metrics.of(kind).duration)?;
            }
        }
        for (name, help, label, read) in TALLIES {
            let mut tallies = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for service in services() {
                let mut sums = BTreeMap::<&str, u64>::new();
                for version in service.traffic.versions() {
                    for (what, count) in read(version).counts() {
                        *sums.entry(what).or_default() += count;
                    }
                }
                for (what, count) in sums {
                    let labels = [("service", service.name.as_str()), (label, what)];
                    encode(&mut tallies, &labels, &counter(count))?;
                }
            }
        }
        for (name, help, read) in COUNTERS {
            let mut counters = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for service in services() {
                let labels = [("service", service.name.as_str())];
                encode(&mut counters, &labels, &counter(read(service)))?;
            }
        }
        for (name, help, read) in GAUGES {
            let mut gauges = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for service in services() {
                let labels = [("service", service.name.as_str())];
                let value = i64::try_from(read(service)).unwrap_or(i64::MAX);
                encode(&mut gauges, &labels, &ConstGauge::new(value))?;
            }
        }
        for (name, help, read) in VERSION_COUNTERS {
            let mut counters = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            each_version(&snapshot, read, |labels, value| {
                encode(&mut counters, labels, &counter(value))
            })?;
        }
        for (name, help, read) in VERSION_GAUGES {
            let mut gauges = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            each_version(&snapshot, read, |labels, value| {
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                encode(&mut gauges, labels, &ConstGauge::new(value))
            })?;
        }
        Ok(())
    }
}

/// What is counted, the counter's name and help text, and those of its durations.
type ReadKind = (Kind, &'static str, &'static str, &'static str, &'static str);

const KINDS: [ReadKind; 3] = [
    (
        Kind::Request,
        "hotdock_requests",
        "Requests by how they ended",
        "hotdock_request_duration_seconds",
        "From a request's head to its answer's head",
    ),
    (
        Kind::Delivery,
        "hotdock_handler_runs",
        "Deliveries to a service's handler by how they ended",
        "hotdock_handler_duration_seconds",
        "From a delivery to its handler until its effect is durable",
    ),
    (
        Kind::Call,
        "hotdock_calls",
        "Calls of a service by others, by how they ended",
        "hotdock_call_duration_seconds",
        "From a call by another service until its effect is durable",
    ),
];

/// Name, help text, the label of what is counted, and where the counts are.
type ReadTally = (&'static str, &'static str, &'static str, fn(&Version) -> &Tally);

const TALLIES: [ReadTally; 2] = [
    (
        "hotdock_limits_reached",
        "Guests of the versions with traffic that reached a limit",
        "limit",
        |version| version.pool.limits_reached(),
    ),
    (
        "hotdock_outgoing_requests",
        "Requests that the versions with traffic sent or wanted to",
        "outcome",
        |version| version.pool.outgoing_requests(),
    ),
];

/// Name, help text, and where the value is.
type Read = (&'static str, &'static str, fn(&Service) -> u64);

const COUNTERS: [Read; 5] = [
    ("hotdock_store_late", "How often the host waited for a service's store in vain", |service| {
        service.store.late_count()
    }),
    ("hotdock_reruns", "Invocations that ran again after a conflict", |service| {
        service.metrics.reruns.load(Ordering::Relaxed)
    }),
    ("hotdock_sql_memory_refused", "How often its SQL was refused memory", |service| {
        service.store.sql_memory().1
    }),
    ("hotdock_slow_lane", "Runs that went on in the slow lane", |service| {
        sum(service, |version| version.pool.slowed_count() as u64)
    }),
    (
        "hotdock_instances_made",
        "Instances that were made of the versions with traffic",
        |service| sum(service, |version| version.pool.made_count() as u64),
    ),
];

const GAUGES: [Read; 9] = [
    ("hotdock_version", "The version with the greatest share of the traffic", |service| {
        service.traffic.primary().id.number
    }),
    ("hotdock_leases", "Requests on the versions with traffic", |service| {
        sum(service, |version| version.lease_count())
    }),
    ("hotdock_permits_free", "How many more invocations may run", |service| {
        service.admission.available() as u64
    }),
    ("hotdock_streams", "Answers that are streams, without a permit", |service| {
        service.admission.streaming() as u64
    }),
    ("hotdock_queue_length", "Requests that wait for a permit", |service| {
        service.admission.waiting() as u64
    }),
    ("hotdock_instances_idle", "Instances that wait for an invocation", |service| {
        sum(service, |version| version.pool.idle_count() as u64)
    }),
    ("hotdock_sql_memory_bytes", "Bytes of memory that its SQL has", |service| {
        service.store.sql_memory().0
    }),
    ("hotdock_sql_reading", "Its SQL statements that read now", |service| service.store.reading()),
    ("hotdock_store_open", "Whether its store's file is open", |service| {
        u64::from(service.store.is_open())
    }),
];

/// Name, help text, and where the value is: per version with traffic.
type ReadVersion = (&'static str, &'static str, fn(&Service, &Version) -> u64);

const VERSION_COUNTERS: [ReadVersion; 4] = [
    ("hotdock_version_requests", "Requests that a version was to answer", |_, version| {
        version.metrics.read().requests.all()
    }),
    (
        "hotdock_version_errors",
        "Those whose client got 5xx, by the version, its store, its load or the host",
        |_, version| version.metrics.read().requests.errors(),
    ),
    ("hotdock_version_deliveries", "Deliveries that a version was to handle", |_, version| {
        version.metrics.read().deliveries.all()
    }),
    (
        "hotdock_version_delivery_errors",
        "Those that were not handled, by the version, its store or the host",
        |_, version| version.metrics.read().deliveries.errors(),
    ),
];

const VERSION_GAUGES: [ReadVersion; 1] = [(
    "hotdock_traffic_percent",
    "A version's share of its service's traffic",
    |service, version| u64::from(service.traffic.plan().weight(version.id.number)),
)];

fn sum(service: &Service, read: impl Fn(&Version) -> u64) -> u64 {
    service.traffic.versions().map(|version| read(version)).sum()
}

fn each_version(
    snapshot: &Snapshot,
    read: fn(&Service, &Version) -> u64,
    mut show: impl FnMut(&Labels<'_>, u64) -> fmt::Result,
) -> fmt::Result {
    for service in snapshot.services.values() {
        for version in service.traffic.versions() {
            let number = version.id.number.to_string();
            let labels = [("service", service.name.as_str()), ("version", number.as_str())];
            show(&labels, read(service, version))?;
        }
    }
    Ok(())
}

fn counter(value: u64) -> ConstCounter<u64> {
    ConstCounter::new(value)
}

fn encode(
    family: &mut MetricEncoder<'_>,
    labels: &Labels<'_>,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    metric.encode(family.encode_family(&labels)?)
}

impl fmt::Debug for ServiceCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceCollector").finish_non_exhaustive()
    }
}
