//! What one source's events come to, and what that is to the others: nothing.

use std::time::Duration;

use bytes::Bytes;
use hotdock::config::{Config, EventsConfig};
use hotdock::state::StoreOptions;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{consumer, event, publish, until_value};
use crate::deploy::operator::ask;
use crate::harness::in_process::{Folders, InProcess};
use crate::harness::{Host, component, eventually};

/// Events from outside for the consumer, each with a key of its own.
fn from_outside(ids: std::ops::Range<usize>, steps: &Value) -> Value {
    let event = |id: usize| {
        json!({"specversion": "1.0", "id": id.to_string(), "source": "/tests",
               "type": "test.steps", "partitionkey": format!("outside-{id}"), "data": steps})
    };
    Value::Array(ids.map(event).collect())
}

async fn send(host: &Host, events: Value) {
    let request = Request::post(host.admin_url("/events"))
        .header("content-type", "application/cloudevents-batch+json")
        .body(Full::new(Bytes::from(events.to_string())))
        .expect("a request");
    let taken = host.send(request).await;
    assert_eq!(taken.status, 202, "{taken:?}");
}

async fn until(host: &Host, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let list = ask(host, Method::GET, "/v1/subscriptions", Value::Null).await.json();
        let all = list["subscriptions"].as_array()?;
        all.iter().find(|each| each["name"] == "consumer/test.>" && is_so(each)).cloned()
    })
    .await
}

