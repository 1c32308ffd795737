//! An event that no handler survives.

use std::time::Instant;

use serde_json::json;

use super::stores::{Stores, all};
use crate::harness::{Host, component, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_event_becomes_a_dead_letter_and_delays_none_but_its_key() {
    // The same events for one that tries again at once and one that waits for an hour.
    let (wasm, manifest) = component("ledger");
    let manifest = manifest.expect("its manifest").replace("attempts = 20", "attempts = 3");
    let patient = manifest.replace("5ms", "1h").replace("20ms", "1h");
    let host = Host::builder()
        .file("teller.wasm", wasm.clone())
        .file("hasty.wasm", wasm.clone())
        .file("hasty.toml", manifest)
        .file("patient.wasm", wasm)
        .file("patient.toml", patient)
        .start()
        .await;
    let entry =
        |key: &str, number: u64, trap: bool| json!({ "key": key, "number": number, "trap": trap });
    let mut entries = vec![entry("ill", 0, true), entry("ill", 1, false)];
    for number in 0..20 {
        entries.extend(["ann", "bob", "cid"].map(|key| entry(key, number, false)));
    }
    entries.push(entry("ill", 2, false));
    let body = serde_json::Value::Array(entries).to_string();
    let began = Instant::now();
    assert_eq!(host.post("/teller/publish", body).await.status, 200);

    let stores = Stores::at(&host.data());
    for service in ["hasty", "patient"] {
        eventually(&format!("the neighbours are served by {service}"), async || {
            let logs = stores.logs(service);
            let numbers = |key| logs.get(key).cloned().unwrap_or_default();
            ["ann", "bob", "cid"]
                .iter()
                .all(|key| numbers(*key) == (0..20).collect::<Vec<_>>())
                .then_some(())
        })
        .await;
        eprintln!("the neighbours' 60 events were handled by {service} in {:?}", began.elapsed());
    }
    eventually("the patient one holds it, with what is behind it", async || {
        let held = "SELECT attempts FROM _held ORDER BY position";
        let attempts =
            all(&stores.store("patient"), held, |row| row.get::<_, u32>(0).expect("attempts"));
        (attempts == [1, 0, 0]).then_some(())
    })
    .await;
    assert_eq!(stores.logs("patient").get("ill"), None, "its key waits");
    eventually("the hasty one gives it up and goes on with its key", async || {
        (stores.logs("hasty").get("ill").is_some_and(|ill| *ill == [1, 2])).then_some(())
    })
    .await;
    let dead = all(&stores.store("hasty"), "SELECT key, attempts, reason FROM _dead", |row| {
        let text = |index| row.get::<_, String>(index).expect("a text");
        (text(0), row.get::<_, u32>(1).expect("attempts"), text(2))
    });
    assert_eq!(dead.len(), 1, "{dead:?}");
    let (key, attempts, reason) = &dead[0];
    assert_eq!((key.as_str(), *attempts), ("ill", 3));
    assert!(reason.contains("3 attempts failed"), "{reason}");
}
