//! Clients that publish until their host is gone, and what they know then.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::stores::{Stores, assert_exactly_once};
use crate::harness::host::Builder;
use crate::harness::{Client, Host, component};

/// Where a service publishes entries.
const PUBLISH: &str = "/teller/publish";

/// Where they come in as events.
const EVENTS: &str = "/events";

/// What the keys of those begin with that come in as events.
const POSTED: &str = "posted";

/// Entries that one request publishes.
const BATCH: u64 = 3;

/// Clients of a chain of ledgers: `teller` publishes, `ledger` logs and passes on,
/// `audit` logs what was passed on. Some keys' entries are not published by `teller` but
/// come in from outside, again and again until they are acknowledged. Some are logged by
/// SQL.
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
    /// Those that came in from outside and were not acknowledged, with their events.
    unanswered: BTreeMap<String, Batch>,
}

/// Entries that are sent together.
#[derive(Clone)]
struct Batch {
    numbers: Range<u64>,
    body: String,
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
            let (ledgers, target) = (self.clone(), Target::of(host));
            async move {
                let goes_on = || !ledgers.ended.load(Ordering::Relaxed);
                while goes_on() && ledgers.publish(&target, &key(number)).await.is_some_and(took) {}
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
        self.publish(&Target::of(host), "alone").await
    }

    /// The same from outside.
    pub async fn post_one(&self, host: &Host) -> Option<StatusCode> {
        self.publish(&Target::of(host), "posted-alone").await
    }

    /// Publishes the key's next entries.
    async fn publish(&self, target: &Target, key: &str) -> Option<StatusCode> {
        let Batch { numbers, body } = self.batch(key);
        // Where it is not acknowledged it may be there or not.
        let status = target.send(key, body).await?;
        if took(status) {
            let mut known = self.known.lock().expect("no panic before");
            known.acknowledged.entry(key.to_owned()).or_default().extend(numbers);
            known.unanswered.remove(key);
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        Some(status)
    }

    /// The key's next entries, or those that may have come in already.
    fn batch(&self, key: &str) -> Batch {
        let mut known = self.known.lock().expect("no panic before");
        if let Some(batch) = known.unanswered.get(key) {
            return batch.clone();
        }
        let sent = known.sent.entry(key.to_owned()).or_default();
        *sent += BATCH;
        let numbers = *sent - BATCH..*sent;
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
        let event = |number: u64| {
            json!({
                "specversion": "1.0", "source": "/load", "id": format!("{key}-{number}"),
                "type": "entry.first", "partitionkey": key, "data": entry(number),
            })
        };
        let posted = key.starts_with(POSTED);
        let body = if posted {
            numbers.clone().map(event).collect::<Value>()
        } else {
            numbers.clone().map(entry).collect()
        };
        let batch = Batch { numbers, body: body.to_string() };
        // They may be there also where there is no answer.
        known.rejected.entry(key.to_owned()).or_default().extend(rejected);
        if posted {
            known.unanswered.insert(key.to_owned(), batch.clone());
        }
        batch
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
        // First: one that died for something else is lost to the log.
        for (key, numbers) in &dead {
            let rejected = |number: &u64| known.rejected[key].contains(number);
            let reasons = stores.reasons("ledger");
            assert!(
                numbers.iter().all(rejected),
                "{key}: {numbers:?} are dead letters: {reasons:?}"
            );
        }
        assert_exactly_once(&logs, &to_live, &known.sent);
        assert_exactly_once(&dead, &to_die, &known.sent);
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

/// Where entries are sent.
struct Target {
    client: Client,
    publish: String,
    events: String,
}

impl Target {
    fn of(host: &Host) -> Self {
        let (publish, events) = (host.url(PUBLISH), host.admin_url(EVENTS));
        Self { client: host.client.clone(), publish, events }
    }

    /// The answer's status, if there is an answer.
    async fn send(&self, key: &str, body: String) -> Option<StatusCode> {
        let url = if key.starts_with(POSTED) { &self.events } else { &self.publish };
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/cloudevents-batch+json")
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        Some(self.client.send(request).await.ok()?.status)
    }
}

fn took(status: StatusCode) -> bool {
    matches!(status, StatusCode::OK | StatusCode::ACCEPTED)
}

/// Keys of even and of odd length, and some whose entries come in from outside.
fn key(number: usize) -> String {
    format!("{}{number}", ["key", "keys", POSTED][number % 3])
}
