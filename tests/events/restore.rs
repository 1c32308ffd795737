//! Files of the data folder that are taken away, or brought back from a copy.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::load::WithLedgers as _;
use super::stores::{Stores, all, one};
use crate::harness::host::Builder;
use crate::harness::{Host, component, eventually};

const KEYS: [&str; 3] = ["ann", "bob", "cid"];

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_deleted_begins_anew_and_the_bus_gives_it_all() {
    let mut host = Host::builder().ledgers().start().await;
    publish(&host, 0..30).await;
    until_written(&host, &["ledger", "audit"], 30).await;
    assert!(host.stop().await.success());
    for service in ["teller", "audit"] {
        delete(&store(&host, service));
    }
    host.start().await;
    let lost = "its store, stores/audit.db, is gone";
    assert!(host.log().contains(lost), "{}", host.log());
    publish(&host, 30..60).await;
    until_written(&host, &["ledger", "audit"], 60).await;
    assert_eq!(Stores::at(&host.data()).unfinished(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_no_service_is_known_of_are_told_at_the_start() {
    let mut host = Host::builder().ledgers().start().await;
    publish(&host, 0..3).await;
    until_written(&host, &["ledger"], 3).await;
    let told = "host.db knows no version of any service";
    assert!(host.stop().await.success());
    assert!(!host.log().contains(told), "{}", host.log());
    delete(&host.data().join("host.db"));
    host.start().await;
    assert!(host.log().contains(told), "{}", host.log());
    // They are deployed anew from their files, and have their stores.
    publish(&host, 3..6).await;
    until_written(&host, &["ledger"], 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_from_a_copy_publishes_on_and_gets_what_it_lacks() {
    let mut host = Host::builder().ledgers().start().await;
    publish(&host, 0..20).await;
    until_written(&host, &["ledger", "audit"], 20).await;
    assert!(host.stop().await.success());
    let copies: Vec<(PathBuf, Vec<u8>)> = ["teller", "audit"]
        .map(|service| store(&host, service))
        .map(|path| (path.clone(), std::fs::read(path).expect("a store")))
        .into();
    host.start().await;
    publish(&host, 20..40).await;
    until_written(&host, &["ledger", "audit"], 40).await;
    assert!(host.stop().await.success());
    for (path, copy) in copies {
        delete(&path);
        std::fs::write(path, copy).expect("a store");
    }
    host.start().await;
    publish(&host, 40..60).await;
    until_written(&host, &["ledger", "audit"], 60).await;
    assert_eq!(Stores::at(&host.data()).unfinished(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_bus_goes_on_where_the_deleted_one_ended() {
    let mut host = with_patient(Host::builder().ledgers()).start().await;
    publish_for(&host, 0..20, None).await;
    send(&host, &late(0)).await;
    until_written(&host, &["ledger", "patient"], 20).await;
    eventually("it is held", async || (held(&host).len() == 1).then_some(())).await;
    assert!(host.stop().await.success());
    delete(&host.data().join("bus.db"));
    host.start().await;
    assert!(host.log().contains("bus.db was lost or is an older copy"), "{}", host.log());
    publish_for(&host, 20..60, None).await;
    until_late_is_held_again(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_bus_goes_on_after_what_the_stores_know() {
    let mut host = with_patient(Host::builder().ledgers()).start().await;
    let bus = host.data().join("bus.db");
    publish_for(&host, 0..20, None).await;
    until_written(&host, &["ledger", "patient"], 20).await;
    assert!(host.stop().await.success());
    let copy = std::fs::read(&bus).expect("a bus");
    host.start().await;
    publish_for(&host, 20..40, None).await;
    send(&host, &late(0)).await;
    until_written(&host, &["ledger", "patient"], 40).await;
    eventually("it is held", async || (held(&host).len() == 1).then_some(())).await;
    assert!(host.stop().await.success());
    let last: u64 = one(&Stores::at(&host.data()).bus(), "SELECT max(position) FROM event");
    delete(&bus);
    std::fs::write(&bus, copy).expect("a bus");
    host.start().await;
    assert!(host.log().contains("bus.db was lost or is an older copy"), "{}", host.log());
    publish_for(&host, 40..60, None).await;
    until_late_is_held_again(&host).await;

    let bus = Stores::at(&host.data()).bus();
    let positions: Vec<u64> = all(&bus, "SELECT position FROM event ORDER BY position", |row| {
        row.get(0).expect("a position")
    });
    let (old, new): (Vec<u64>, Vec<u64>) = positions.into_iter().partition(|at| *at <= last);
    assert_eq!((old.len(), new.len()), (60, 61), "none was published again");
    assert!(new.iter().zip(last + 1..).all(|(at, next)| *at == next), "{new:?} after {last}");
    host.until_metric("hotdock_bus_events", 121).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_comes_after_an_older_copy_gets_all_that_is_there() {
    let mut host = Host::builder().ledgers().start().await;
    let bus = host.data().join("bus.db");
    publish_for(&host, 0..10, None).await;
    until_written(&host, &["ledger"], 10).await;
    assert!(host.stop().await.success());
    let copy = std::fs::read(&bus).expect("a bus");
    host.start().await;
    publish_for(&host, 10..20, None).await;
    until_written(&host, &["ledger"], 20).await;
    assert!(host.stop().await.success());
    delete(&bus);
    std::fs::write(&bus, copy).expect("a bus");
    host.start().await;
    // A new subscriber reads over what the copy lacks, up to its end.
    let (wasm, manifest) = component("ledger");
    host.drop_file("late.toml", manifest.expect("its manifest"));
    host.drop_file("late.wasm", wasm);
    host.until_version("late", 1).await;
    until_written(&host, &["late"], 10).await;
    publish_for(&host, 20..30, None).await;
    until_written(&host, &["ledger"], 30).await;
    eventually("it has what is new, too", async || {
        let logs = Stores::at(&host.data()).logs("late");
        let expected: Vec<u64> = (0..10).chain(20..30).collect();
        KEYS.iter().all(|key| logs.get(*key) == Some(&expected)).then_some(())
    })
    .await;
}

/// An event that fails at its first handler, and whose key therefore waits.
fn late(number: u64) -> Value {
    json!([{ "key": "late", "number": number, "fail": 1 }])
}

/// The positions that the patient ledger holds.
fn held(host: &Host) -> Vec<u64> {
    let held = "SELECT position FROM _held ORDER BY position";
    all(&Stores::at(&host.data()).store("patient"), held, |row| row.get(0).expect("a position"))
}

/// After one late event is held: has another one follow it, behind all others.
async fn until_late_is_held_again(host: &Host) {
    send(host, &late(1)).await;
    until_written(host, &["ledger", "patient"], 60).await;
    eventually("the next of its key is held, too", async || (held(host).len() == 2).then_some(()))
        .await;
    eventually("who tries again soon has both", async || {
        let logs = Stores::at(&host.data()).logs("ledger");
        (logs.get("late").is_some_and(|late| *late == [0, 1])).then_some(())
    })
    .await;
}

/// One more ledger, that waits long before it tries again.
fn with_patient(builder: Builder) -> Builder {
    let (wasm, manifest) = component("ledger");
    let manifest = manifest.expect("its manifest").replace("5ms", "1h").replace("20ms", "1h");
    builder.file("patient.wasm", wasm).file("patient.toml", manifest)
}

async fn publish(host: &Host, numbers: Range<u64>) {
    publish_for(host, numbers, Some("next")).await;
}

async fn publish_for(host: &Host, numbers: Range<u64>, then: Option<&str>) {
    for number in numbers {
        let entry = |key| json!({ "key": key, "number": number, "then": then });
        send(host, &Value::Array(KEYS.map(entry).into())).await;
    }
}

async fn send(host: &Host, entries: &Value) {
    assert_eq!(host.post("/teller/publish", entries.to_string()).await.status, 200);
}

/// Waits until these ledgers have so many of each key's; each once, in their order.
async fn until_written(host: &Host, services: &[&str], count: u64) {
    let expected: Vec<u64> = (0..count).collect();
    for service in services {
        eventually(&format!("{service} has {count} of each key's"), async || {
            let logs = Stores::at(&host.data()).logs(service);
            let has = |key: &&str| logs.get(*key).map_or(0, Vec::len) as u64 >= count;
            KEYS.iter().all(has).then_some(())
        })
        .await;
        let logs = Stores::at(&host.data()).logs(service);
        for key in KEYS {
            assert_eq!(logs[key], expected, "{service}: {key}");
        }
    }
}

fn store(host: &Host, service: &str) -> PathBuf {
    host.data().join("stores").join(format!("{service}.db"))
}

/// Deletes a database, with its log.
fn delete(path: &Path) {
    std::fs::remove_file(path).expect("a file");
    for end in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(end);
        // It is there where somebody had the file open to the end.
        _ = std::fs::remove_file(beside);
    }
}
