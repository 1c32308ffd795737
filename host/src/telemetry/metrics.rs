//! What the operator's scrape shows of the log.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::logs::{Counts, Logs};
use super::output;

/// Shows how many lines there were, and what became of them.
#[derive(Debug)]
pub struct LogsCollector {
    logs: Logs,
}

/// Name, help, and how it is read.
type Counter = (&'static str, &'static str, fn(&Counts) -> u64);

const COUNTERS: [Counter; 4] = [
    ("hotdock_log_lines", "Lines that were logged, of those that are kept for operators", |all| {
        all.logged
    }),
    ("hotdock_log_lines_dropped", "Lines that had to go for newer ones (log-keep)", |all| {
        all.dropped
    }),
    ("hotdock_log_lines_missed", "Lines that went before those who follow had read them", |all| {
        all.missed
    }),
    ("hotdock_log_lines_unwritten", "Lines that standard error was not read in time for", |_| {
        output::dropped()
    }),
];

impl LogsCollector {
    /// Of these lines.
    #[must_use]
    pub fn new(logs: Logs) -> Self {
        Self { logs }
    }
}

impl Collector for LogsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let counts = self.logs.counts();
        for (name, help, read) in COUNTERS {
            let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(read(&counts)).encode(counter)?;
        }
        Ok(())
    }
}