/// Has the consumer publish an event for itself, and waits until it is handled.
async fn handled(host: &Host, key: &str) {
    publish(host, json!([event(key, json!([{"do": "count", "key": key}]))])).await;
    until_value(host, "counts", key, "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_source_that_all_fail_pause_no_others() {
    let host = consumer("").await;
    send(&host, from_outside(0..100, &json!([{"do": "retry", "reason": "ill"}]))).await;
    until(&host, "they are paused", |each| each["state"] == "paused").await;
    for number in 0..20 {
        handled(&host, &format!("well-{number}")).await;
    }
    let now = until(&host, "it has a status", |_| true).await;
    assert_eq!(now["state"], "paused", "the others' go on meanwhile");
    host.until_logged("\"source\":\"outside\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_events_all_fail_takes_a_part_of_what_may_wait() {
    let (wasm, manifest) = component("consumer");
    let few =
        manifest.expect("its manifest").replace("attempts = 3", "attempts = 1000\nheld = 200");
    let host = Host::builder().file("consumer.wasm", wasm).file("consumer.toml", few).start().await;
    handled(&host, "before").await;
    // More than are read ahead, and than may be held.
    for number in 0..6 {
        let ill = json!([{"do": "retry", "reason": "ill"}]);
        send(&host, from_outside(number * 500..(number + 1) * 500, &ill)).await;
    }
    until(&host, "they are paused", |each| each["state"] == "paused").await;
    handled(&host, "behind").await;
    // What of it may not wait is given up, and nothing else.
    let now = until(&host, "they are read", |each| each["dead"].as_u64() > Some(1_000)).await;
    assert!(now["held"].as_u64().expect("a number") <= 100, "{now}");
    let page = ask(&host, Method::GET, "/v1/dead-letters", Value::Null).await.json();
    let letters = page["dead_letters"].as_array().expect("letters");
    let is_theirs = |each: &Value| {
        let reason = each["reason"].as_str().expect("a reason");
        each["event"]["source"] == "/tests" && reason.contains("while others' are handled")
    };
    assert!(letters.iter().all(is_theirs), "{page}");
    handled(&host, "after").await;
}

#[tokio::test]
async fn a_service_that_fills_its_part_of_the_bus_leaves_the_rest_to_others() {
    let settings = "[events]\nmax-bytes = \"256KiB\"\n";
    let host = Host::builder().plugin("consumer").settings(settings).start().await;
    let unwanted = json!({"type": "other.large", "bytes": 10_000});
    for _ in 0..4 {
        publish(&host, Value::Array(vec![unwanted.clone(); 10])).await;
    }
    host.until_logged("max-bytes-per-source").await;
    let log = host.log();
    let line = log.lines().find(|line| line.contains("max-bytes-per-source")).expect("a line");
    assert!(line.contains("service consumer has") && line.contains("may have 131072"), "{line}");
    send(&host, from_outside(0..1, &json!([{"do": "count", "key": "outside"}]))).await;
    until_value(&host, "counts", "outside", "1").await;
    let metrics = host.metrics().await;
    let of = |name: &str| {
        let series = format!("hotdock_bus_publisher_{name}{{publisher=\"consumer\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.expect("the series").parse::<u64>().expect("a number")
    };
    assert!(of("refused_total") > 0 && of("bytes") <= 131_072, "{metrics}");
}

/// Hands a host an event that the consumer rejects.
async fn send_rejected(host: &InProcess, id: &str) {
    let steps = json!([{"do": "reject", "reason": "x".repeat(1_500)}]);
    let event = json!({"specversion": "1.0", "id": id, "source": "/tests", "type": "test.steps",
        "data": steps});
    let request = Request::post(host.admin_url("/events"))
        .header("content-type", "application/cloudevents+json")
        .body(Full::new(event.to_string().into()));
    let taken = host.client.send(request.expect("a request")).await.expect("an answer");
    assert_eq!(taken.status, 202, "{taken:?}");
}

/// Waits until there are so many dead letters; they.
async fn letters(host: &InProcess, count: usize) -> Vec<Value> {
    eventually(&format!("there are {count} dead letters"), async || {
        let page = host.admin("/v1/dead-letters").await.json();
        let letters = page["dead_letters"].as_array()?.clone();
        (letters.len() == count).then_some(letters)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_without_its_data_is_delivered_again_as_long_as_the_bus_has_it() {
    let folders = Folders::new();
    folders.deploy("consumer");
    let small = || StoreOptions { max_dead_bytes: 5_000, ..StoreOptions::default() };
    let host = folders.host(Config::default(), small()).await;
    send_rejected(&host, "whole").await;
    letters(&host, 1).await;
    send_rejected(&host, "cut").await;
    let both = letters(&host, 2).await;
    assert!(both[0].get("without_data").is_none() && both[0]["event"]["data"].is_array());
    assert_eq!((&both[1]["without_data"], &both[1]["event"]["id"]), (&json!(true), &json!("cut")));
    assert!(both[1]["event"].get("data").is_none(), "{}", both[1]);

    // It has its data: what it is rejected for is in there.
    let id = both[1]["id"].as_str().expect("an id").to_owned();
    let retried = host.admin_post(&format!("/v1/dead-letters/{id}/retry"), String::new()).await;
    assert_eq!(retried.status, 200, "{retried:?}");
    let again = eventually("it is rejected again", async || {
        let page = host.admin("/v1/dead-letters").await.json();
        let last = page["dead_letters"].as_array()?.last()?.clone();
        (last["id"] != id && last["event"]["id"] == "cut").then_some(last)
    })
    .await;
    assert!(again["reason"].as_str().expect("a reason").starts_with("rejected: xxx"), "{again}");
    host.stop().await;

    let short = EventsConfig { retain: Duration::from_millis(1), ..EventsConfig::default() };
    let host = folders.host(Config { events: short, ..Config::default() }, small()).await;
    eventually("the bus has let go of it", async || {
        let metrics = host.admin("/metrics").await.text();
        metrics.lines().any(|line| line == "hotdock_bus_events 0").then_some(())
    })
    .await;
    let id = again["id"].as_str().expect("an id");
    let gone = host.admin_post(&format!("/v1/dead-letters/{id}/retry"), String::new()).await;
    assert_eq!(gone.status, 409, "{gone:?}");
    assert!(gone.text().contains(&format!("the data of dead letter {id} is gone")), "{gone:?}");
    host.stop().await;
}
