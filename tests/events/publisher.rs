//! Publishing: what is an event, and that it leaves with its transaction.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{consumer, event, publish, until_done, until_value, value};
use crate::deploy::operator::ask;
use crate::harness::eventually;

#[tokio::test]
async fn what_is_no_event_is_refused_with_the_attribute() {
    let host = consumer("").await;
    let cases = [
        (json!({"type": ""}), "type: "),
        (json!({"type": "test.a", "id": ""}), "id: "),
        (json!({"type": "test.a", "subject": ""}), "subject: "),
        (json!({"type": "test.a", "time": "yesterday"}), "time: "),
        (json!({"type": "test.a", "schema": "no uri"}), "dataschema: "),
        (json!({"type": "test.a", "key": ""}), "partitionkey: "),
        (json!({"type": "test.a", "extensions": {"Upper": "x"}}), "Upper: "),
        (json!({"type": "test.a", "extensions": {"source": "x"}}), "source: "),
        (json!({"type": "test.a", "extensions": {"partitionkey": "x"}}), "partitionkey: "),
        (json!({"type": "test.a", "extensions": {"sequence": "x"}}), "sequence: "),
    ];
    for (event, attribute) in cases {
        let reply = host.post("/consumer/publish", json!([event]).to_string()).await;
        assert_eq!(reply.status, 409, "{event}: {reply:?}");
        let detail = reply.json()["detail"].as_str().expect("a detail").to_owned();
        let expected = format!("the event is invalid: {attribute}");
        assert!(detail.starts_with(&expected), "{event}: {detail}");
    }
}

#[tokio::test]
async fn an_event_is_part_of_the_trace_of_what_published_it() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01";
    let host = consumer("").await;
    let follow = json!([{"type": "test.second", "key": "k", "data": []}]);
    let first = event("k", json!([{"do": "publish", "events": follow}]));
    let own = json!({"type": "test.own", "extensions": {"traceparent": OWN}, "data": []});
    let request = Request::post(host.url("/consumer/publish"))
        .header("traceparent", TRACE)
        .body(Full::new(Bytes::from(json!([first, own]).to_string())))
        .expect("a request");
    assert_eq!(host.send(request).await.status, 200);
    publish(&host, json!([{"type": "test.none", "data": []}])).await;
    let expected = BTreeMap::from([
        ("test.steps".to_owned(), json!(TRACE)),
        ("test.own".to_owned(), json!(OWN)),
        ("test.none".to_owned(), Value::Null),
        ("test.second".to_owned(), json!(TRACE)),
    ]);
    eventually("the events are on the bus", async || {
        let page = ask(&host, Method::GET, "/v1/events", Value::Null).await.json();
        let entries = page["events"].as_array().expect("events");
        let trace = |entry: &Value| {
            let event = &entry["event"];
            (event["type"].as_str().expect("a type").to_owned(), event["traceparent"].clone())
        };
        (entries.iter().map(trace).collect::<BTreeMap<_, _>>() == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_event_has_a_largest_size() {
    let host = consumer("").await;
    let large = json!([{"type": "test.large", "bytes": 1 << 20}]);
    let reply = host.post("/consumer/publish", large.to_string()).await;
    let detail = reply.json()["detail"].as_str().expect("a detail").to_owned();
    assert!(detail.starts_with("the event is too large: the event has 1048"), "{detail}");
    publish(&host, json!([{"type": "other.large", "bytes": 1_000_000}])).await;
}

#[tokio::test]
async fn of_many_events_all_are_published_or_none() {
    let host = consumer("").await;
    let good = |key: &str| event("k", json!([{"do": "count", "key": key}]));
    let mixed = json!([good("first"), {"type": "", "data": []}]);
    let reply = host.post("/consumer/publish?at-once=true", mixed.to_string()).await;
    let detail = reply.json()["detail"].as_str().expect("a detail").to_owned();
    assert!(detail.starts_with("the event is invalid: event 1: type: "), "{detail}");
    let all = json!([good("a"), good("b")]);
    let reply = host.post("/consumer/publish?at-once=true", all.to_string()).await;
    assert_eq!(reply.json().as_array().map(Vec::len), Some(2), "{reply:?}");
    until_value(&host, "counts", "b", "1").await;
    assert_eq!(value(&host, "counts", "first").await, None);
}

#[tokio::test]
async fn an_event_of_a_run_that_conflicted_is_published_once() {
    const WRITERS: usize = 16;
    let host = consumer("").await;
    // All read and write one key and publish; most of them run more than once.
    let steps = json!([
        {"do": "count", "key": "written"},
        {"do": "publish", "events": [event("f", json!([{"do": "count", "key": "followed"}]))]},
    ]);
    let events: Vec<Value> =
        (0..WRITERS).map(|number| event(&format!("k{number}"), steps.clone())).collect();
    publish(&host, Value::Array(events)).await;
    until_value(&host, "counts", "written", &WRITERS.to_string()).await;
    until_done(&host, "f").await;
    assert_eq!(value(&host, "counts", "followed").await, Some(WRITERS.to_string()));
}
