//! A subscription whose events the bus has let go of.

use serde_json::{Value, json};

use super::{SUBSCRIPTION, get, post, state_series, until};
use crate::events::{event, publish, until_value};
use crate::harness::{Host, component};

#[tokio::test]
async fn what_the_operators_bound_took_from_a_subscription_is_a_gap_and_counted() {
    // One held event is all that it may have: it reads no further.
    let manifest = "[[subscribe]]\ntype = \"test.>\"\nfrom = \"beginning\"\nattempts = 1\n\
        held = 1\nwhen-failed = \"park\"\n";
    let (bytes, _) = component("consumer");
    let host = Host::builder()
        .file("consumer.wasm", bytes)
        .file("consumer.toml", manifest)
        .settings("[events]\nretain = \"1s\"\nretain-at-most = \"1s\"\n")
        .start()
        .await;
    publish(&host, json!([event("a", json!([{"do": "fail", "times": 1}]))])).await;
    until(&host, SUBSCRIPTION, "state", json!("full")).await;
    let count = json!([{"do": "count", "key": "c"}]);
    let unread: Vec<Value> = (0..5).map(|key| event(&format!("k{key}"), count.clone())).collect();
    publish(&host, Value::Array(unread)).await;
    until(&host, SUBSCRIPTION, "lag", json!(5)).await;
    until(&host, SUBSCRIPTION, "state", json!("gap")).await;
    let status = get(&host, SUBSCRIPTION).await.json();
    assert_eq!((&status["held"], &status["missed"]), (&json!(1), &json!(0)), "{status}");
    host.until_metric(&state_series("test.>", "gap"), 1).await;
    host.until_metric(&state_series("test.>", "full"), 0).await;

    // It reads on where the bus does.
    post(&host, &format!("{SUBSCRIPTION}/skip"), json!({"position": 1})).await;
    until(&host, SUBSCRIPTION, "missed", json!(5)).await;
    host.until_logged("the bus no longer has these events").await;
    publish(&host, json!([event("b", count)])).await;
    until_value(&host, "counts", "c", "1").await;
    until(&host, SUBSCRIPTION, "state", json!("running")).await;
}
