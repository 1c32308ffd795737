//! Clients that publish until their host is gone, and what they know then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::stores::{Stores, assert_exactly_once};
use crate::harness::host::Builder;
use crate::harness::{Client, Host, component};

/// Where entries are published.
const PUBLISH: &str = "/teller/publish";

/// Entries that one request publishes.
const BATCH: u64 = 3;

/// Clients of a chain of ledgers: `teller` publishes, `ledger` logs and passes on,
/// `audit` logs what was passed on. Half of the keys are logged by SQL.
#[derive(Clone, Default)]
pub struct Ledgers {
    known: Arc<Mutex<Known>>,
    acknowledged: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

/// Numbers by key.
pub type Acknowledged = BTreeMap<String, BTreeSet<u64>>;

/// By key.
#[derive(Default)]
struct Known {
    /// How many were sent, so the next number.
    sent: BTreeMap<String, u64>,
    acknowledged: Acknowledged,
    /// Those that are to become dead letters.
    rejected: Acknowledged,
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
    /// One client for each of so many keys, each until it is not acknowledged or told
    /// to end.
    pub fn start(&self, host: &Host, keys: usize) -> JoinSet<()> {
        self.ended.store(false, Ordering::Relaxed);
        let client = |number: usize| {
            let (ledgers, client, url) = (self.clone(), host.client.clone(), host.url(PUBLISH));
            async move {
                let goes_on = || !ledgers.ended.load(Ordering::Relaxed);
                while goes_on()
                    && ledgers.publish(&client, &url, &key(number)).await == Some(StatusCode::OK)
                {
                }
            }
        };
        (0..keys).map(client).collect()
    }

    /// Has the clients end, each with its request's answer.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// How many requests were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Publishes something under a key that no client has. The answer's status, if
    /// there is one.
    pub async fn publish_one(&self, host: &Host) -> Option<StatusCode> {
        self.publish(&host.client, &host.url(PUBLISH), "alone").await
    }

    /// Publishes the key's next entries.
    async fn publish(&self, client: &Client, url: &str, key: &str) -> Option<StatusCode> {
        let first = {
            let mut known = self.known.lock().expect("no panic before");
            let sent = known.sent.entry(key.to_owned()).or_default();
            *sent += BATCH;
            *sent - BATCH
        };
        let numbers = first..first + BATCH;
        let by = if key.len().is_multiple_of(2) { "sql" } else { "kv" };
        let rejected: BTreeSet<u64> = numbers.clone().filter(|_| fastrand::u8(..32) == 0).collect();
        let entry = |number: u64| {
            let fail = u64::from(fastrand::u8(..16) == 0);
            let reject = rejected.contains(&number);
            json!({
                "key": key, "number": number, "by": by,
                "fail": fail, "reject": reject, "then": "next",
            })
        };
        let entries = Value::Array(numbers.clone().map(entry).collect());
        {
            // It may be there also where there is no answer.
            let mut known = self.known.lock().expect("no panic before");
            known.rejected.entry(key.to_owned()).or_default().extend(rejected);
        }
        // Where it is not acknowledged it may be there or not.
        let reply = client.try_request(Method::POST, url, entries.to_string()).await.ok()?;
        if reply.status == StatusCode::OK {
            let mut known = self.known.lock().expect("no panic before");
            known.acknowledged.entry(key.to_owned()).or_default().extend(numbers);
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        Some(reply.status)
    }

    /// Asserts that both ledgers have every acknowledged entry, none twice, and
    /// each key's in their order; but for those that are dead letters, and have
    /// to be.
    pub fn check(&self, stores: &Stores) {
        let known = self.known.lock().expect("no panic before");
        let (mut to_die, mut to_live) = (Acknowledged::new(), Acknowledged::new());
        for (key, numbers) in &known.acknowledged {
            let rejected = known.rejected.get(key).cloned().unwrap_or_default();
            to_die.insert(key.clone(), numbers & &rejected);
            to_live.insert(key.clone(), numbers - &rejected);
        }
        let (logs, dead) = (stores.logs("ledger"), stores.dead("ledger"));
        assert_exactly_once(&logs, &to_live, &known.sent);
        assert_exactly_once(&dead, &to_die, &known.sent);
        for (key, numbers) in &dead {
            let rejected = |number: &u64| known.rejected[key].contains(number);
            assert!(numbers.iter().all(rejected), "{key}: {numbers:?} are dead letters");
        }
        assert_eq!(logs, stores.logs("audit"), "all that was passed on");
        assert!(stores.dead("audit").is_empty(), "{:?}", stores.dead("audit"));
    }

    /// How many acknowledged entries are neither in the ledger nor dead letters.
    pub fn lost(&self, stores: &Stores) -> usize {
        let known = self.known.lock().expect("no panic before");
        let there = [stores.logs("ledger"), stores.dead("ledger")];
        let lost = |(key, numbers): (&String, &BTreeSet<u64>)| {
            let has = |number: &&u64| {
                there.iter().filter_map(|logs| logs.get(key)).any(|log| log.contains(number))
            };
            numbers.iter().filter(|number| !has(number)).count()
        };
        known.acknowledged.iter().map(lost).sum()
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
    format!("{}{number}", if number.is_multiple_of(2) { "key" } else { "keys" })
}
