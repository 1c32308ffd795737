//! What the operator's scrape shows of connections (OpenMetrics text).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::places::{Places, Refused};
use super::state::End;
use super::unsent::Unsent;

/// What happened to a listener's connections.
#[derive(Debug, Default)]
pub(super) struct Counts {
    taken: AtomicU64,
    full: AtomicU64,
    address: AtomicU64,
    descriptors: AtomicU64,
    ended: [AtomicU64; End::ALL.len()],
    /// Answers on HTTP/2 of which nothing was taken.
    answers: AtomicU64,
}

impl Counts {
    pub(super) fn taken(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, refused: Refused) {
        let counter = match refused {
            Refused::Full => &self.full,
            Refused::Address => &self.address,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The system had no descriptor for one.
    pub(super) fn no_descriptor(&self) {
        self.descriptors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, end: End) {
        self.add(end, 1);
    }

    pub(super) fn gave_way(&self, count: usize) {
        self.add(End::Place, count as u64);
    }

    pub(super) fn relieved(&self, count: usize) {
        self.add(End::Unsent, count as u64);
    }

    pub(super) fn answer_cut(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    fn add(&self, end: End, count: u64) {
        let counters = self.ended.iter().zip(End::ALL);
        for (counter, _) in counters.filter(|(_, (each, _))| *each == end) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// Shows listeners' connections.
#[derive(Debug)]
pub struct ConnectionsCollector {
    listeners: Vec<Shown>,
}

/// One listener's.
#[derive(Clone, Debug)]
pub struct Shown {
    pub(super) listener: &'static str,
    pub(super) places: Arc<Places>,
    pub(super) counts: Arc<Counts>,
    pub(super) unsent: Arc<Unsent>,
}

impl ConnectionsCollector {
    /// Of these listeners.
    #[must_use]
    pub fn new(listeners: Vec<Shown>) -> Self {
        Self { listeners }
    }
}

impl Collector for ConnectionsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut open = encoder.encode_descriptor(
            "hotdock_connections",
            "Connections that are open",
            None,
            MetricType::Gauge,
        )?;
        for Shown { listener, places, .. } in &self.listeners {
            let count = i64::try_from(places.open()).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(open.encode_family(&[("listener", *listener)])?)?;
        }
        let mut unsent = encoder.encode_descriptor(
            "hotdock_connections_unsent_bytes",
            "Bytes of answers in memory that clients have not taken yet",
            None,
            MetricType::Gauge,
        )?;
        for Shown { listener, unsent: all, .. } in &self.listeners {
            let labels = [("listener", *listener)];
            ConstGauge::new(all.bytes().max(0)).encode(unsent.encode_family(&labels)?)?;
        }
        self.counters(&mut encoder, "hotdock_connections_taken", "Connections taken", |counts| {
            vec![("", counts.taken.load(Ordering::Relaxed))]
        })?;
        let help = "Connections refused, by which limit";
        self.counters(&mut encoder, "hotdock_connections_refused", help, |counts| {
            let all = [
                ("full", &counts.full),
                ("address", &counts.address),
                ("descriptors", &counts.descriptors),
            ];
            all.map(|(reason, count)| (reason, count.load(Ordering::Relaxed))).to_vec()
        })?;
        let help = "Connections that the host ended, and answers on HTTP/2 that it cut, by why";
        self.counters(&mut encoder, "hotdock_connections_ended", help, |counts| {
            let ended = counts.ended.iter().zip(End::ALL);
            let ended = ended.map(|(count, (_, reason))| (reason, count.load(Ordering::Relaxed)));
            ended.chain([("stream-answer", counts.answers.load(Ordering::Relaxed))]).collect()
        })
    }
}

impl ConnectionsCollector {
    fn counters(
        &self,
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        read: impl Fn(&Counts) -> Vec<(&'static str, u64)>,
    ) -> fmt::Result {
        let mut counters = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for Shown { listener, counts, .. } in &self.listeners {
            for (reason, count) in read(counts) {
                let labels = [("listener", *listener), ("reason", reason)];
                let labels = if reason.is_empty() { &labels[..1] } else { &labels[..] };
                ConstCounter::new(count).encode(counters.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
