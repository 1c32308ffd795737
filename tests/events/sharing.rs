//! Deliveries while two versions share a service's traffic.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::{consumer, event, publish, value};
use crate::deploy::operator::{ask, deploy};
use crate::harness::{Host, component, eventually};

const KEYS: usize = 60;

/// The consumer as another version: what it counts is in bucket `kounts`.
fn newer() -> (Vec<u8>, String) {
    let (mut bytes, manifest) = component("consumer");
    let places: Vec<usize> =
        (0..bytes.len() - 6).filter(|&at| bytes[at..].starts_with(b"counts")).collect();
    assert_eq!(places.len(), 1, "the bucket's name is there once");
    bytes[places[0]] = b'k';
    (bytes, manifest.expect("the consumer has one"))
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
