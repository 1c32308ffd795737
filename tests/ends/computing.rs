//! Handlers that compute, and do nothing wrong.

use futures_util::future::join_all;

use super::{LONG, metric, until_all_is_back};
use crate::harness::{Host, built};

/// A deadline that nothing here may be waiting for.
const LIMITS: &str = "[limits]\ndeadline = \"1h\"\ncpu = \"10m\"\n";

/// What keeps a core busy for some tens of milliseconds, by the guest.
fn rounds(guest: &str) -> u64 {
    if guest == "py" { LONG / 100 } else { LONG }
}

async fn all_are_answered(guest: &str) {
    let host = Host::builder().plugin_with(guest, LIMITS).start().await;
    let path = format!("/{guest}?rounds={}", rounds(guest));
    let expected = host.get(&path).await;
    for _ in 0..24 {
        assert_eq!(host.get(&path).await.body, expected.body, "{guest}");
    }
    for reply in join_all((0..48).map(|_| host.get(&path))).await {
        assert_eq!((reply.status.as_u16(), reply.body), (200, expected.body.clone()), "{guest}");
    }
    let slowed = metric(&host, &format!("hotdock_slow_lane_total{{service=\"{guest}\"}}")).await;
    assert!(slowed > 0, "{guest}: they compute for long enough to be handed over");
    until_all_is_back(&host, guest).await;
    let service = host.service(guest).await;
    assert_eq!(service["serving"]["errors"], 0, "{service}");
}

#[tokio::test(flavor = "multi_thread")]
async fn computing_handlers_of_the_sdk_are_answered_and_give_everything_back() {
    all_are_answered("compute").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn computing_handlers_of_wstd_are_answered_and_give_everything_back() {
    all_are_answered("compute02").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn computing_handlers_of_wasi_03_are_answered_and_give_everything_back() {
    all_are_answered("compute3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn computing_handlers_in_python_are_answered_and_give_everything_back() {
    if built("test-guests", "py.wasm").is_some() {
        all_are_answered("py").await;
    }
}
