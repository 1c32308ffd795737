//! Publishing: what is an event, and that it leaves with its transaction.

use serde_json::{Value, json};

use super::{consumer, event, publish, until_done, until_value, value};

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
