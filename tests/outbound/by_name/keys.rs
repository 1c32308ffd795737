//! Requests by name that change something: each takes effect once under its key.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;

use super::super::send;
use super::{header, probes, probes_with, seen};
use crate::harness::client::Client;
use crate::harness::{Host, component, eventually};

const INCREMENT: &str = "http://probe3.internal/probe3/increment?key=k";

async fn value(host: &Host) -> serde_json::Value {
    host.get("/probe3/kv?op=get&key=k").await.json()["value"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_by_name_is_answered_once_for_each_of_its_keys() {
    let host = probes(&["mirror", "probe3"]).plugin("mirror").start().await;
    let parameters = "&method=POST&headers=idempotency-key:mine";
    for repeated in [false, true] {
        let sent = send(&host, INCREMENT, parameters).await;
        assert_eq!((&sent["status"], &sent["body"]), (&200.into(), &"1".into()), "{sent}");
        assert_eq!(header(&sent, "idempotency-replayed").is_some(), repeated, "{sent}");
    }
    // A client's key is another, even where it says that it is a service and asks for the
    // same host.
    for (client, expected) in [(Client::new(), "2"), (Client::h2c(), "2")] {
        let request = Request::post(host.url("/probe3/increment?key=k"))
            .header("idempotency-key", "mine")
            .header("hotdock-caller", "probe")
            .body(Full::default());
        let reply = client.send(request.expect("a request")).await.expect("an answer");
        assert_eq!(reply.text(), expected, "{reply:?}");
    }
    // Another service's is another, too.
    let path = format!("/probe3/relay?url={INCREMENT}");
    assert_eq!(host.post(&path, "").await.status, 200);
    // What the host makes up is new for each invocation, and for each request of one.
    let before = value(&host).await;
    let sent = send(&host, INCREMENT, "&method=POST&times=2").await;
    for each in sent.as_array().expect("two answers") {
        assert_eq!(each["status"], 200, "{sent}");
        assert_eq!(header(each, "idempotency-replayed"), None, "{sent}");
    }
    let number = |value: &serde_json::Value| -> u64 {
        value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value}"))
    };
    assert_eq!(number(&value(&host).await), number(&before) + 2);
    let sent = send(&host, "http://mirror.internal/mirror", "&method=POST").await;
    let seen = seen(&sent);
    let key = header(&seen, "idempotency-key").expect("a key");
    assert!(key.ends_with("-1") && key.len() == 55, "{key}");
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_by_name_that_changes_something_is_as_large_as_what_is_kept() {
    let limits = "[limits]\nrequest-body = \"16MiB\"\nreplay-body = \"1MiB\"\n";
    let host = probes_with(&["probe3"], limits).start().await;
    let path = "/probe3/relay?url=http://probe3.internal/probe3/echo";
    for (length, status) in [(100, 200), (2 << 20, 413)] {
        let reply = host.request(Method::POST, path, "x".repeat(length)).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    // What changes nothing may be larger.
    let reply = host.request(Method::GET, path, "x".repeat(2 << 20)).await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 2 << 20));
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_asks_by_name_in_each_of_its_attempts_is_done_once() {
    let (probe3, _) = component("probe3");
    let host = Host::builder()
        .plugin_with("consumer", "[capabilities]\ncalls = [\"probe3\"]\n")
        .file("probe3.wasm", probe3)
        .start()
        .await;
    let asks =
        |times: u32| json!([{"do": "send", "url": INCREMENT}, {"do": "fail", "times": times}]);
    let events = json!([
        {"type": "test.steps", "key": "a", "data": asks(2)},
        {"type": "test.steps", "key": "a", "data": asks(0)},
        {"type": "test.steps", "key": "a", "data": [{"do": "count", "key": "done"}]},
    ]);
    assert_eq!(host.post("/consumer/publish", events.to_string()).await.status, 200);
    eventually("all events are handled", async || {
        let reply = host.get("/consumer/value?bucket=counts&key=done").await;
        (reply.status == 200).then_some(())
    })
    .await;
    assert_eq!(value(&host).await, "2", "once for each event");
    let labels = "{service=\"consumer\",outcome=\"sent-by-name\"}";
    host.until_metric(&format!("hotdock_outgoing_requests_total{labels}"), 4).await;
}

/// It cannot be run again at once, as it told another something; that is no failing of its.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_asked_another_and_conflicts_is_delivered_again_and_counts_no_attempt() {
    const EVENTS: u64 = 40;
    let (probe3, _) = component("probe3");
    let (consumer, _) = component("consumer");
    let manifest = "[capabilities]\ncalls = [\"probe3\"]\n\
        [[subscribe]]\ntype = \"test.>\"\nattempts = 1\n";
    let host = Host::builder()
        .file("consumer.toml", manifest)
        .file("consumer.wasm", consumer)
        .file("probe3.wasm", probe3)
        .start()
        .await;
    let steps = json!([
        {"do": "read", "key": "hot"},
        {"do": "send", "url": INCREMENT},
        {"do": "sleep", "ms": 20},
        {"do": "count", "key": "hot"},
    ]);
    let event = |key| json!({"type": "test.steps", "key": format!("{key}"), "data": steps});
    let events: Vec<_> = (0..EVENTS).map(event).collect();
    let published = host.post("/consumer/publish", json!(events).to_string()).await;
    assert_eq!(published.status, 200, "{published:?}");
    eventually("all events are handled", async || {
        let reply = host.get("/consumer/value?bucket=counts&key=hot").await;
        (reply.text() == EVENTS.to_string()).then_some(())
    })
    .await;
    assert_eq!(value(&host).await, EVENTS.to_string(), "once for each event");
    let conflicts = "hotdock_handler_runs_total{service=\"consumer\",outcome=\"conflict\"}";
    let metrics = host.metrics().await;
    let conflicted = metrics.lines().any(|line| {
        line.strip_prefix(conflicts).is_some_and(|count| count.trim().parse::<u64>() != Ok(0))
    });
    assert!(conflicted, "{metrics}");
}
