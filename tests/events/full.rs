//! Stores and a bus that take no more: what waits for them, and what does not.

use hotdock::config::Config;
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
    assert_eq!((&again["held"], &again["dead"], &again["lag"]), (&json!(0), &json!(0), &json!(0)));
    host.stop().await;

    let host = folders.host(Config::default(), StoreOptions::default()).await;
    until(&host, "there is room, and it has its attempts", |each| each["dead"] == 1).await;
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
