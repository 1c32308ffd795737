//! Publishes entries, and writes those that it is sent into a log by key.
//!
//! Under any name: tests deploy it as several services, each the next one's source.
//!
//! ```text
//! GET  <route>            its version
//! POST <route>/publish    publishes the body's entries [{"key", "number", …}], all or none
//! ```
//!
//! An entry is an event `entry.<stage>` under its key; by default `entry.first`. It is handled as its
//! data says:
//!
//! ```text
//! {"by": "sql"}     as a row of `entries` (by default)
//! {"by": "kv"}      at the end of the key's value in bucket `logs`
//! {"fail": 2}       asks for another attempt, so many times, after it has written
//! {"trap": true}    always traps, after it has written
//! {"reject": true}  is rejected, after it has written
//! {"then": "next"}  publishes the entry again as `entry.next`, without what comes after this
//! ```

use hotdock_sdk::events::{self, Delivery, Failure, NewEvent};
use hotdock_sdk::http::{Request, Response, json};
use hotdock_sdk::kv::Bucket;
use hotdock_sdk::problem::Problem;
use hotdock_sdk::{params, sql};
use serde::{Deserialize, Serialize};

/// Tests patch it to make another version, so its bytes occur exactly once.
#[used]
static VERSION: [u8; 16] = *b"VERSION-00000001";

#[derive(Deserialize, Serialize)]
struct Entry {
    key: String,
    number: u64,
    #[serde(default)]
    by: By,
    #[serde(default)]
    fail: u32,
    #[serde(default)]
    trap: bool,
    #[serde(default)]
    reject: bool,
    then: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    Sql,
    Kv,
}

hotdock_sdk::event_handler!(handle);
hotdock_sdk::http_handler! {
    "/{service}" => { GET: || json(&version()) },
    "/{service}/publish" => { POST: publish },
}

fn publish(request: &Request) -> Result<Response, Problem> {
    let entries: Vec<Entry> = request.json()?;
    let events: Result<Vec<_>, _> = entries.iter().map(|entry| event("first", entry)).collect();
    json(&events::publish_all(&events?)?)
}

fn version() -> String {
    // SAFETY: a reference to an initialized static is valid to read from.
    let bytes = unsafe { std::ptr::read_volatile(&raw const VERSION) };
    String::from_utf8_lossy(&bytes).into_owned()
}

fn event(stage: &str, entry: &Entry) -> Result<NewEvent, events::Error> {
    NewEvent::of(format!("entry.{stage}")).key(&entry.key).json(entry)
}

fn handle(delivery: &Delivery) -> Result<(), Failure> {
    let entry: Entry = delivery.json()?;
    let Entry { key, number, .. } = &entry;
    match entry.by {
        By::Sql => {
            let row = params![key.clone(), i64::try_from(*number).expect("a small number")];
            sql::execute("INSERT INTO entries (key, number) VALUES (?1, ?2)", &row)?;
        }
        By::Kv => {
            let logs = Bucket::open("logs")?;
            let mut log = logs.get(key)?.unwrap_or_default();
            log.extend(format!("{number} ").bytes());
            logs.set(key, &log)?;
        }
    }
    if let Some(stage) = &entry.then {
        let next = Entry { key: key.clone(), then: None, fail: 0, trap: false, ..entry };
        events::publish(&event(stage, &next)?)?;
    }
    assert!(!entry.trap, "this entry always traps");
    if entry.reject {
        return Err(Failure::Reject("as the entry says".to_owned()));
    }
    if delivery.attempt <= entry.fail {
        return Err(Failure::Retry(format!("attempt {} fails", delivery.attempt)));
    }
    Ok(())
}
