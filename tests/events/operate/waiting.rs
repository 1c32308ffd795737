//! Events that wait: held, parked, and those of a subscription that pauses.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{SUBSCRIPTION, consumer_as, delete, get, post, refused, state_series, until};
use crate::deploy::operator::{ask, hotdock};
use crate::events::{event, publish, until_value, value};
use crate::harness::{Host, component, eventually};

/// Parks what fails so often.
fn parking(attempts: u32) -> String {
    format!(
        "[[subscribe]]\ntype = \"test.>\"\nfrom = \"beginning\"\nattempts = {attempts}\n\
         backoff = {{ first = \"10ms\", max = \"10ms\" }}\nwhen-failed = \"park\"\n"
    )
}

#[tokio::test]
async fn a_parked_event_is_skipped_or_retried_and_its_key_goes_on() {
    let host = consumer_as(&parking(1)).await;
    let fails = json!([{"do": "fail", "times": 1}, {"do": "log", "key": "l", "text": "retried"}]);
    let log = |text: &str| json!([{"do": "log", "key": "l", "text": text}]);
    publish(&host, json!([event("a", fails.clone()), event("a", log("behind"))])).await;
    until(&host, SUBSCRIPTION, "held", json!(2)).await;
    until(&host, SUBSCRIPTION, "state", json!("parked")).await;
    let held = get(&host, &format!("{SUBSCRIPTION}/held")).await.json();
    assert_eq!(
        held["held"],
        json!([
            {"position": 1, "key": "a", "attempts": 1, "parked": true, "reason": "attempt 1 fails"},
            {"position": 2, "key": "a", "attempts": 0, "parked": false},
        ])
    );
    host.until_metric(
        "hotdock_subscription_parked{service=\"consumer\",subscription=\"test.>\"}",
        1,
    )
    .await;

    let (skip, retry) = (format!("{SUBSCRIPTION}/skip"), format!("{SUBSCRIPTION}/retry"));
    let behind = ask(&host, Method::POST, &retry, json!({"position": 2})).await;
    refused(&behind, 409, "position 1");
    assert_eq!(post(&host, &skip, json!({"position": 1})).await.status, 204);
    host.until_logged("\"message\":\"a held event is skipped\"").await;
    until_value(&host, "logs", "l", "behind ").await;
    until(&host, SUBSCRIPTION, "state", json!("running")).await;
    for path in [&skip, &retry] {
        let again = ask(&host, Method::POST, path, json!({"position": 1})).await;
        refused(&again, 409, "no event waits");
    }

    // Where a version gives it another attempt, it ends well.
    publish(&host, json!([event("b", fails), event("b", log("after"))])).await;
    until(&host, SUBSCRIPTION, "parked", json!(1)).await;
    until(&host, SUBSCRIPTION, "held", json!(2)).await;
    host.drop_file("consumer.toml", parking(2));
    host.until_version("consumer", 2).await;
    assert_eq!(post(&host, &retry, json!({"position": 3})).await.status, 204);
    until_value(&host, "logs", "l", "behind retried after ").await;
}

#[tokio::test]
async fn a_subscription_that_holds_as_many_events_as_it_may_reads_on_when_there_is_room() {
    let mut host = consumer_as(&format!("{}held = 1\n", parking(1))).await;
    publish(&host, json!([event("a", json!([{"do": "fail", "times": 1}]))])).await;
    until(&host, SUBSCRIPTION, "state", json!("full")).await;
    let count = json!([{"do": "count", "key": "c"}]);
    publish(&host, json!([event("b", count.clone()), event("c", count)])).await;
    until(&host, SUBSCRIPTION, "lag", json!(2)).await;
    host.kill();
    host.start().await;
    until(&host, SUBSCRIPTION, "state", json!("full")).await;
    assert_eq!(value(&host, "counts", "c").await, None, "nobody read it");
    post(&host, &format!("{SUBSCRIPTION}/skip"), json!({"position": 1})).await;
    until_value(&host, "counts", "c", "2").await;
    until(&host, SUBSCRIPTION, "state", json!("running")).await;
}

#[tokio::test]
async fn what_an_operator_decided_is_still_so_after_a_crash() {
    let mut host = consumer_as(&parking(1)).await;
    let fails = json!([{"do": "fail", "times": 1}]);
    let log = json!([{"do": "log", "key": "l", "text": "behind"}]);
    publish(&host, json!([event("a", fails), event("a", log)])).await;
    until(&host, SUBSCRIPTION, "held", json!(2)).await;
    until(&host, SUBSCRIPTION, "parked", json!(1)).await;
    post(&host, &format!("{SUBSCRIPTION}/skip"), json!({"position": 1})).await;
    host.kill();
    host.start().await;
    until_value(&host, "logs", "l", "behind ").await;
    until(&host, SUBSCRIPTION, "held", json!(0)).await;
    assert_eq!(get(&host, SUBSCRIPTION).await.json()["parked"], 0);
}

