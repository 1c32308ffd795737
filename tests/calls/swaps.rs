//! Caller and callee are replaced while calls are made, and none of them fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::Method;
use tokio::task::JoinSet;

use super::{both, get};
use crate::harness::client::Client;
use crate::harness::component;

/// How many call at once.
const CALLERS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_swaps_of_either_side_fail_no_call_and_repeat_none() {
    let host = both().start().await;
    let (stop, counted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (stop, counted) = (Arc::clone(&stop), Arc::clone(&counted));
        let url = host.url("/relay/count?key=swaps&by=1");
        callers.spawn(async move {
            let client = if number % 2 == 0 { Client::new() } else { Client::h2c() };
            while !stop.load(Ordering::Relaxed) {
                let reply = client.try_request(Method::POST, &url, "").await.expect("an answer");
                assert_eq!(reply.status, 200, "{reply:?}");
                assert!(reply.json()["ok"].is_number(), "{reply:?}");
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let swaps = if std::env::var_os("HOTDOCK_SOAK").is_some() { 100 } else { 15 };
    for number in 0..swaps {
        for name in ["callee", "relay"] {
            let manifest = component(name).1.expect("a manifest");
            host.drop_file(&format!("{name}.toml"), format!("{manifest}\n# {number}\n"));
            host.until_version(name, number + 2).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller.expect("no call failed");
    }
    let counted = counted.load(Ordering::Relaxed);
    assert!(counted > 0);
    assert_eq!(get(&host, "/relay/get?key=swaps").await, counted);
    host.until_idle().await;
}
