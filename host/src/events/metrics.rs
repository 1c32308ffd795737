//! What the operator's scrape shows of events (OpenMetrics text).

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::engine::{Events, Shown};
use super::operate::STATES;
use crate::bus::BusHealth;
use crate::clock::now_ms;

/// Shows every subscription at work, the bus, and what waits for it.
#[derive(Debug)]
pub struct EventsCollector {
    events: Events,
}

impl EventsCollector {
    /// Of these events.
    #[must_use]
    pub fn new(events: Events) -> Self {
        Self { events }
    }
}

type Labels<'a> = [(&'static str, &'a str)];

impl Collector for EventsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let subscriptions = self.events.shown();
        for (name, help, read) in COUNTERS {
            let mut counters = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for shown in subscriptions.iter() {
                let count = ConstCounter::new(read(shown));
                encode(&mut counters, &labels(shown), &count)?;
            }
        }
        let end = self.events.bus().last();
        for (name, help, read) in GAUGES {
            let mut gauges = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for shown in subscriptions.iter() {
                encode(&mut gauges, &labels(shown), &gauge(read(shown, end)))?;
            }
        }
        self.deliveries(&mut encoder, &subscriptions)?;
        self.dead_letters(&mut encoder, &subscriptions)?;
        self.ages(&mut encoder, &subscriptions)?;
        self.states(&mut encoder, &subscriptions)?;
        self.outboxes(&mut encoder)?;
        self.shares(&mut encoder)?;
        self.cut(&mut encoder)?;
        let health = self.events.bus().health();
        for (name, help, read) in BUS {
            let one = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge(read(&health)).encode(one)?;
        }
        Ok(())
    }
}

impl EventsCollector {
    fn deliveries(&self, encoder: &mut DescriptorEncoder, all: &[Shown]) -> fmt::Result {
        let mut deliveries = encoder.encode_descriptor(
            "hotdock_deliveries",
            "Deliveries of events by how they ended",
            None,
            MetricType::Counter,
        )?;
        for shown in all {
            let counts = shown.status.counts();
            let outcomes = [
                ("delivered", counts.delivered),
                ("failed", counts.failed),
                ("undelivered", counts.undelivered),
            ];
            for (outcome, count) in outcomes {
                let [service, subscription] = labels(shown);
                let labels = [service, subscription, ("outcome", outcome)];
                encode(&mut deliveries, &labels, &ConstCounter::new(count))?;
            }
        }
        Ok(())
    }

    /// Those of replays that are over, too: they are there until someone takes them out.
    fn dead_letters(&self, encoder: &mut DescriptorEncoder, all: &[Shown]) -> fmt::Result {
        let mut dead = encoder.encode_descriptor(
            "hotdock_subscription_dead_letters",
            "Dead letters that are there",
            None,
            MetricType::Gauge,
        )?;
        for shown in all {
            encode(&mut dead, &labels(shown), &gauge(shown.status.counts().dead))?;
        }
        for (name, count) in self.events.dead_of_ended() {
            let labels =
                [("service", name.service.as_str()), ("subscription", &*name.subscription)];
            encode(&mut dead, &labels, &gauge(count))?;
        }
        Ok(())
    }

    /// As of a few seconds ago at the most: the file may have to be asked.
    fn ages(&self, encoder: &mut DescriptorEncoder, all: &[Shown]) -> fmt::Result {
        let mut ages = encoder.encode_descriptor(
            "hotdock_subscription_oldest_age_seconds",
            "Since when the oldest event that is not finished is on the bus",
            None,
            MetricType::Gauge,
        )?;
        let now = now_ms();
        for shown in all {
            // What was the oldest may be finished since.
            let oldest = self.events.oldest_of(shown).and_then(|_| shown.status.oldest());
            let age_ms = oldest.map_or(0, |oldest| now.saturating_sub(oldest.recorded_at));
            encode(&mut ages, &labels(shown), &ConstGauge::new(age_ms as f64 / 1_000.0))?;
        }
        Ok(())
    }

