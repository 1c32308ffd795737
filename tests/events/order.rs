//! Each key's events in their order, whatever fails and is swapped meanwhile.

use std::time::Instant;

use http::Method;
use serde_json::{Value, json};

use super::load::WithLedgers as _;
use super::stores::Stores;
use crate::deploy::operator::ask;
use crate::harness::{Host, eventually, marked};

const KEYS: u64 = 1_000;
const EVENTS: u64 = 100;

/// `ledger/entry.first`
const SUBSCRIPTION: &str = "/v1/subscriptions/ledger/entry.first";

/// Entries that one request publishes.
const BATCH: u64 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_keys_keep_their_order_through_failures_and_swaps() {
    let host = Host::builder().ledgers().start().await;
    let stores = Stores::at(&host.data());
    let began = Instant::now();
    let publishing = async {
        for number in 0..EVENTS {
            for first in (0..KEYS).step_by(usize::try_from(BATCH).expect("small")) {
                let keys = first..(first + BATCH).min(KEYS);
                let entries = Value::Array(keys.map(|key| entry(key, number)).collect());
                let reply = host.post("/teller/publish", entries.to_string()).await;
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        }
    };
    let swapping = async {
        for version in 2..=4_u32 {
            let goal = u64::from(version - 1) * KEYS * EVENTS / 5;
            let enough = format!("{goal} effects before the swap to version {version}");
            eventually(&enough, async || (effects(&stores) >= goal).then_some(())).await;
            host.drop_file("ledger.wasm", marked("ledger", version));
            host.until_version("ledger", version.into()).await;
        }
    };
    tokio::join!(publishing, swapping);
    stores.until_drained().await;
    let status = ask(&host, Method::GET, SUBSCRIPTION, Value::Null).await.json();
    eprintln!(
        "{} events of {KEYS} keys in {:?}; {} deliveries failed",
        KEYS * EVENTS,
        began.elapsed(),
        status["failed"]
    );
    let logs = stores.logs("ledger");
    let all: Vec<u64> = (0..EVENTS).collect();
    for key in 0..KEYS {
        assert_eq!(logs.get(&key.to_string()), Some(&all), "key {key}");
    }
    assert!(stores.dead("ledger").is_empty());
    let again = host.client.try_request(Method::GET, &host.url("/ledger"), "").await;
    assert!(again.expect("an answer").text().contains("VERSION-00000004"));
}

/// One in a hundred fails once or twice.
fn entry(key: u64, number: u64) -> Value {
    let by = if key.is_multiple_of(2) { "sql" } else { "kv" };
    let fail = if fastrand::u8(..100) == 0 { fastrand::u8(1..=2) } else { 0 };
    json!({ "key": key.to_string(), "number": number, "by": by, "fail": fail })
}

/// How many entries are in the ledger.
fn effects(stores: &Stores) -> u64 {
    stores.logs("ledger").values().map(|numbers| numbers.len() as u64).sum()
}
