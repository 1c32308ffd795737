//! Events that were given up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{SUBSCRIPTION, consumer_as, delete, get, hopeless, post, refused, until};
use crate::deploy::operator::{ask, hotdock};
use crate::events::{consumer, event, publish, until_value};
use crate::harness::{Host, component, eventually};

/// Without the table that the step `sql` writes to.
const BROKEN: &str = "[[subscribe]]\ntype = \"test.>\"\nfrom = \"beginning\"\nattempts = 2\n\
    backoff = { first = \"10ms\", max = \"10ms\" }\n";

#[tokio::test]
async fn a_dead_letter_has_its_reason_and_is_delivered_by_a_fixed_version_or_dropped() {
    let host = consumer_as(BROKEN).await;
    let steps = json!([{"do": "sql", "text": "row"}]);
    let ids = publish(&host, json!([event("a", steps.clone()), event("b", steps)])).await;
    until(&host, SUBSCRIPTION, "dead", json!(2)).await;

    let page = get(&host, "/v1/dead-letters").await.json();
    let letters = page["dead_letters"].as_array().expect("dead letters");
    assert_eq!((letters.len(), &page["next"]), (2, &Value::Null));
    for letter in letters {
        assert_eq!(
            (&letter["subscription"], &letter["attempts"]),
            (&json!("consumer/test.>"), &json!(2))
        );
        let reason = letter["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("2 attempts failed") && reason.contains("effects"), "{reason}");
        assert_eq!(letter["event"]["source"], "/services/consumer");
    }
    let id_of = |key: &str| {
        let letter = letters.iter().find(|letter| letter["key"] == key).expect("a dead letter");
        letter["id"].as_str().expect("an id").to_owned()
    };
    let (first, second) = (id_of("a"), id_of("b"));
    let shown = get(&host, &format!("/v1/dead-letters/{first}")).await.json();
    assert_eq!(shown["event"]["id"], ids[0].as_str());
    let gauge = "hotdock_subscription_dead_letters{service=\"consumer\",subscription=\"test.>\"}";
    host.until_metric(gauge, 2).await;

    let migration = "[[migration]]\nname = \"0001_effects\"\n\
        sql = \"CREATE TABLE effects (id TEXT NOT NULL, text TEXT NOT NULL)\"\n";
    host.drop_file("consumer.toml", format!("{BROKEN}{migration}"));
    host.until_version("consumer", 2).await;
    let reply = post(&host, &format!("/v1/dead-letters/{first}/retry"), Value::Null).await;
    assert_eq!(reply.json(), json!({"subscription": "consumer/test.>"}));
    until(&host, SUBSCRIPTION, "delivered", json!(1)).await;
    until(&host, SUBSCRIPTION, "held", json!(0)).await;
    let effects = host.get("/consumer/effects").await.text();
    assert_eq!(effects.matches(" row").count(), 1, "{effects}");
    assert!(effects.contains(&ids[0]), "{effects}");

    assert_eq!(delete(&host, &format!("/v1/dead-letters/{second}")).await.status, 204);
    for id in [&first, &second] {
        let path = format!("/v1/dead-letters/{id}");
        refused(&get(&host, &path).await, 404, id);
        refused(&delete(&host, &path).await, 404, id);
    }
    host.until_metric(gauge, 0).await;
    assert_eq!(get(&host, SUBSCRIPTION).await.json()["given_up"], 2);
}

#[tokio::test]
async fn a_dead_letter_that_is_retried_waits_for_what_of_its_key_is_with_its_handler() {
    let once = BROKEN.replace("attempts = 2", "attempts = 1");
    let host = consumer_as(&once).await;
    let log = |text: &str| json!({"do": "log", "key": "l", "text": text});
    let fails = json!([{"do": "fail", "times": 1}, log("first")]);
    publish(&host, json!([event("a", fails)])).await;
    until(&host, SUBSCRIPTION, "dead", json!(1)).await;
    // A fixed version, whose attempts begin anew.
    host.drop_file("consumer.toml", BROKEN);
    host.until_version("consumer", 2).await;
    let slow = json!([{"do": "sleep", "ms": 1_000}, log("second")]);
    publish(&host, json!([event("a", slow), event("a", json!([log("third")]))])).await;
    let leases = "hotdock_leases{service=\"consumer\"}";
    host.until_metric(leases, 1).await;
    post(&host, "/v1/dead-letters/consumer/1/retry", Value::Null).await;
    until_value(&host, "logs", "l", "second first third ").await;
    until(&host, SUBSCRIPTION, "held", json!(0)).await;
}

/// A list with half of a surrogate pair, or a number out of range, is no list to many readers.
#[tokio::test]
async fn data_that_some_readers_give_up_ends_no_list() {
    let host = consumer("").await;
    let all = [r#"["\ud800"]"#.to_owned(), "[1e999999]".to_owned(), "1".repeat(6_000)];
    for (number, data) in all.iter().enumerate() {
        let structured = format!(
            r#"{{"specversion":"1.0","id":"s{number}","source":"/t","type":"test.a","data":{data}}}"#
        );
        let url = host.admin_url("/events");
        let structured = Request::post(&url)
            .header("content-type", "application/cloudevents+json")
            .body(Full::new(Bytes::from(structured)));
        let binary = Request::post(&url)
            .header("ce-specversion", "1.0")
            .header("ce-id", format!("b{number}"))
            .header("ce-source", "/t")
            .header("ce-type", "test.a")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(data.clone())));
        for request in [structured, binary] {
            let taken = host.send(request.expect("a request")).await;
            assert_eq!(taken.status, 202, "{taken:?}");
        }
    }
    until(&host, SUBSCRIPTION, "dead", json!(6)).await;
    for (path, list) in [("/v1/dead-letters", "dead_letters"), ("/v1/events", "events")] {
        let page = get(&host, path).await.json();
        let listed = page[list].as_array().expect("a list");
        assert_eq!(listed.len(), 6, "{path}");
        for entry in listed {
            let data = entry["event"]["data_base64"].as_str().expect("Base64");
            let data = STANDARD.decode(data).expect("Base64");
            assert!(all.iter().any(|sent| sent.as_bytes() == data), "{path}: {entry}");
        }
    }
}

