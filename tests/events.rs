//! Events: what handlers see of them, and what stays of what they do; and through
//! the whole host: none is lost, none has its effect twice, a key's are in order,
//! whatever fails when.

mod checkout;
mod clock;
mod crash;
mod failpoints;
mod faults;
mod full;
mod handlers;
mod load;
mod operate;
mod order;
mod poison;
mod power;
mod publisher;
mod refusals;
mod restore;
mod schedules;
mod sharing;
mod shop;
mod sources;
mod starts;
mod stores;
mod undone;
mod webhooks;

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::harness::{Host, eventually};

/// A host with the consumer, which has this in its manifest, too.
async fn consumer(manifest: &str) -> Host {
    Host::builder().plugin_with("consumer", manifest).start().await
}

/// An event for the consumer, with what it is to do.
#[expect(clippy::needless_pass_by_value, reason = "as `json!` makes it")]
fn event(key: &str, steps: Value) -> Value {
    json!({"type": "test.steps", "key": key, "data": steps})
}

/// Has the consumer publish events. Returns their ids.
async fn publish(host: &Host, events: Value) -> Vec<String> {
    let reply = host.post("/consumer/publish", events.to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    serde_json::from_value(reply.json()).expect("ids")
}

/// What the consumer has under a key.
async fn value(host: &Host, bucket: &str, key: &str) -> Option<String> {
    let reply = host.get(&format!("/consumer/value?bucket={bucket}&key={key}")).await;
    assert!(matches!(reply.status.as_u16(), 200 | 404), "{reply:?}");
    (reply.status == 200).then(|| reply.text())
}

async fn until_value(host: &Host, bucket: &str, key: &str, expected: &str) {
    eventually(&format!("{bucket}/{key} is {expected}"), async || {
        (value(host, bucket, key).await.as_deref() == Some(expected)).then_some(())
    })
    .await;
}

/// Waits until everything that was published under this key is done with.
async fn until_done(host: &Host, key: &str) {
    static MARKS: AtomicUsize = AtomicUsize::new(0);
    let mark = format!("done-{}", MARKS.fetch_add(1, Ordering::Relaxed));
    publish(host, json!([event(key, json!([{"do": "count", "key": mark}]))])).await;
    until_value(host, "counts", &mark, "1").await;
}

/// How often: in the suite, and in `make soak`.
fn soak(suite: usize, soak: usize) -> usize {
    if std::env::var_os("HOTDOCK_SOAK").is_some() { soak } else { suite }
}
