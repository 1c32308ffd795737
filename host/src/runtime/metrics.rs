//! What the operator's scrape shows of the runtime, all services together.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::engine::Runtime;

/// Shows how much room for instances there is.
#[derive(Debug)]
pub struct RuntimeCollector {
    runtime: Runtime,
}

impl RuntimeCollector {
    /// Of this runtime.
    #[must_use]
    pub fn new(runtime: &Runtime) -> Self {
        Self { runtime: runtime.clone() }
    }
}

impl Collector for RuntimeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let free = i64::try_from(self.runtime.free_instance_slots()).unwrap_or(i64::MAX);
        let gauge = encoder.encode_descriptor(
            "hotdock_instance_slots_free",
            "How many more instances the host has room for",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(free).encode(gauge)?;
        let held = i64::try_from(self.runtime.held_for_guests().bytes()).unwrap_or(i64::MAX);
        let gauge = encoder.encode_descriptor(
            "hotdock_guest_host_memory_bytes",
            "What the host holds for instances beside their memories, in steps of 64 KiB each",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(held).encode(gauge)?;
        let memories = i64::try_from(self.runtime.memories().bytes()).unwrap_or(i64::MAX);
        let gauge = encoder.encode_descriptor(
            "hotdock_guest_memory_bytes",
            "Linear memory of all instances, idle ones included",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(memories).encode(gauge)
    }
}
