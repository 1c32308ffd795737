//! A callee that fails, or cannot be reached, costs its caller no more than that call.

use futures_util::future::join_all;
use http::Method;
use serde_json::json;

use super::{asked, both, both_with, clients, get, post};
use crate::harness::{Client, Host, component, eventually};

/// A callee with little time.
const SHORT: &str = "[limits]\ndeadline = \"1s\"\ncpu = \"20ms\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_callee_that_traps_or_takes_too_long_is_an_error_where_the_type_has_one() {
    let host = both_with(SHORT).start().await;
    for (how, why) in [
        ("trap", "it failed; the host's log says why"),
        ("spin", "used its CPU time of 20ms up"),
        ("wait", "did not answer within 1s"),
    ] {
        for (version, client) in clients() {
            let path = format!("/relay/end?how={how}&by=words");
            let answer = asked(&host, &client, Method::POST, &path).await;
            let error = answer["error"].as_str().expect("an error");
            let named = "test:calls/work@1.0.0 end-in-words of service callee: ";
            assert!(error.starts_with(named) && error.contains(why), "{version} {how}: {error}");
            let path = format!("/relay/end?how={how}&by=case");
            let answer = asked(&host, &client, Method::POST, &path).await;
            let error = answer["error"].as_str().expect("an error");
            assert!(error.starts_with("unavailable: ") && error.contains(why), "{how}: {error}");
            let path = host.url(&format!("/relay/end?how={how}"));
            let reply = client.try_request(Method::POST, &path, "").await.expect("an answer");
            reply.problem(502, "failed");
        }
    }
    let log = host.log();
    for text in ["a call failed", "\"callee\":\"callee\"", "end-in-words", "the callee was asked"] {
        assert!(log.contains(text), "{text}: {log}");
    }
    let answer = post(&host, "/relay/end?how=other&by=case").await;
    assert_eq!(answer, json!({ "error": "other 7" }), "an error of the callee's own");
    assert_eq!(get(&host, "/relay/add?one=1&other=1").await, 2);
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_with_its_callers_deadline_and_with_its_callers_client() {
    let relay = component("relay").1.expect("its manifest");
    let host = Host::builder()
        .plugin("callee")
        .file("relay.wasm", component("relay").0)
        .file("relay.toml", format!("[limits]\ndeadline = \"300ms\"\n{relay}"))
        .start()
        .await;
    for (version, client) in clients() {
        let url = host.url("/relay/end?how=wait");
        let reply = client.try_request(Method::POST, &url, "").await.expect("an answer");
        assert!(reply.status == 504 || reply.status == 502, "{version}: {reply:?}");
        host.until_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_an_error_at_once() {
    let callee = "[limits]\nconcurrency = 1\nqueue = 0\ndeadline = \"60s\"\n";
    let relay = component("relay").1.expect("its manifest");
    let host = Host::builder()
        .plugin_with("callee", callee)
        .file("relay.wasm", component("relay").0)
        .file("relay.toml", format!("[limits]\ndeadline = \"60s\"\n{relay}"))
        .start()
        .await;
    let waits = tokio::spawn({
        let (client, url) = (Client::h2c(), host.url("/relay/end?how=wait"));
        async move { client.try_request(Method::POST, &url, "").await }
    });
    eventually("it runs", async || {
        let leases = host.service("callee").await["serving"]["leases"].as_u64();
        (leases == Some(1)).then_some(())
    })
    .await;
    let answer = post(&host, "/relay/end?how=&by=words").await;
    let error = answer["error"].as_str().expect("an error");
    assert!(error.contains("its queue is full: 1 invocations run and 0 wait"), "{error}");
    // Its client leaves, and so does the call.
    waits.abort();
    eventually("there is room again", async || {
        let answer = post(&host, "/relay/end?how=&by=words").await;
        (answer == json!({ "ok": 0 })).then_some(())
    })
    .await;
    host.until_idle().await;
}

/// Both are over at the same moment, and whichever is seen first.
#[tokio::test(flavor = "multi_thread")]
async fn a_callee_that_outlasts_its_caller_is_the_callers_deadline_and_no_trap() {
    let relay = component("relay").1.expect("its manifest");
    let builder = Host::builder().plugin("callee").file("relay.wasm", component("relay").0);
    let relay = format!("[limits]\ndeadline = \"300ms\"\n{relay}");
    let host = builder.file("relay.toml", relay).start().await;
    for (version, client) in clients() {
        for _ in 0..10 {
            let url = host.url("/relay/end?how=wait&by=");
            let reply = client.try_request(Method::POST, &url, "").await.expect("an answer");
            assert_eq!(reply.status, 504, "{version}: {reply:?}");
        }
    }
    host.until_idle().await;
}

/// All permits are its callers', each of which waits for another.
#[tokio::test(flavor = "multi_thread")]
async fn calls_in_a_circle_wait_for_no_permit_of_those_who_wait_for_them() {
    let relay = component("relay").1.expect("its manifest");
    let relay = format!("[limits]\nconcurrency = 2\ndeadline = \"1m\"\n{relay}");
    let builder = Host::builder().plugin("callee").file("relay.wasm", component("relay").0);
    let host = builder.file("relay.toml", relay).start().await;
    for (version, client) in clients() {
        let calls = (0..8).map(|_| asked(&host, &client, Method::GET, "/relay/down?left=5"));
        for answer in join_all(calls).await {
            assert_eq!(answer, json!({ "ok": 5 }), "{version}");
        }
    }
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_sixteen_deep_and_no_deeper() {
    let host = both().start().await;
    for (version, client) in clients() {
        let answer = asked(&host, &client, Method::GET, "/relay/down?left=15").await;
        assert_eq!(answer, json!({ "ok": 15 }), "{version}");
        let answer = asked(&host, &client, Method::GET, "/relay/down?left=16").await;
        let error = answer["error"].as_str().expect("an error");
        assert!(error.contains("calls are 16 deep already"), "{version}: {error}");
    }
    host.until_idle().await;
}
