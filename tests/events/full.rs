//! Stores and a bus that take no more: what waits for them, and what does not.

use hotdock::config::{Config, EventsConfig};
use hotdock::state::StoreOptions;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{event, publish, until_value};
use crate::harness::in_process::{Folders, InProcess};
use crate::harness::{Host, eventually};

/// Hands the host an event for the consumer.
async fn send(host: &InProcess, steps: Value) {
    let event = json!({"specversion": "1.0", "id": "1", "source": "/tests", "type": "test.steps",
        "data": steps});
    let request = Request::post(host.admin_url("/events"))
        .header("content-type", "application/cloudevents+json")
        .body(Full::new(event.to_string().into()));
    let taken = host.client.send(request.expect("a request")).await.expect("an answer");
    assert_eq!(taken.status, 202, "{taken:?}");
}

/// Waits until the consumer's subscription is so.
async fn until(host: &InProcess, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let list = host.admin("/v1/subscriptions").await.json();
        let all = list["subscriptions"].as_array()?;
        all.iter().find(|each| each["name"] == "consumer/test.>" && is_so(each)).cloned()
    })
    .await
}

async fn until_served(host: &InProcess, path: &str, status: u16) {
    eventually(&format!("{path} is answered with {status}"), async || {
        let reply = host.request(Method::GET, path, String::new()).await;
        (reply.status == status).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_store_is_full_keeps_neither_deployments_nor_the_hosts_end() {
    let folders = Folders::new();
    folders.deploy("consumer");
    let small = StoreOptions { max_pages: 64, ..StoreOptions::default() };
    let host = folders.host(Config::default(), small.clone()).await;
    // It is to be held, and is larger than the store.
    send(&host, json!([{"do": "retry", "reason": "x".repeat(400_000)}])).await;
    let paused = until(&host, "it is paused", |each| each["state"] == "paused").await;
    let error = paused["last_error"].as_str().expect("an error");
    assert_eq!(error, "its store takes no note of what failed: the store is full");

    folders.undeploy("consumer");
    until_served(&host, "/consumer/effects", 404).await;
    folders.deploy("hello");
    until_served(&host, "/hello", 200).await;
    // Its store is free, too, and the event is met again.
    folders.deploy("consumer");
    until_served(&host, "/consumer/effects", 200).await;
    let again = until(&host, "it is delivered again", |each| each["failed"] == 1).await;
    // It is neither finished nor held, so that the position stays before it.
    assert_eq!((&again["held"], &again["dead"], &again["lag"]), (&json!(0), &json!(0), &json!(1)));
    host.stop().await;

    let host = folders.host(Config::default(), StoreOptions::default()).await;
    until(&host, "there is room, and it has its attempts", |each| each["dead"] == 1).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_whose_events_wait_for_the_bus_burns_no_attempt() {
    let folders = Folders::new();
    folders.deploy("consumer");
    let few = StoreOptions { max_outbox: 1, ..StoreOptions::default() };
    let bus_of = |max_bytes| Config {
        events: EventsConfig { max_bytes, ..EventsConfig::default() },
        ..Config::default()
    };
    let host = folders.host(bus_of(20 << 10), few.clone()).await;
    // Two of them fit, and the third is the one that may wait.
    let large = json!([{"type": "other.large", "bytes": 5_000}]);
    let publish_one =
        async || host.request(Method::POST, "/consumer/publish", large.to_string()).await;
    for _ in 0..3 {
        eventually("it is published", async || (publish_one().await.status == 200).then_some(()))
            .await;
    }
    let refused = publish_one().await;
    let detail = refused.json()["detail"].as_str().expect("a detail").to_owned();
    assert!(detail.contains("as many events wait for the bus as may"), "{detail}");

    send(&host, json!([{"do": "publish", "events": [{"type": "other"}]}, {"do": "seen"}])).await;
    eventually("it is tried more often than it has attempts", async || {
        let metrics = host.admin("/metrics").await.text();
        let tries = metrics.lines().find(|line| {
            line.starts_with("hotdock_handler_runs_total{service=\"consumer\"")
                && line.contains("outcome=\"store-full\"")
        })?;
        (tries.rsplit(' ').next()?.parse::<u64>().ok()? > 5).then_some(())
    })
    .await;
    let status = until(&host, "it has a status", |_| true).await;
    assert_eq!(
        (&status["attempts"], &status["dead"], &status["held"]),
        (&json!(0), &json!(0), &json!(0))
    );
    let error = status["last_error"].as_str().expect("an error");
    assert_eq!(error, "as many of the service's events wait for the bus as may");
    host.stop().await;

    let host = folders.host(bus_of(1 << 20), few).await;
    let seen = eventually("it is handled", async || {
        let path = "/consumer/value?bucket=seen&key=1";
        let reply = host.request(Method::GET, path, String::new()).await;
        (reply.status == 200).then(|| reply.json())
    })
    .await;
    assert_eq!(seen["attempt"], 1);
    host.stop().await;
}

#[tokio::test]
async fn a_bus_with_little_room_gets_what_fits_and_the_rest_when_there_is_room_again() {
    let settings = "[events]\nmax-bytes = \"64KiB\"\nretain = \"1s\"\n";
    let host = Host::builder().plugin("consumer").settings(settings).start().await;
    let steps = json!([{"do": "read", "key": "x".repeat(900)}, {"do": "count", "key": "all"}]);
    let events = (0..100).map(|number| event(&format!("k{number}"), steps.clone()));
    publish(&host, events.collect()).await;
    until_value(&host, "counts", "all", "100").await;
    host.until_metric("hotdock_outbox_length{service=\"consumer\"}", 0).await;
    assert_eq!(host.log().matches("published events wait for the bus").count(), 1, "said once");
}
