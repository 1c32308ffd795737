//! Events that are delivered again.

use http::Method;
use serde_json::{Value, json};

use super::{SUBSCRIPTION, consumer_as, delete, get, post, refused, until};
use crate::deploy::operator::ask;
use crate::events::{consumer, event, publish, until_value};
use crate::harness::{Host, eventually};

async fn until_over(host: &Host) {
    eventually("the replay is over", async || {
        let list = get(host, "/v1/subscriptions").await.json();
        (list["subscriptions"].as_array()?.len() == 1).then_some(())
    })
    .await;
}

async fn replay(host: &Host, from: Value) -> Value {
    let reply = post(host, &format!("{SUBSCRIPTION}/replay"), json!({ "from": from })).await;
    assert_eq!(reply.status, 201);
    reply.json()
}

#[tokio::test]
async fn a_replay_delivers_again_and_leaves_the_first_run_alone() {
    let host = consumer("").await;
    for count in 1..=3 {
        publish(&host, json!([event("k", json!([{"do": "count", "key": "n"}]))])).await;
        until_value(&host, "counts", "n", &count.to_string()).await;
    }
    until(&host, SUBSCRIPTION, "position", json!(3)).await;
    let begun = replay(&host, json!(2)).await;
    assert_eq!((&begun["from"], &begun["until"]), (&json!(2), &json!(3)));
    let name = begun["subscription"].as_str().expect("a name");
    assert!(name.starts_with("consumer/test.>@"), "{name}");
    until_value(&host, "counts", "n", "5").await;
    until_over(&host).await;
    let status = get(&host, SUBSCRIPTION).await.json();
    assert_eq!((&status["position"], &status["delivered"]), (&json!(3), &json!(3)));
    // It is no part of what a restart brings back, nor of what is trimmed by.
    let gone = format!("/v1/subscriptions/{}", name.replace('>', "%3E"));
    refused(&get(&host, &gone).await, 404, name);
    assert_eq!(super::super::value(&host, "counts", "n").await.as_deref(), Some("5"));
}

#[tokio::test]
async fn a_replay_begins_at_a_time() {
    let host = consumer("").await;
    for count in 1..=3 {
        publish(&host, json!([event("k", json!([{"do": "count", "key": "n"}]))])).await;
        until_value(&host, "counts", "n", &count.to_string()).await;
    }
    let events = get(&host, "/v1/events").await.json();
    let times: Vec<&str> = events["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["recorded_at"].as_str().expect("a time"))
        .collect();
    let first = 1 + times.iter().position(|time| *time >= times[1]).expect("it is there");
    let begun = replay(&host, json!(times[1])).await;
    assert_eq!(begun["from"], first);
    until_value(&host, "counts", "n", &(3 + times.len() - first + 1).to_string()).await;
    until_over(&host).await;
    // In another time zone, and long before the first.
    assert_eq!(replay(&host, json!("1999-12-31T23:00:00-01:00")).await["from"], 1);

    let path = format!("{SUBSCRIPTION}/replay");
    for (from, status, says) in [
        (json!(4), 409, "1 to 3"),
        (json!("2999-01-01T00:00:00Z"), 409, "2999-01-01"),
        (json!("yesterday"), 400, "from: `yesterday`"),
        (json!(-1), 400, "from"),
        (json!([]), 400, "from"),
    ] {
        refused(&ask(&host, Method::POST, &path, json!({ "from": from })).await, status, says);
    }
}

#[tokio::test]
async fn a_replay_goes_on_after_a_restart_and_is_ended_by_an_operator() {
    // It waits for an hour after its first failure.
    let manifest = "[[subscribe]]\ntype = \"test.>\"\nfrom = \"beginning\"\n\
        backoff = { first = \"1h\", max = \"1h\" }\n";
    let mut host = consumer_as(manifest).await;
    publish(&host, json!([event("k", json!([{"do": "fail", "times": 1}]))])).await;
    until(&host, SUBSCRIPTION, "held", json!(1)).await;
    let begun = replay(&host, json!(1)).await;
    let name = begun["subscription"].as_str().expect("a name").replace('>', "%3E");
    let path = format!("/v1/subscriptions/{name}");
    until(&host, &path, "held", json!(1)).await;
    assert!(host.stop().await.success());
    host.start().await;
    until(&host, &path, "held", json!(1)).await;
    assert_eq!(get(&host, &path).await.json()["until"], 1);
    refused(&delete(&host, SUBSCRIPTION).await, 409, "is wanted");
    assert_eq!(delete(&host, &path).await.status, 200);
    refused(&get(&host, &path).await, 404, "no subscription");
    assert_eq!(get(&host, SUBSCRIPTION).await.json()["held"], 1, "the first run waits on");
    until_over(&host).await;
}
