//! What the operator's scrape shows of events from outside (OpenMetrics text).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Intake, IntakeError};
use crate::bus::BusError;

/// Requests that brought events and were refused, by why.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// There was no room for them on their way.
    full: AtomicU64,
    /// The bus had no room for them, or not for more that come in here.
    bus_full: AtomicU64,
    /// The disk has no room for them.
    disk: AtomicU64,
    /// Their bodies took too long.
    slow: AtomicU64,
    /// Their events may not come in here.
    closed: AtomicU64,
    /// They were wrong.
    invalid: AtomicU64,
    /// The bus did not take them, for another reason.
    other: AtomicU64,
}

impl Refused {
    pub(super) fn count(&self, error: &IntakeError) {
        let counter = match error {
            IntakeError::Overloaded | IntakeError::SenderOverloaded => &self.full,
            IntakeError::Bus(BusError::Full(_) | BusError::ShareFull(_)) => &self.bus_full,
            IntakeError::Bus(BusError::DiskFull) => &self.disk,
            IntakeError::BodyIdle(_) | IntakeError::BodyLate => &self.slow,
            IntakeError::TypeNotOpened { .. }
            | IntakeError::SourceNotOpened { .. }
            | IntakeError::SourceReserved { .. } => &self.closed,
            IntakeError::Bus(_) => &self.other,
            _ => &self.invalid,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Shows both intakes.
#[derive(Debug)]
pub struct IntakeCollector {
    /// With the label that says whose it is.
    intakes: Vec<(&'static str, Intake)>,
}

impl IntakeCollector {
    /// Of the operator's intake, and of everybody's where there is one.
    #[must_use]
    pub fn new(operator: &Intake, public: Option<&Intake>) -> Self {
        let public = public.map(|public| ("public", public.clone()));
        Self { intakes: [("admin", operator.clone())].into_iter().chain(public).collect() }
    }
}

impl Collector for IntakeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut bytes = encoder.encode_descriptor(
            "hotdock_intake_bytes",
            "Bytes of events from outside that are on their way to the bus",
            None,
            MetricType::Gauge,
        )?;
        for (listener, intake) in &self.intakes {
            let taken = i64::try_from(intake.room.taken()).unwrap_or(i64::MAX);
            let labels = [("listener", *listener)];
            ConstGauge::new(taken).encode(bytes.encode_family(&labels)?)?;
        }
        let mut refused = encoder.encode_descriptor(
            "hotdock_intake_refused",
            "Requests with events from outside that were refused, by why",
            None,
            MetricType::Counter,
        )?;
        for (listener, intake) in &self.intakes {
            let counts = &intake.refused;
            for (reason, count) in [
                ("full", &counts.full),
                ("bus-full", &counts.bus_full),
                ("disk", &counts.disk),
                ("slow", &counts.slow),
                ("closed", &counts.closed),
                ("invalid", &counts.invalid),
                ("other", &counts.other),
            ] {
                let labels = [("listener", *listener), ("reason", reason)];
                let count = ConstCounter::new(count.load(Ordering::Relaxed));
                count.encode(refused.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
