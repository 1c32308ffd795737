//! Handlers: what they see, and what stays of what they do.

use http::Method;
use serde_json::{Value, json};

use super::stores::{Stores, one};
use super::{consumer, event, publish, until_done, until_value, value};
use crate::deploy::operator::ask;
use crate::harness::{Host, eventually};
use crate::outbound::upstream::Upstream;

#[tokio::test]
async fn a_handler_sees_the_event_with_all_its_attributes() {
    let host = consumer("").await;
    let full = json!({
        "type": "test.seen", "id": "given", "subject": "orders/1", "time": "2026-01-02T03:04:05Z",
        "key": "k", "schema": "https://example.com/schema",
        "extensions": {"flag": true, "number": -7, "word": "w"},
        "data": [{"do": "seen"}],
    });
    let ids = publish(&host, json!([full, {"type": "test.bare", "data": [{"do": "seen"}]}])).await;
    assert_eq!(ids[0], "given");
    let seen = async |id: &str| -> Value {
        let seen = eventually("it was handled", async || value(&host, "seen", id).await).await;
        serde_json::from_str(&seen).expect("JSON")
    };
    let expected = json!({
        "id": "given", "source": "/services/consumer", "type": "test.seen", "subject": "orders/1",
        "time": "2026-01-02T03:04:05Z", "datacontenttype": null,
        "dataschema": "https://example.com/schema", "key": "k",
        "extensions": [
            "flag ExtensionValue::Boolean(true)",
            "number ExtensionValue::Integer(-7)",
            "sequence ExtensionValue::Text(\"00000000000000000001\")",
            "word ExtensionValue::Text(\"w\")",
        ],
        "subscription": "test.>", "position": 1, "attempt": 1,
    });
    assert_eq!(seen("given").await, expected);
    // What the publisher leaves out, the host fills in.
    let bare = seen(&ids[1]).await;
    assert_eq!(bare["position"], 2);
    assert!(bare["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{bare}");
    assert_eq!(ids[1].len(), 36, "a UUID");
}

#[tokio::test]
async fn all_that_a_handler_did_stays() {
    let host = consumer("").await;
    let follow_up = event("k", json!([{"do": "count", "key": "followed"}]));
    let steps = json!([
        {"do": "count", "key": "handled"},
        {"do": "sql", "text": "row"},
        {"do": "publish", "events": [follow_up]},
    ]);
    let ids = publish(&host, json!([event("k", steps)])).await;
    until_value(&host, "counts", "followed", "1").await;
    assert_eq!(value(&host, "counts", "handled").await.as_deref(), Some("1"));
    let effects = host.get("/consumer/effects").await.text();
    assert_eq!(effects.matches(&format!("{} row", ids[0])).count(), 1, "{effects}");
}

#[tokio::test]
async fn nothing_stays_of_a_handler_that_did_not_return_ok() {
    let host = consumer("[limits]\ncpu = \"50ms\"\ndeadline = \"700ms\"\n").await;
    let ends = [
        json!({"do": "retry", "reason": "not now"}),
        json!({"do": "reject", "reason": "not ever"}),
        json!({"do": "trap"}),
        json!({"do": "spin"}),
        json!({"do": "sleep", "ms": 60_000}),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let key = format!("k{number}");
        let follow_up = event("f", json!([{"do": "count", "key": "followed"}]));
        for sql in [false, true] {
            let mut steps = vec![
                json!({"do": "count", "key": "handled"}),
                json!({"do": "publish", "events": [follow_up]}),
            ];
            steps.extend(sql.then(|| json!({"do": "sql", "text": "row"})));
            steps.push(end.clone());
            publish(&host, json!([event(&key, Value::Array(steps))])).await;
        }
        until_done(&host, &key).await;
        until_done(&host, "f").await;
        assert_eq!(value(&host, "counts", "handled").await, None, "{end}");
        assert_eq!(value(&host, "counts", "followed").await, None, "{end}");
        assert_eq!(host.get("/consumer/effects").await.text(), "[]", "{end}");
    }
    host.until_idle().await;
    let runs = "hotdock_handler_runs_total{service=\"consumer\",outcome";
    host.until_metric(&format!("{runs}=\"rejected\"}}"), 2).await;
    host.until_metric(&format!("{runs}=\"no-answer\"}}"), 0).await;
}

#[tokio::test]
async fn a_delivery_in_which_the_host_panics_is_an_attempt_that_failed() {
    let failpoint = std::path::Path::new("in a delivery=1");
    let host = Host::builder().plugin("consumer").environment("HOTDOCK_FAILPOINT", failpoint);
    let host = host.start().await;
    let steps = json!([{"do": "count", "key": "handled"}, {"do": "seen"}]);
    let ids = publish(&host, json!([event("k", steps)])).await;
    let seen = eventually("it is handled", async || value(&host, "seen", &ids[0]).await).await;
    let seen: Value = serde_json::from_str(&seen).expect("JSON");
    assert_eq!(seen["attempt"], 2, "{seen}");
    assert_eq!(value(&host, "counts", "handled").await.as_deref(), Some("1"));
    // What it held is given back: the key, and all places there are.
    let steps = json!([{"do": "count", "key": "after"}]);
    publish(&host, Value::Array(vec![event("k", steps); 40])).await;
    until_value(&host, "counts", "after", "40").await;
    host.until_idle().await;
}

#[tokio::test]
async fn a_settlement_in_which_the_host_panics_is_made_again() {
    let failpoint = std::path::Path::new("in a settlement=1");
    let host = Host::builder().plugin("consumer").environment("HOTDOCK_FAILPOINT", failpoint);
    let host = host.start().await;
    let steps = json!([{"do": "fail", "times": 1}, {"do": "count", "key": "handled"}]);
    publish(&host, json!([event("k", steps)])).await;
    until_value(&host, "counts", "handled", "1").await;
    host.until_idle().await;
}

#[tokio::test]
async fn data_that_cannot_be_read_is_rejected_and_holds_nobody_up() {
    let host = consumer("").await;
    publish(&host, json!([event("k", json!({"no": "steps"}))])).await;
    until_done(&host, "k").await;
}

#[tokio::test]
async fn a_retried_event_is_handled_again_and_its_key_waits_for_it() {
    let host = consumer("").await;
    let steps = json!([{"do": "fail", "times": 2}, {"do": "log", "key": "k", "text": "a"}]);
    let later = json!([{"do": "log", "key": "k", "text": "b"}]);
    publish(&host, json!([event("k", steps), event("k", later)])).await;
    until_value(&host, "logs", "k", "a b ").await;
}

#[tokio::test]
async fn events_of_a_key_are_handled_in_their_order_and_conflicts_lose_nothing() {
    const EVENTS: usize = 40;
    let host = consumer("").await;
    let events: Vec<Value> = (0..EVENTS)
        .map(|number| {
            let key = format!("k{}", number % 4);
            let times = u32::from(number % 5 == 0);
            let steps = json!([
                {"do": "fail", "times": times},
                {"do": "log", "key": key, "text": number.to_string()},
                {"do": "count", "key": "all"},
            ]);
            event(&key, steps)
        })
        .collect();
    publish(&host, Value::Array(events)).await;
    until_value(&host, "counts", "all", &EVENTS.to_string()).await;
    for key in 0..4 {
        let expected: String = (0..EVENTS)
            .filter(|number| number % 4 == key)
            .map(|number| format!("{number} "))
            .collect();
        assert_eq!(value(&host, "logs", &format!("k{key}")).await, Some(expected));
    }
}

#[tokio::test]
async fn a_delivery_is_not_committed_before_its_end() {
    let host = consumer("").await;
    let steps = json!([{"do": "count", "key": "k"}, {"do": "commit"}]);
    publish(&host, json!([event("k", steps)])).await;
    until_done(&host, "k").await;
    let told = value(&host, "seen", "commit").await.expect("the handler was told");
    assert!(told.starts_with("Err(Error::Refused(\"a delivery is not committed"), "{told}");
    assert_eq!(value(&host, "counts", "k").await.as_deref(), Some("1"), "it went on");
}

#[tokio::test]
async fn a_handlers_request_has_the_same_idempotency_key_in_every_attempt() {
    let upstream = Upstream::start().await;
    let url = format!("http://{}/", upstream.address);
    let origin = format!("[capabilities]\noutbound = [\"{}\"]\n", url.trim_end_matches('/'));
    let host = Host::builder()
        .plugin_with("consumer", &origin)
        .argument("--outbound-allow-private=127.0.0.0/8")
        .start()
        .await;
    let steps = |times: u32| json!([{"do": "send", "url": url}, {"do": "fail", "times": times}]);
    let mut keys = Vec::new();
    for (times, attempts) in [(2, 3), (0, 1)] {
        publish(&host, json!([event("k", steps(times))])).await;
        until_done(&host, "k").await;
        let seen = upstream.seen().split_off(keys.len());
        assert_eq!(seen.len(), attempts);
        let sent: Vec<_> =
            seen.iter().map(|seen| seen.headers["idempotency-key"].clone()).collect();
        assert!(sent.iter().all(|key| *key == sent[0]), "{sent:?}");
        assert!(!keys.contains(&sent[0]), "another event's");
        keys.extend(sent);
    }
}

#[tokio::test]
async fn a_handler_that_always_conflicts_with_what_it_does_itself_is_given_up() {
    let host = consumer("[capabilities]\ncalls = [\"consumer\"]\n").await;
    // What it has read is written by its own request before it ends, each time.
    let url = "http://consumer.internal/consumer/end?key=k&commit=true&then=trap";
    let steps = json!([
        {"do": "read", "bucket": "end", "key": "k"},
        {"do": "send", "url": url},
        {"do": "count", "key": "handled"},
    ]);
    publish(&host, json!([event("k", steps)])).await;
    until_done(&host, "k").await;
    assert_eq!(value(&host, "counts", "handled").await, None);
    let letters = ask(&host, Method::GET, "/v1/dead-letters", Value::Null).await.json();
    let reason = letters["dead_letters"][0]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("3 attempts failed; the last: "), "{reason}");
    assert!(
        reason.contains("conflicts with others") && reason.contains("20 deliveries"),
        "{reason}"
    );
    // Each was run, and no more than that.
    let runs = "hotdock_handler_runs_total{service=\"consumer\",outcome=\"conflict\"}";
    host.until_metric(runs, 60).await;
}

