//! How invocations end: whatever way it is, everything is given back, and what the client is
//! told is true.

mod commits;
mod computing;
mod soak;
mod table;

use crate::harness::Host;

/// Rounds of a guest's work that take it to the slow lane: tens of milliseconds.
const LONG: u64 = 20_000_000;

/// Waits until the service holds nothing more: no lease, no permit, no instance but the idle
/// ones, and not its store's writer.
async fn until_all_is_back(host: &Host, service: &str) {
    host.until_idle().await;
    host.until_metric(&format!("hotdock_permits_free{{service=\"{service}\"}}"), 64).await;
    host.until_metric(&format!("hotdock_leases{{service=\"{service}\"}}"), 0).await;
}

/// The value of a series, written with its labels.
async fn metric(host: &Host, series: &str) -> u64 {
    let metrics = host.metrics().await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a number"))
}