#[tokio::test]
async fn a_pause_is_ended_by_an_operator() {
    // What failed waits for an hour, so that nothing else ends the pause.
    let manifest = "[[subscribe]]\ntype = \"test.>\"\nfrom = \"beginning\"\n\
        backoff = { first = \"1h\", max = \"1h\" }\n";
    let host = consumer_as(manifest).await;
    let fails = json!([{"do": "fail", "times": 1}]);
    let events: Vec<Value> =
        (0..5).map(|number| event(&format!("k{number}"), fails.clone())).collect();
    publish(&host, Value::Array(events)).await;
    until(&host, SUBSCRIPTION, "state", json!("paused")).await;
    host.until_metric(&state_series("test.>", "paused"), 1).await;
    let status = get(&host, SUBSCRIPTION).await.json();
    assert_eq!((&status["attempts"], &status["failed"]), (&json!(5), &json!(5)));
    let error = status["last_error"].as_str().expect("an error");
    assert!(error.contains("attempt 1 fails"), "{error}");
    assert!(status["oldest_age_ms"].is_u64(), "{status}");
    // The last of them may be on its way there: it would wait from then on.
    until(&host, SUBSCRIPTION, "held", json!(5)).await;
    let resume = format!("{SUBSCRIPTION}/resume");
    assert_eq!(post(&host, &resume, Value::Null).await.json(), json!({"was_paused": true}));
    host.until_logged("\"message\":\"resumed\"").await;
    until(&host, SUBSCRIPTION, "state", json!("running")).await;
    host.until_metric(&state_series("test.>", "running"), 1).await;
    // It is delivered at once, and not after that hour.
    until(&host, SUBSCRIPTION, "delivered", json!(5)).await;
    assert_eq!(post(&host, &resume, Value::Null).await.json(), json!({"was_paused": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_subscription_that_is_gone_holds_is_counted_listed_and_dropped_with_it() {
    let mut host = consumer_as(&parking(1)).await;
    let fails = json!([{"do": "fail", "times": 1}]);
    publish(&host, json!([event("a", fails.clone()), event("a", json!([])), event("b", fails)]))
        .await;
    until(&host, SUBSCRIPTION, "held", json!(3)).await;
    until(&host, SUBSCRIPTION, "parked", json!(2)).await;
    let held = async |host: &Host| get(host, &format!("{SUBSCRIPTION}/held?limit=2")).await.json();
    let before = held(&host).await;
    assert_eq!(before["next"], 2, "{before}");
    assert_eq!(delete(&host, "/v1/services/consumer").await.status, 204);
    for restarted in [false, true] {
        if restarted {
            host.kill();
            host.start().await;
        }
        until(&host, SUBSCRIPTION, "state", json!("gone")).await;
        until(&host, SUBSCRIPTION, "held", json!(3)).await;
        until(&host, SUBSCRIPTION, "parked", json!(2)).await;
        assert_eq!(held(&host).await, before, "restarted: {restarted}");
    }
    let skip = format!("{SUBSCRIPTION}/skip");
    let skipped = ask(&host, Method::POST, &skip, json!({"position": 1})).await;
    refused(&skipped, 409, "no version that serves wants it");
    let dropped = hotdock(&host, &["events", "drop", "-s", "consumer/test.>"]);
    let said = String::from_utf8(dropped.stdout).expect("text");
    assert_eq!(said, "consumer/test.>: it is gone, and with it the 3 it held\n");
    host.until_logged("dropped with 3 held events").await;
    refused(&get(&host, &format!("{SUBSCRIPTION}/held")).await, 404, "consumer/test.>");
}

#[tokio::test]
async fn a_subscription_that_no_version_wants_is_gone_until_it_is_dropped() {
    let other = "[[subscribe]]\ntype = \"test.other\"\nname = \"other\"\n";
    let host = consumer_as(&format!("{}{other}", parking(1))).await;
    let path = "/v1/subscriptions/consumer/other";
    refused(&delete(&host, path).await, 409, "consumer/other is wanted");
    host.drop_file("consumer.toml", parking(1));
    host.until_version("consumer", 2).await;
    until(&host, path, "state", json!("gone")).await;
    host.until_metric(&state_series("other", "gone"), 1).await;
    assert_eq!(delete(&host, path).await.json(), json!({"held": 0}));
    refused(&get(&host, path).await, 404, "consumer/other");
    refused(&delete(&host, path).await, 404, "consumer/other");

    // Of a service that is gone as a whole, too.
    host.remove_file("consumer.wasm");
    eventually("it is gone", async || {
        let status = get(&host, SUBSCRIPTION).await.json();
        (status["state"] == "gone").then_some(())
    })
    .await;
    assert_eq!(delete(&host, SUBSCRIPTION).await.status, 200);
    let list = get(&host, "/v1/subscriptions").await.json();
    assert_eq!(list, json!({"subscriptions": []}));
}

#[tokio::test]
async fn a_subscription_that_was_dropped_while_its_service_was_gone_begins_anew() {
    let manifest = "[[subscribe]]\ntype = \"test.>\"\n";
    let mut host = consumer_as(manifest).await;
    let log = |text: &str| event("a", json!([{"do": "log", "key": "l", "text": text}]));
    publish(&host, json!([log("before")])).await;
    until_value(&host, "logs", "l", "before ").await;
    host.remove_file("consumer.wasm");
    until(&host, SUBSCRIPTION, "state", json!("gone")).await;
    let outside = |text: &str, id: &str| {
        json!({
            "specversion": "1.0", "id": id, "source": "/test", "type": "test.steps",
            "subject": "a", "data": log(text)["data"],
        })
    };
    let meanwhile = outside("meanwhile", "1").to_string();
    assert_eq!(send_structured(&host, meanwhile).await, 202);
    assert_eq!(delete(&host, SUBSCRIPTION).await.status, 200);
    host.kill();
    host.start().await;
    let (wasm, _) = component("consumer");
    host.drop_file("consumer.wasm", wasm);
    host.until_version("consumer", 2).await;
    assert_eq!(send_structured(&host, outside("after", "2").to_string()).await, 202);
    // It begins with the present, not where it was.
    until_value(&host, "logs", "l", "before after ").await;
}

async fn send_structured(host: &Host, event: String) -> u16 {
    let request = Request::post(host.admin_url("/events"))
        .header(CONTENT_TYPE, "application/cloudevents+json")
        .body(Full::new(Bytes::from(event)))
        .expect("a request");
    host.send(request).await.status.as_u16()
}