    /// Of those that only hold the bus as of a few seconds ago at the most.
    fn states(&self, encoder: &mut DescriptorEncoder, all: &[Shown]) -> fmt::Result {
        let mut states = encoder.encode_descriptor(
            "hotdock_subscription_state",
            "1 for what a subscription does",
            None,
            MetricType::Gauge,
        )?;
        let mut one = |[service, subscription]: [(&'static str, &str); 2], now: &str| {
            STATES.iter().try_for_each(|state| {
                let labels = [service, subscription, ("state", *state)];
                encode(&mut states, &labels, &gauge(u64::from(*state == now)))
            })
        };
        for shown in all {
            one(labels(shown), self.events.state_of(shown))?;
        }
        for (name, state) in self.events.inner.idle.load().iter() {
            let is_at_work = all.iter().any(|shown| shown.name.to_string() == *name);
            if let Some((service, subscription)) = name.split_once('/').filter(|_| !is_at_work) {
                one([("service", service), ("subscription", subscription)], state)?;
            }
        }
        Ok(())
    }

    fn outboxes(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let mut outboxes = encoder.encode_descriptor(
            "hotdock_outbox_length",
            "Events that a service published and that the bus does not have yet",
            None,
            MetricType::Gauge,
        )?;
        for service in self.events.inner.registry.load().services.values() {
            let labels = [("service", service.name.as_str())];
            encode(&mut outboxes, &labels, &gauge(service.store.outbox_len()))?;
        }
        Ok(())
    }
}

impl EventsCollector {
    /// Dead letters of sources that have too many.
    fn cut(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let mut cut = encoder.encode_descriptor(
            "hotdock_dead_letters_cut",
            "Dead letters that are kept without their data, or not kept, since their source has \
             too many",
            None,
            MetricType::Counter,
        )?;
        for service in self.events.inner.registry.load().services.values() {
            let (without_data, not_kept) = service.store.dead_letters_cut();
            for (kept, count) in [("head", without_data), ("nothing", not_kept)] {
                let labels = [("service", service.name.as_str()), ("kept", kept)];
                encode(&mut cut, &labels, &ConstCounter::new(count))?;
            }
        }
        Ok(())
    }

    /// What each publisher has of the bus.
    fn shares(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let shares = self.events.bus().shares();
        let mut bytes = encoder.encode_descriptor(
            "hotdock_bus_publisher_bytes",
            "Bytes of the events on the bus that are one publisher's: a service's, or from outside",
            None,
            MetricType::Gauge,
        )?;
        for share in &shares {
            encode(&mut bytes, &[("publisher", &*share.publisher)], &gauge(share.bytes))?;
        }
        let mut refused = encoder.encode_descriptor(
            "hotdock_bus_publisher_refused",
            "How often the bus took nothing since its publisher has as much as one may",
            None,
            MetricType::Counter,
        )?;
        for share in &shares {
            let count = ConstCounter::new(share.refused);
            encode(&mut refused, &[("publisher", &*share.publisher)], &count)?;
        }
        let max = encoder.encode_descriptor(
            "hotdock_bus_publisher_max_bytes",
            "How many bytes of events on the bus one publisher may have",
            None,
            MetricType::Gauge,
        )?;
        gauge(self.events.bus().max_bytes_per_source()).encode(max)
    }
}

/// Name, help text, and where the value is.
type ReadCounter = (&'static str, &'static str, fn(&Shown) -> u64);

const COUNTERS: [ReadCounter; 2] = [
    ("hotdock_events_given_up", "Events that became dead letters", |shown| {
        shown.status.counts().given_up
    }),
    ("hotdock_events_missed", "Events that the bus no longer had when their turn came", |shown| {
        shown.status.counts().missed
    }),
];

/// The same, with the last position on the bus.
type ReadGauge = (&'static str, &'static str, fn(&Shown, u64) -> u64);

const GAUGES: [ReadGauge; 4] = [
    (
        "hotdock_subscription_lag",
        "Events on the bus that a subscription has not read yet, wanted or not, or not finished",
        |shown, end| shown.lag(end),
    ),
    (
        "hotdock_subscription_in_flight",
        "Events that are read and neither finished nor held",
        |shown, _| shown.status.report().window as u64,
    ),
    (
        "hotdock_subscription_held",
        "Events that wait for another attempt, or for one of their key",
        |shown, _| shown.status.report().held as u64,
    ),
    ("hotdock_subscription_parked", "Keys whose events wait for an operator", |shown, _| {
        shown.status.report().parked as u64
    }),
];

/// The same, of the bus.
type ReadBus = (&'static str, &'static str, fn(&BusHealth) -> u64);

const BUS: [ReadBus; 7] = [
    ("hotdock_bus_events", "Events on the bus", |bus| bus.events),
    ("hotdock_bus_bytes", "Bytes of their texts", |bus| bus.bytes),
    ("hotdock_bus_max_bytes", "How many the bus may have", |bus| bus.max_bytes),
    ("hotdock_bus_first_position", "The first event's position", |bus| bus.first),
    ("hotdock_bus_last_position", "The last event's position", |bus| bus.last),
    ("hotdock_bus_full", "Whether it refuses events for want of room", |bus| u64::from(bus.full)),
    ("hotdock_bus_late", "How often it was waited for in vain, since the start", |bus| bus.late),
];

fn labels(shown: &Shown) -> [(&'static str, &str); 2] {
    [("service", shown.name.service.as_str()), ("subscription", &shown.name.subscription)]
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

fn encode(
    family: &mut MetricEncoder<'_>,
    labels: &Labels<'_>,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    metric.encode(family.encode_family(&labels)?)
}