#[tokio::test]
async fn dead_letters_are_counted_after_a_restart() {
    let mut host = consumer("").await;
    publish(&host, json!([hopeless("a"), hopeless("b")])).await;
    until(&host, SUBSCRIPTION, "dead", json!(2)).await;
    assert!(host.stop().await.success());
    host.start().await;
    until(&host, SUBSCRIPTION, "dead", json!(2)).await;
    assert_eq!(get(&host, SUBSCRIPTION).await.json()["given_up"], 0, "since the start");
}

#[tokio::test]
async fn a_dead_letter_of_a_replay_that_is_over_is_delivered_to_its_subscription() {
    let host = consumer_as(BROKEN).await;
    publish(&host, json!([hopeless("a")])).await;
    until(&host, SUBSCRIPTION, "dead", json!(1)).await;
    let replay = post(&host, &format!("{SUBSCRIPTION}/replay"), json!({"from": 1})).await.json();
    let replay = replay["subscription"].as_str().expect("a name").to_owned();
    let path = format!("/v1/dead-letters?subscription={}", replay.replace('>', "%3E"));
    let letter = eventually("it is given up again", async || {
        let page = get(&host, &path).await.json();
        Some(page["dead_letters"].as_array()?.first()?["id"].as_str()?.to_owned())
    })
    .await;
    eventually("the replay is over", async || {
        let list = get(&host, "/v1/subscriptions").await.json();
        (list["subscriptions"].as_array()?.len() == 1).then_some(())
    })
    .await;
    let gauge = |of: &str| {
        let of = format!("service=\"consumer\",subscription=\"{of}\"");
        format!("hotdock_subscription_dead_letters{{{of}}}")
    };
    let (_, of_replay) = replay.split_once('/').expect("a service and a name");
    host.until_metric(&gauge("test.>"), 1).await;
    host.until_metric(&gauge(of_replay), 1).await;
    host.until_logged("\"message\":\"dead letter\",\"service\":\"consumer\"").await;
    let reply = post(&host, &format!("/v1/dead-letters/{letter}/retry"), Value::Null).await;
    assert_eq!(reply.json(), json!({"subscription": "consumer/test.>"}));
    // Hopeless as it is, it comes back there.
    until(&host, SUBSCRIPTION, "dead", json!(2)).await;
    // Its name never comes again: it is not shown for good.
    assert!(!host.metrics().await.contains(&gauge(of_replay)), "{replay}");
}

