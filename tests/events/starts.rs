//! Where a subscription begins that is new, and whose its events are while versions
//! share the traffic.

use http::Method;
use serde_json::{Value, json};

use super::load::WithLedgers as _;
use super::stores::Stores;
use crate::deploy::operator::{ask, deploy};
use crate::harness::{Host, component, eventually, marked};

#[tokio::test]
async fn a_new_subscription_begins_where_its_manifest_says() {
    let host = Host::builder().ledgers().start().await;
    publish(&host, 0..3).await;
    // On the bus once somebody has it.
    until_logged(&host, "ledger", &[0, 1, 2]).await;
    let (wasm, manifest) = component("ledger");
    let beginning = manifest.expect("its manifest");
    let now = beginning.replace("\"beginning\"", "\"now\"");
    for (service, manifest) in [("late", &now), ("early", &beginning)] {
        host.drop_file(&format!("{service}.toml"), manifest);
        host.drop_file(&format!("{service}.wasm"), &wasm);
        host.until_version(service, 1).await;
    }
    publish(&host, 3..5).await;
    until_logged(&host, "early", &[0, 1, 2, 3, 4]).await;
    until_logged(&host, "late", &[3, 4]).await;

    // Where it has begun it stays, whatever a later version says.
    host.drop_file("late.toml", &beginning);
    host.until_version("late", 2).await;
    publish(&host, 5..6).await;
    until_logged(&host, "late", &[3, 4, 5]).await;
}

#[tokio::test]
async fn events_go_to_a_version_that_subscribes_while_two_share_the_traffic() {
    let host = Host::builder().ledgers().start().await;
    let (_, manifest) = component("ledger");
    let next = manifest.expect("its manifest").replace("entry.first", "entry.next");
    deploy(&host, "ledger?canary=false", &marked("ledger", 2), &next, "serving").await;
    let plan = json!({"versions": [{"version": 1, "weight": 50}, {"version": 2, "weight": 50}]});
    let set = ask(&host, Method::PUT, "/v1/services/ledger/traffic", plan).await;
    assert_eq!(set.status, 200, "{set:?}");
    // The one version has what is published, the other what it passes on.
    let keys = || (0..20).map(|key| key.to_string());
    let entries = keys().map(|key| json!({ "key": key, "number": 0, "then": "next" }));
    let body = Value::Array(entries.collect()).to_string();
    assert_eq!(host.post("/teller/publish", body).await.status, 200);
    eventually("each is handled by both", async || {
        let logs = Stores::at(&host.data()).logs("ledger");
        keys().all(|key| logs.get(&key).is_some_and(|log| log.len() == 2)).then_some(())
    })
    .await;
    assert!(Stores::at(&host.data()).dead("ledger").is_empty());
}

async fn publish(host: &Host, numbers: std::ops::Range<u64>) {
    let entries: Vec<Value> =
        numbers.map(|number| json!({ "key": "a", "number": number })).collect();
    let reply = host.post("/teller/publish", Value::Array(entries).to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Waits until a ledger has as many, which have to be these.
async fn until_logged(host: &Host, service: &str, numbers: &[u64]) {
    let log = || Stores::at(&host.data()).logs(service).remove("a").unwrap_or_default();
    eventually(&format!("{service} has {numbers:?}"), async || {
        (log().len() >= numbers.len()).then_some(())
    })
    .await;
    assert_eq!(log(), numbers, "{service}");
}
