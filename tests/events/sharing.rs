//! Deliveries while two versions share a service's traffic.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{consumer, event, publish, value};
use crate::deploy::operator::{ask, deploy};
use crate::harness::{Host, component, eventually};

const KEYS: usize = 60;

/// The consumer as another version: what it counts is in bucket `kounts`.
fn newer() -> (Vec<u8>, String) {
    changed("counts", "kounts")
}

/// The consumer with another text of the same length where this one is.
fn changed(text: &str, other: &str) -> (Vec<u8>, String) {
    let (mut bytes, manifest) = component("consumer");
    let places: Vec<usize> = (0..bytes.len() - text.len())
        .filter(|&at| bytes[at..].starts_with(text.as_bytes()))
        .collect();
    assert_eq!(places.len(), 1, "{text} is there once");
    bytes[places[0]..places[0] + text.len()].copy_from_slice(other.as_bytes());
    (bytes, manifest.expect("the consumer has one"))
}

/// Deploys the version with this canary and has events come, no requests, until its
/// deployment has the state.
async fn tried_by_events(version: (Vec<u8>, String), canary: &str, state: &str) -> Value {
    let host = consumer("").await;
    let (bytes, manifest) = version;
    let manifest = format!("[deploy]\ncanary = {canary}\n{manifest}");
    let running = deploy(&host, "consumer", &bytes, &manifest, "running").await;
    let path = format!("/v1/deployments/{}", running["id"].as_str().expect("an id"));
    let (batch, url) = ("application/cloudevents-batch+json", host.admin_url("/events"));
    let mut events = 0..;
    eventually(&format!("it is {state}"), async || {
        let event = |id: u32| {
            let data = json!([{"do": "sql", "text": "tea"}]);
            json!({"specversion": "1.0", "id": id.to_string(), "source": "/tests",
                   "type": "test.steps", "partitionkey": id.to_string(), "data": data})
        };
        let body = Value::Array(events.by_ref().take(20).map(event).collect()).to_string();
        let request = Request::post(&url).header("content-type", batch);
        let taken = host.send(request.body(Full::new(Bytes::from(body))).expect("a request")).await;
        assert_eq!(taken.status, 202, "{taken:?}");
        let now = ask(&host, Method::GET, &path, Value::Null).await.json();
        let is_over = now["ended_at"].is_string();
        assert!(!is_over || now["state"] == state, "{now}");
        is_over.then_some(now)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_handles_events_only_takes_them_over_step_by_step() {
    let canary = "{ steps = [\"20%\", \"100%\"], pause = \"100ms\", slower = 1000.0 }";
    let done = tried_by_events(newer(), canary, "serving").await;
    let steps = done["steps"].as_array().expect("steps");
    let weights: Vec<u64> = steps.iter().filter_map(|step| step["weight"].as_u64()).collect();
    assert_eq!(weights, [20, 100], "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_at_events_is_rolled_back() {
    let canary = "{ steps = [\"20%\", \"100%\"], pause = \"1h\" }";
    let bad = changed("INSERT INTO effects", "INSERT INTO effectz");
    let ended = tried_by_events(bad, canary, "rolled-back").await;
    let reason = ended["reasons"][0].as_str().expect("a reason");
    assert!(reason.contains("% of its events failed"), "{reason}");
}

/// Deploys the version and has for one event 20 requests come, or for one request 20 events,
/// until it is rolled back; the reason.
async fn tried_by_both(version: (Vec<u8>, String), mostly_requests: bool) -> String {
    let host = consumer("").await;
    // Over as soon as it is clear; a busy machine has few requests in a second.
    let canary = "{ steps = [\"50%\", \"100%\"], pause = \"30s\", slower = 1000.0 }";
    let (bytes, manifest) = version;
    let manifest = format!("[deploy]\ncanary = {canary}\n{manifest}");
    let running = deploy(&host, "consumer", &bytes, &manifest, "running").await;
    host.until_shared("consumer").await;
    let path = format!("/v1/deployments/{}", running["id"].as_str().expect("an id"));
    let mut events = 0..;
    let (requests, at_once) = if mostly_requests { (20, 1) } else { (1, 20) };
    let ended = eventually("it is rolled back", async || {
        let event = |id: u32| event(&id.to_string(), json!([{"do": "sql", "text": "tea"}]));
        publish(&host, events.by_ref().take(at_once).map(event).collect()).await;
        for _ in 0..requests {
            host.get("/consumer/effects").await;
        }
        let now = ask(&host, Method::GET, &path, Value::Null).await.json();
        let is_over = now["ended_at"].is_string();
        assert!(!is_over || now["state"] == "rolled-back", "{now}");
        is_over.then_some(now)
    });
    ended.await["reasons"][0].as_str().expect("a reason").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_at_events_is_rolled_back_however_many_requests_go_well() {
    let bad = changed("INSERT INTO effects", "INSERT INTO effectz");
    let reason = tried_by_both(bad, true).await;
    assert!(reason.contains("% of its events failed"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_at_requests_is_rolled_back_however_many_events_go_well() {
    let bad = changed("text FROM effects", "text FROM effectz");
    let reason = tried_by_both(bad, false).await;
    assert!(reason.contains("% of its requests failed"), "{reason}");
}

async fn count(host: &Host, bucket: &str, key: &str) -> u64 {
    value(host, bucket, key).await.map_or(0, |count| count.parse().expect("a number"))
}

/// Publishes an event for each key and waits for its effect. Returns the keys whose
/// event the newer version handled.
async fn handled_by_the_newer(host: &Host, keys: &[String]) -> BTreeSet<String> {
    let mut before = Vec::new();
    for key in keys {
        before.push((count(host, "counts", key).await, count(host, "kounts", key).await));
    }
    let events = keys.iter().map(|key| event(key, json!([{"do": "count", "key": key}])));
    publish(host, Value::Array(events.collect())).await;
    let mut newer = BTreeSet::new();
    for (key, (old, new)) in keys.iter().zip(before) {
        let is_new = eventually("its event is handled", async || {
            let now = (count(host, "counts", key).await, count(host, "kounts", key).await);
            (now != (old, new)).then_some(now == (old, new + 1))
        })
        .await;
        newer.extend(is_new.then(|| key.clone()));
    }
    newer
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_shared_as_the_weights_say_and_a_key_never_goes_back() {
    let host = consumer("").await;
    let (bytes, manifest) = newer();
    deploy(&host, "consumer?canary=1", &bytes, &manifest, "running").await;
    host.until_shared("consumer").await;
    let keys: Vec<String> = (0..KEYS).map(|key| format!("k{key}")).collect();
    let mut before = BTreeSet::new();
    for weight in [20, 50, 80, 100] {
        let plan = json!({"versions": [
            {"version": 1, "weight": 100 - weight}, {"version": 2, "weight": weight}
        ]});
        let set = ask(&host, Method::PUT, "/v1/services/consumer/traffic", plan).await;
        assert_eq!(set.status, 200, "{set:?}");
        let newer = handled_by_the_newer(&host, &keys).await;
        assert_eq!(handled_by_the_newer(&host, &keys).await, newer, "a key stays at {weight} %");
        assert!(newer.is_superset(&before), "at {weight} % {before:?} became {newer:?}");
        eprintln!("{weight} %: {} of {KEYS} keys", newer.len());
        // Four standard deviations of a half of sixty.
        let expected = KEYS as f64 * f64::from(weight) / 100.0;
        assert!((newer.len() as f64 - expected).abs() <= 16.0, "{weight} %: {newer:?}");
        before = newer;
    }
    assert_eq!(before.len(), KEYS);
}