#[tokio::test]
async fn dead_letters_that_were_dropped_after_a_replay_are_not_counted_once_their_service_is_gone()
{
    let host = consumer_as(BROKEN).await;
    publish(&host, json!([hopeless("a")])).await;
    until(&host, SUBSCRIPTION, "dead", json!(1)).await;
    post(&host, &format!("{SUBSCRIPTION}/replay"), json!({"from": 1})).await;
    let letters = async || {
        let page = get(&host, "/v1/dead-letters").await.json();
        let ids = page["dead_letters"].as_array().expect("a list").iter();
        ids.map(|letter| letter["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let series = async || {
        let metrics = host.metrics().await;
        let of_letters = |line: &&str| line.starts_with("hotdock_subscription_dead_letters{");
        let nonzero = metrics.lines().filter(of_letters).filter(|line| !line.ends_with(" 0"));
        nonzero.map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("it is given up again, and the replay over", async || {
        let list = get(&host, "/v1/subscriptions").await.json();
        let over = list["subscriptions"].as_array()?.len() == 1;
        (over && letters().await.len() == 2 && series().await.len() == 2).then_some(())
    })
    .await;
    for id in letters().await {
        assert_eq!(delete(&host, &format!("/v1/dead-letters/{id}")).await.status, 204);
    }
    assert_eq!(series().await, [""; 0]);
    assert_eq!(delete(&host, "/v1/services/consumer").await.status, 204);
    until(&host, SUBSCRIPTION, "state", json!("gone")).await;
    until(&host, SUBSCRIPTION, "dead", json!(0)).await;
    assert_eq!(series().await, [""; 0]);
}

#[tokio::test]
async fn dead_letters_of_a_replay_that_is_dropped_are_counted_for_as_long_as_they_are_there() {
    let slow = "[[subscribe]]\ntype = \"test.>\"\nconcurrency = 1\nattempts = 1000\n\
        backoff = { first = \"1h\", max = \"1h\" }\n";
    let host = consumer_as(slow).await;
    let stuck = event("b", json!([{"do": "fail", "times": 1_000}]));
    publish(&host, json!([hopeless("a"), stuck])).await;
    until(&host, SUBSCRIPTION, "dead", json!(1)).await;
    until(&host, SUBSCRIPTION, "held", json!(1)).await;
    let replay = post(&host, &format!("{SUBSCRIPTION}/replay"), json!({"from": 1})).await.json();
    let replay = replay["subscription"].as_str().expect("a name").to_owned();
    let path = format!("/v1/subscriptions/{}", replay.replace('>', "%3E"));
    until(&host, &path, "dead", json!(1)).await;
    until(&host, &path, "held", json!(1)).await;
    assert_eq!(delete(&host, &path).await.json(), json!({"held": 1}));
    let (_, of_replay) = replay.split_once('/').expect("a service and a name");
    let of = format!("service=\"consumer\",subscription=\"{of_replay}\"");
    let gauge = format!("hotdock_subscription_dead_letters{{{of}}}");
    host.until_metric(&gauge, 1).await;
    let page = get(&host, "/v1/dead-letters").await.json();
    let letters = page["dead_letters"].as_array().expect("a list");
    let of_the_replay = letters.iter().find(|letter| letter["subscription"] == replay.as_str());
    let id = of_the_replay.expect("its own")["id"].as_str().expect("an id");
    assert_eq!(delete(&host, &format!("/v1/dead-letters/{id}")).await.status, 204);
    assert!(!host.metrics().await.contains(&gauge), "it is not shown for good");
}

#[tokio::test]
async fn a_subscription_that_is_gone_lags_behind_nothing_that_it_never_wanted() {
    let host = consumer_as(BROKEN).await;
    let mut other = event("a", json!([]));
    other["type"] = json!("other.steps");
    publish(&host, json!([event("a", json!([{"do": "log", "key": "l", "text": "x"}]))])).await;
    until(&host, SUBSCRIPTION, "delivered", json!(1)).await;
    publish(&host, json!([other])).await;
    until(&host, SUBSCRIPTION, "position", json!(2)).await;
    assert_eq!(delete(&host, "/v1/services/consumer").await.status, 204);
    until(&host, SUBSCRIPTION, "state", json!("gone")).await;
    until(&host, SUBSCRIPTION, "lag", json!(0)).await;
}

#[tokio::test]
async fn a_dead_letter_that_nobody_subscribes_to_any_more_stays() {
    let host = consumer_as(BROKEN).await;
    publish(&host, json!([hopeless("a")])).await;
    until(&host, SUBSCRIPTION, "dead", json!(1)).await;
    let other = "[[subscribe]]\ntype = \"test.>\"\nname = \"other\"\n";
    host.drop_file("consumer.toml", other);
    host.until_version("consumer", 2).await;
    until(&host, SUBSCRIPTION, "state", json!("gone")).await;
    let retry = "/v1/dead-letters/consumer/1/retry";
    let reply = ask(&host, Method::POST, retry, Value::Null).await;
    refused(&reply, 409, "consumer/test.>, which no version that serves subscribes to");
    assert_eq!(get(&host, "/v1/dead-letters/consumer/1").await.status, 200);
    // The list of subscriptions knows it, too.
    until(&host, SUBSCRIPTION, "dead", json!(1)).await;
}

#[tokio::test]
async fn dead_letters_are_seen_also_when_their_service_is_gone() {
    let mut host = consumer_as(BROKEN).await;
    let well = |key: &str| event(key, json!([{"do": "log", "key": "l", "text": "x"}]));
    publish(&host, json!([hopeless("a"), hopeless("b"), well("c")])).await;
    until(&host, SUBSCRIPTION, "dead", json!(2)).await;
    until(&host, SUBSCRIPTION, "delivered", json!(1)).await;
    let gauge = "hotdock_subscription_dead_letters{service=\"consumer\",subscription=\"test.>\"}";
    let before = get(&host, "/v1/dead-letters").await.json();
    assert_eq!(before["dead_letters"].as_array().map(Vec::len), Some(2), "{before}");
    assert_eq!(delete(&host, "/v1/services/consumer").await.status, 204);
    until(&host, SUBSCRIPTION, "state", json!("gone")).await;
    // What it had finished is no lag of it, and what it gave up is there.
    until(&host, SUBSCRIPTION, "lag", json!(0)).await;
    for restarted in [false, true] {
        if restarted {
            host.kill();
            host.start().await;
        }
        until(&host, SUBSCRIPTION, "dead", json!(2)).await;
        host.until_metric(gauge, 2).await;
        assert_eq!(get(&host, "/v1/dead-letters").await.json(), before, "{restarted}");
        let one = get(&host, "/v1/dead-letters?service=consumer&limit=1").await.json();
        assert_eq!(one["next"], "consumer/1", "{one}");
        assert_eq!(get(&host, "/v1/dead-letters/consumer/2").await.status, 200);
        refused(&get(&host, "/v1/dead-letters/consumer/3").await, 404, "consumer/3");
        refused(&delete(&host, "/v1/dead-letters/consumer/1").await, 409, "is not deployed");
        let retry = ask(&host, Method::POST, "/v1/dead-letters/consumer/1/retry", Value::Null);
        refused(&retry.await, 409, "consumer/test.>");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_told_and_hides_no_others_dead_letters() {
    let (bytes, _) = component("consumer");
    let mut host = Host::builder()
        .file("consumer.wasm", bytes)
        .file("consumer.toml", BROKEN)
        .plugin("probe")
        .start()
        .await;
    publish(&host, json!([event("a", json!([{"do": "sql", "text": "row"}]))])).await;
    until(&host, SUBSCRIPTION, "dead", json!(1)).await;
    assert_eq!(host.post("/probe/upload?key=k", "x").await.status, 200);
    assert!(host.stop().await.success());
    std::fs::write(host.data().join("stores/probe.db"), [b'x'; 5000]).expect("written");
    host.start().await;
    host.post("/probe/upload?key=k", "x").await.problem(503, "store-unavailable");

    let page = get(&host, "/v1/dead-letters").await.json();
    assert_eq!(page["dead_letters"].as_array().map(Vec::len), Some(1), "{page}");
    let unread = &page["unread"][0];
    let reason = unread["reason"].as_str().expect("a reason");
    assert!(unread["service"] == "probe" && reason.contains("file is not a database"), "{page}");
    assert_eq!(get(&host, "/v1/dead-letters?service=probe").await.status, 503);
    let service = host.service("probe").await;
    let reason = service["store"].as_str().expect("a reason");
    assert!(
        service["state"] == "serving" && reason.contains("probe.db cannot be opened"),
        "{service}"
    );
    assert!(host.service("consumer").await["store"].is_null());
    let listed = hotdock(&host, &["events", "dead", "list"]);
    let told = String::from_utf8_lossy(&listed.stderr);
    assert!(listed.status.success() && told.contains("those of probe cannot be read"), "{told}");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("consumer/1"));
    let status = hotdock(&host, &["status"]);
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(status.contains("probe: what needs its store fails"), "{status}");
}