#[tokio::test]
async fn a_handler_that_awaits_does_all_of_it_and_what_it_leaves_behind_writes_nothing() {
    let host = Host::builder().plugin("consumer").plugin("consumer3").start().await;
    let events = ["test3.wait", "test3.retry", "test3.late", "test3.trap", "test3.what"];
    let events: Vec<Value> =
        events.iter().map(|name| json!({"type": name, "key": name, "data": []})).collect();
    publish(&host, Value::Array(events)).await;
    for done in ["test3.wait", "test3.retry", "test3.late"] {
        until_value(&host, "counts", done, "1").await;
    }
    host.until_logged("late: Err(Host(Error::Answered))").await;
    host.until_idle().await;
    for undone in ["late", "test3.trap", "test3.what"] {
        assert_eq!(value(&host, "counts", undone).await, None);
    }
    // It takes no requests, so it has no route.
    assert_eq!(host.service("consumer3").await["serving"]["routes"], json!([]));
    host.get("/consumer3").await.problem(404, "no-route");
}

#[tokio::test]
async fn what_waits_for_its_turn_does_not_begin_when_the_host_stops() {
    let limits = "[limits]\nconcurrency = 1\n";
    let host = Host::builder().plugin_with("consumer", limits).argument("--drain=10m");
    let mut host = host.start().await;
    let steps = json!([{"do": "seen"}, {"do": "sleep", "ms": 100}, {"do": "sql", "text": "row"}]);
    let events: Vec<Value> = (0..40).map(|key| event(&key.to_string(), steps.clone())).collect();
    let ids = publish(&host, Value::Array(events)).await;
    host.until_metric("hotdock_permits_free{service=\"consumer\"}", 0).await;
    assert!(host.stop().await.success());
    let stores = Stores::at(&host.data());
    let rows = || one::<u64>(&stores.store("consumer"), "SELECT count(*) FROM effects");
    assert!(rows() < 40, "all of them were waited for");
    host.start().await;
    eventually("each had its effect", async || (rows() >= 40).then_some(())).await;
    assert_eq!(rows(), 40);
    for id in ids {
        let seen = value(&host, "seen", &id).await.expect("it was handled");
        assert!(seen.contains("\"attempt\":1"), "{seen}");
    }
}
