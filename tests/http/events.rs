//! `POST /events` of both listeners.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::harness::raw::Raw;
use crate::harness::{Host, Reply};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

async fn post(host: &Host, url: &str, content_type: &str, body: String) -> Reply {
    let request = Request::post(url).header("content-type", content_type);
    host.send(request.body(Full::new(Bytes::from(body))).expect("a request")).await
}

fn event(id: u32, event_type: &str) -> String {
    json!({"specversion": "1.0", "id": id.to_string(), "source": "/tests", "type": event_type})
        .to_string()
}

#[tokio::test]
async fn the_admin_listener_takes_events_of_every_type_once() {
    let host = Host::builder().start().await;
    let url = host.admin_url("/events");
    let batch = format!("[{},{}]", event(1, "a.b"), event(2, "shop.order.placed"));
    let taken = post(&host, &url, BATCH, batch).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    assert_eq!(taken.json(), json!({"accepted": 2, "repeated": 0}));
    let repeated = post(&host, &url, STRUCTURED, event(1, "a.b")).await;
    assert_eq!(repeated.json(), json!({"accepted": 0, "repeated": 1}));
    let binary = Request::post(&url)
        .header("ce-specversion", "1.0")
        .header("ce-id", "3")
        .header("ce-source", "/tests")
        .header("ce-type", "a.b")
        .header("content-type", "text/plain")
        .body(Full::new(Bytes::from_static(b"data")));
    let binary = host.send(binary.expect("a request")).await;
    assert_eq!(binary.json(), json!({"accepted": 1, "repeated": 0}));

    let wrong = format!("[{},{}]", event(4, "a.b"), event(5, ""));
    let wrong = post(&host, &url, BATCH, wrong).await;
    assert_eq!(wrong.problem(400, "invalid-event"), "event 1: type: must not be empty");
    assert_eq!((&wrong.json()["attribute"], &wrong.json()["index"]), (&json!("type"), &json!(1)));
    let format = post(&host, &url, "application/cloudevents+avro", String::new()).await;
    format.problem(415, "unsupported-media-type");
    // Refused by its length: nothing of the body is waited for.
    let mut large = Raw::connect(host.admin).await;
    let length = (4 << 20) + 1;
    let head = format!("content-type: {STRUCTURED}\r\ncontent-length: {length}\r\n");
    large.send(format!("POST /events HTTP/1.1\r\nhost: localhost\r\n{head}\r\n")).await;
    assert!(large.until("\r\n").await.contains(" 413 "));
    let get = Request::get(&url).body(Full::default()).expect("a request");
    assert_eq!(host.send(get).await.status, 405);
}

#[tokio::test]
async fn the_public_listener_takes_what_the_operator_opened() {
    let host = Host::builder()
        .settings("[events]\naccept = [\"shop.external.*\"]\nmax-body = \"1KiB\"\n")
        .start()
        .await;
    let url = host.url("/events");
    let taken = post(&host, &url, STRUCTURED, event(1, "shop.external.paid")).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    let batch = format!("[{},{}]", event(2, "shop.external.paid"), event(3, "shop.order.placed"));
    let refused = post(&host, &url, BATCH, batch).await;
    let detail = refused.problem(403, "type-not-taken");
    assert_eq!(detail, "events of type shop.order.placed are not taken here");
    post(&host, &url, STRUCTURED, " ".repeat(1025)).await.problem(413, "body-too-large");
    let other = host.get("/events").await;
    other.problem(405, "method-not-allowed");
    assert_eq!(other.header("allow"), "POST");
    host.get("/other").await.problem(404, "no-route");
}

#[tokio::test]
async fn the_public_listener_takes_nothing_by_default() {
    let host = Host::builder().start().await;
    let answer = post(&host, &host.url("/events"), STRUCTURED, event(1, "a.b")).await;
    answer.problem(404, "no-route");
}

#[tokio::test]
async fn a_full_bus_refuses_events_and_keeps_those_it_took() {
    let host = Host::builder().settings("[events]\nmax-bytes = \"1KiB\"\n").start().await;
    let url = host.admin_url("/events");
    let mut taken = 0;
    let refused = loop {
        let reply = post(&host, &url, STRUCTURED, event(taken, "a.b")).await;
        if reply.status != 202 {
            break reply;
        }
        taken += 1;
    };
    assert_eq!(refused.problem(503, "bus-full"), "the bus has no room for more events");
    assert_eq!(refused.header("retry-after"), "1");
    let batch = format!("[{},{}]", event(0, "a.b"), event(1, "a.b"));
    let known = post(&host, &url, BATCH, batch).await;
    assert_eq!(known.json(), json!({"accepted": 0, "repeated": 2}), "what it has takes no room");
    host.until_metric("hotdock_bus_events", taken.into()).await;
    host.until_metric("hotdock_bus_full", 1).await;
}
