//! Clients that publish until their host is gone, and what they know then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::stores::{Stores, assert_exactly_once};
use crate::harness::host::Builder;
use crate::harness::{Client, Host, Reply, component};

/// Entries that one request publishes.
const BATCH: u64 = 3;

/// Clients of a chain of ledgers: `teller` publishes, `ledger` logs and passes on,
/// `audit` logs what was passed on. Half of the keys are logged by SQL.
#[derive(Clone, Default)]
pub struct Ledgers {
    known: Arc<Mutex<Known>>,
    acknowledged: Arc<AtomicU64>,
}

/// By key.
#[derive(Default)]
struct Known {
    /// How many were sent, so the next number.
    sent: BTreeMap<String, u64>,
    acknowledged: BTreeMap<String, BTreeSet<u64>>,
}

/// The three ledgers.
pub trait WithLedgers {
    fn ledgers(self) -> Self;
}

impl WithLedgers for Builder {
    fn ledgers(self) -> Self {
        let (wasm, first) = component("ledger");
        let first = first.expect("its manifest");
        let next = first.replace("entry.first", "entry.next");
        self.file("teller.wasm", wasm.clone())
            .file("ledger.wasm", wasm.clone())
            .file("ledger.toml", first)
            .file("audit.wasm", wasm)
            .file("audit.toml", next)
    }
}

impl Ledgers {
    /// One client for each of so many keys, each until it gets no answer.
    pub fn start(&self, host: &Host, keys: usize) -> JoinSet<()> {
        let client = |number: usize| {
            let (ledgers, client, url) =
                (self.clone(), host.client.clone(), host.url("/teller/publish"));
            async move { while ledgers.publish(&client, &url, &key(number)).await {} }
        };
        (0..keys).map(client).collect()
    }

    /// How many requests were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Publishes the key's next entries. Whether that was acknowledged.
    async fn publish(&self, client: &Client, url: &str, key: &str) -> bool {
        let first = {
            let mut known = self.known.lock().expect("no panic before");
            let sent = known.sent.entry(key.to_owned()).or_default();
            *sent += BATCH;
            *sent - BATCH
        };
        let numbers = first..first + BATCH;
        let by = if key.len() % 2 == 0 { "sql" } else { "kv" };
        let entry = |number: u64| {
            let fail = u64::from(fastrand::u8(..16) == 0);
            json!({ "key": key, "number": number, "by": by, "fail": fail, "then": "next" })
        };
        let entries = Value::Array(numbers.clone().map(entry).collect());
        match client.try_request(Method::POST, url, entries.to_string()).await {
            Ok(Reply { status, .. }) if status == 200 => {
                let mut known = self.known.lock().expect("no panic before");
                known.acknowledged.entry(key.to_owned()).or_default().extend(numbers);
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                true
            }
            // It may be there or not.
            _ => false,
        }
    }

    /// Asserts that both ledgers have every acknowledged entry, none twice, and
    /// each key's in their order.
    pub fn check(&self, stores: &Stores) {
        let known = self.known.lock().expect("no panic before");
        for service in ["ledger", "audit"] {
            assert_eq!(stores.dead(service), 0, "dead letters of {service}");
            assert_exactly_once(&stores.logs(service), &known.acknowledged, &known.sent);
        }
        assert_eq!(stores.logs("ledger"), stores.logs("audit"), "all that was passed on");
    }

    pub fn summary(&self) -> String {
        let known = self.known.lock().expect("no panic before");
        let sent: u64 = known.sent.values().sum();
        let acknowledged: usize = known.acknowledged.values().map(BTreeSet::len).sum();
        format!("{acknowledged} acknowledged of {sent} sent")
    }
}

/// Keys of even and of odd length.
fn key(number: usize) -> String {
    format!("{}{number}", if number % 2 == 0 { "key" } else { "keys" })
}
