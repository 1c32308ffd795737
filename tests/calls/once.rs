//! A call of a caller that repeats itself has its effect once, also over `kill -9`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{both, clients, get, keyed, publish, until_counted};
use crate::harness::client::Client;
use crate::harness::{Host, eventually};

/// The longest that a host lives.
const LIFE: Duration = Duration::from_millis(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_with_a_key_finds_the_result_of_the_call_that_it_made() {
    let host = both().start().await;
    for (version, client) in clients() {
        let url = host.url(&format!("/relay/call-and-trap?key={}", version.replace('/', "-")));
        let count = format!("/relay/get?key={}", version.replace('/', "-"));
        for _ in 0..3 {
            // Nothing of it stands that a repetition would do again.
            let reply = keyed(&client, &url, "k").await.expect("an answer");
            reply.problem(502, "failed");
            assert_eq!(get(&host, &count).await, 1);
        }
        let reply = keyed(&client, &url, "another").await.expect("an answer");
        reply.problem(502, "failed");
        assert_eq!(get(&host, &count).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_deliveries_and_of_keyed_requests_count_once_over_kills() {
    let mut host = both().start().await;
    let kills = if std::env::var_os("HOTDOCK_SOAK").is_some() { 1_000 } else { 30 };
    let published = Arc::new(AtomicU64::new(0));
    let mut pending = None;
    for round in 0..kills {
        let stop = Arc::new(AtomicBool::new(false));
        let events =
            tokio::spawn(events(host_url(&host), Arc::clone(&published), Arc::clone(&stop)));
        let requests =
            tokio::spawn(requests(host.url(""), round, pending.take(), Arc::clone(&stop)));
        tokio::time::sleep(LIFE.mul_f64(fastrand::f64())).await;
        host.kill();
        stop.store(true, Ordering::Relaxed);
        events.await.expect("the publisher");
        pending = requests.await.expect("the client");
        host.start().await;
    }
    if let Some(path) = pending {
        let reply = repeated(&Client::new(), &host.url(&path.0), &path.1).await;
        assert_eq!(reply["ok"], 1);
    }
    // Nor is it known of the last event whether it is on the bus.
    let last = published.fetch_add(1, Ordering::Relaxed);
    let (client, url) = (Client::new(), host_url(&host));
    eventually("the last event is taken", async || {
        publish(&client, &url, &format!("event-{last}"), "event").await.then_some(())
    })
    .await;
    let events = published.load(Ordering::Relaxed);
    until_counted(&host, "event", events).await;
    eventually("all deliveries have ended", async || {
        let rows = rows(&host).await;
        (rows.get("event").map_or(0, Vec::len) as u64 == events).then_some(())
    })
    .await;
    let rows = rows(&host).await;
    for (key, mut results) in rows {
        results.sort_unstable();
        // Each call's result is in one row, and each row has a call's result.
        let counted = get(&host, &format!("/relay/get?key={key}")).await;
        assert_eq!(counted, results.len(), "{key}");
        assert_eq!(results, (1..=results.len() as u64).collect::<Vec<_>>(), "{key}");
    }
}

fn host_url(host: &Host) -> String {
    host.admin_url("/events")
}

/// Publishes one event after the other, each until it is known to be on the bus.
async fn events(url: String, published: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let client = Client::new();
    while !stop.load(Ordering::Relaxed) {
        // One that was not acknowledged is sent again after the restart, under its id.
        let id = published.load(Ordering::Relaxed);
        if publish(&client, &url, &format!("event-{id}"), "event").await {
            published.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends one request after the other, each until it has its answer. Returns the path and the key
/// of one that has none.
async fn requests(
    url: String,
    round: usize,
    pending: Option<(String, String)>,
    stop: Arc<AtomicBool>,
) -> Option<(String, String)> {
    let client = Client::new();
    let mut pending = pending;
    for number in 0.. {
        let (path, key) = pending.take().unwrap_or_else(|| {
            let key = format!("request-{round}-{number}");
            (format!("/relay/count?key={key}&by=1"), key)
        });
        loop {
            if stop.load(Ordering::Relaxed) {
                return Some((path, key));
            }
            match keyed(&client, &format!("{url}{path}"), &key).await {
                Some(reply) if reply.status == 200 => {
                    assert_eq!(reply.json(), json!({ "ok": 1 }), "{path}");
                    break;
                }
                _ => {}
            }
        }
    }
    None
}

async fn repeated(client: &Client, url: &str, key: &str) -> Value {
    eventually("the request has its answer", async || {
        let reply = keyed(client, url, key).await?;
        (reply.status == 200).then(|| reply.json())
    })
    .await
}

/// The results that the relay noted, by key.
async fn rows(host: &Host) -> BTreeMap<String, Vec<u64>> {
    let mut rows = BTreeMap::<String, Vec<u64>>::new();
    let all = get(host, "/relay/calls").await;
    for row in all.as_array().expect("rows") {
        let (key, result) = row.as_str().and_then(|row| row.split_once('=')).expect("key=result");
        rows.entry(key.to_owned()).or_default().push(result.parse().expect("a number"));
    }
    rows
}
