//! Requests by name that are broken off, by either side.

use super::super::{refusal, send};
use super::{probes, probes_with};
use crate::harness::raw::Raw;
use crate::harness::{Host, eventually};

const PATIENT: &str = "[limits]\ndeadline = \"2m\"\ncpu = \"2m\"\nconcurrency = 8\n";

/// How many leases a service has on its version.
async fn leases(host: &Host, service: &str) -> u64 {
    host.service(service).await["serving"]["leases"].as_u64().unwrap_or_default()
}

async fn until_running(host: &Host, service: &str) {
    let what = format!("{service} runs");
    eventually(&what, async || (leases(host, service).await > 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_ends_all_that_was_asked_for_it_by_name() {
    let host = probes_with(&["probe", "probe3"], PATIENT).start().await;
    for (caller, callee, path) in [
        ("probe", "probe3", "sleep?ms=100000"),
        ("probe", "probe3", "spin"),
        ("probe3", "probe", "sleep?ms=100000"),
        // After its head.
        ("probe3", "probe", "sse?n=100000&ms=1"),
        ("probe", "probe3", "sse?n=100000&ms=1"),
        ("probe3", "probe", "big?bytes=50000000"),
    ] {
        let path = path.replace('&', "%26");
        let url = format!("/{caller}/relay?url=http://{callee}.internal/{callee}/{path}");
        let mut client = Raw::connect(host.address).await;
        client.send(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        until_running(&host, callee).await;
        drop(client);
        host.until_idle().await;
    }
    for service in ["probe", "probe3"] {
        let labels = format!("{{service=\"{service}\"}}");
        host.until_metric(&format!("hotdock_permits_free{labels}"), 8).await;
        host.until_metric(&format!("hotdock_queue_length{labels}"), 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_ends_gives_up_what_it_asked_for() {
    let limits = "[limits]\ndeadline = \"300ms\"\n";
    let host = probes_with(&["probe3"], limits)
        .file("probe3.toml", "[limits]\ndeadline = \"2m\"\n")
        .start()
        .await;
    host.get("/probe/send?url=http://probe3.internal/probe3/sleep?ms=100000")
        .await
        .problem(504, "deadline");
    host.until_idle().await;
    let labels = "{service=\"probe3\",outcome=\"client-left\"}";
    host.until_metric(&format!("hotdock_requests_total{labels}"), 1).await;
    // Its answer that nobody reads is no more than the invocation is.
    let path = "/probe/send?url=http://probe3.internal/probe3/sse?n=100000%26ms=1&leak=1";
    assert_eq!(host.get(path).await.status, 200);
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_no_whole_one_to_who_asked_by_name() {
    let host = probes(&["probe"]).start().await;
    let answer = send(&host, "http://probe.internal/probe/trap-after", "").await;
    assert_eq!((&answer["status"], &answer["whole"]), (&200.into(), &false.into()), "{answer}");
    // Before its head it is a status, as it is to a client.
    let answer = send(&host, "http://probe.internal/probe/trap", "").await;
    assert_eq!(answer["status"], 502, "{answer}");
    assert!(answer["body"].as_str().is_some_and(|body| body.contains("urn:hotdock:problem")));
    let mut client = Raw::connect(host.address).await;
    let url = "/probe3/relay?url=http://probe.internal/probe/trap-after";
    client.send(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let (read, _) = client.read_to_reset().await;
    assert!(!read.ends_with("0\r\n\r\n"), "{read}");
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_by_name_whose_body_breaks_off_ends_there() {
    let host = probes_with(&["probe", "probe3"], PATIENT).start().await;
    for callee in ["probe", "probe3"] {
        let url = format!("/probe3/relay?url=http://{callee}.internal/{callee}/echo");
        let mut client = Raw::connect(host.address).await;
        let head = format!("GET {url} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
        client.send(head).await;
        client.send("part of a body").await;
        until_running(&host, callee).await;
        drop(client);
        host.until_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_may_want_an_answer_by_name_sooner() {
    let host = probes_with(&["probe3"], PATIENT).start().await;
    let url = "http://probe3.internal/probe3/sleep?ms=100000";
    let error = refusal(&host, url, "&first_byte_ms=100").await;
    assert_eq!(error, "ErrorCode::ConnectionReadTimeout");
    let url = "http://probe3.internal/probe3/sse?n=2%26ms=100000";
    let sent = send(&host, url, "&between_ms=100").await;
    assert_eq!((&sent["status"], &sent["whole"]), (&200.into(), &false.into()), "{sent}");
    host.until_idle().await;
}
