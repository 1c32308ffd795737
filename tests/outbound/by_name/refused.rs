//! Requests by name that are refused at once.

use futures_util::future::join_all;

use super::super::{refusal, send};
use super::{probes, probes_with};
use crate::harness::client::Client;
use crate::harness::raw::Raw;
use crate::harness::{eventually, hello};

const DENIED: &str = "ErrorCode::HttpRequestDenied";

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_granted_or_not_there_is_refused_and_never_looked_up() {
    let host = probes(&["mirror", "absent"]).plugin("mirror").plugin("ledger").start().await;
    for (url, error) in [
        // Whether it is deployed or not.
        ("http://ledger.internal/ledger", DENIED),
        ("http://nobody.internal/", DENIED),
        ("http://Not_a_name.internal/", DENIED),
        // A name of more labels is somebody else's, and not granted here.
        ("http://a.mirror.internal/mirror", DENIED),
        ("https://mirror.internal/mirror", DENIED),
        ("http://mirror.internal:8080/mirror", DENIED),
        ("http://user@mirror.internal/mirror", DENIED),
        ("http://absent.internal/absent", "ErrorCode::DestinationNotFound"),
    ] {
        for parameters in ["", "&method=POST&body=hello"] {
            assert_eq!(refusal(&host, url, parameters).await, error, "{url}");
        }
    }
    // Any spelling of the name is the name.
    let answer = send(&host, "http://MIRROR.Internal.:80/mirror", "").await;
    assert_eq!(answer["status"], 200, "{answer}");
    for words in [
        "a request to http://ledger.internal is denied: write `calls = [\\\"ledger\\\"]`",
        "a request to http://mirror.internal:8080 is denied: a service of this host",
        "a request to http://absent.internal is refused: no service `absent` is deployed",
    ] {
        host.until_logged(words).await;
    }
    let labels = "{service=\"probe\",outcome=\"not-deployed\"}";
    host.until_metric(&format!("hotdock_outgoing_requests_total{labels}"), 2).await;
    // Once it is there it answers, without a new version of its caller.
    host.drop_file("absent.wasm", hello(1));
    host.until_version("absent", 1).await;
    let answer = send(&host, "http://absent.internal/absent", "").await;
    assert_eq!(answer["status"], 200, "{answer}");
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_the_network_is_none_for_a_service() {
    let host = super::super::probe(&["http://mirror.internal"]).plugin("mirror").start().await;
    assert_eq!(refusal(&host, "http://mirror.internal/mirror", "").await, DENIED);
    host.until_logged("`outbound` grants nothing under NAME.internal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_may_not_do_services_may_not_do_by_name() {
    let manifest = "[[route]]\npath = \"/mirror\"\nmethods = [\"GET\"]\nhost = \"shop.example\"\n";
    let host = probes(&["mirror"]).plugin_with("mirror", manifest).start().await;
    let status = async |path: &str, parameters: &str| {
        let sent = send(&host, &format!("http://mirror.internal{path}"), parameters).await;
        sent["status"].as_u64().unwrap_or_else(|| panic!("{sent}"))
    };
    // By its name it is there whatever the host that its routes are for.
    assert_eq!(status("/mirror/a", "").await, 200);
    assert_eq!(status("/elsewhere", "").await, 404);
    assert_eq!(status("/mirror", "&method=POST").await, 405);
    assert_eq!(status("/x/../mirror", "").await, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_could_be_undone_keeps_requests_by_name_back() {
    let host = probes(&["probe3"]).start().await;
    let url = "http://probe3.internal/probe3/increment?key=k";
    let error = refusal(&host, url, "&method=POST&set=a").await;
    assert!(error.contains("while writes are pending: commit first"), "{error}");
    let error = refusal(&host, url, "&method=POST&sql=1").await;
    assert!(error.contains("holds its store's writer"), "{error}");
    let value = host.get("/probe3/kv?op=get&key=k").await.json();
    assert!(value["value"].is_null(), "{value}");
    assert_eq!(send(&host, url, "&method=POST&set=a&commit=1").await["status"], 200);
    let value = host.get("/probe3/kv?op=get&key=k").await.json();
    assert_eq!(value["value"], "1");
}

/// So many requests, one within the other.
fn nested(times: usize) -> String {
    let relay = "/probe3/relay?url=http://probe3.internal";
    format!("{}/probe3/count", relay.repeat(times))
}

#[tokio::test(flavor = "multi_thread")]
async fn services_ask_one_another_sixteen_deep_and_no_deeper() {
    let host = probes_with(&["probe3"], "[limits]\ndeadline = \"1m\"\n").start().await;
    for client in [Client::new(), Client::h2c()] {
        for (depth, expected) in [(1, None), (16, None), (17, Some("LoopDetected"))] {
            let url = host.url(&nested(depth));
            let reply = client.try_request(http::Method::GET, &url, "").await.expect("an answer");
            match expected {
                None => assert_eq!(reply.status, 200, "{depth}: {reply:?}"),
                Some(error) => assert!(reply.text().contains(error), "{depth}: {reply:?}"),
            }
        }
    }
    host.until_logged("it would be number 17 in a row").await;
    let labels = "{service=\"probe3\",outcome=\"too-deep\"}";
    host.until_metric(&format!("hotdock_outgoing_requests_total{labels}"), 2).await;
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_has_no_room_tells_who_asks_by_name() {
    let limits = "[limits]\nconcurrency = 1\nqueue = 0\ndeadline = \"1m\"\n";
    let host = probes_with(&["probe3"], limits).start().await;
    let mut busy = Raw::connect(host.address).await;
    busy.send("GET /probe3/sleep?ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    eventually("it runs", async || {
        (host.service("probe3").await["serving"]["leases"] == 1).then_some(())
    })
    .await;
    let sent = send(&host, "http://probe3.internal/probe3/count", "").await;
    assert_eq!(sent["status"], 503, "{sent}");
    let problem = sent["body"].as_str().expect("text");
    assert!(problem.contains("urn:hotdock:problem:overloaded"), "{sent}");
    drop(busy);
    host.until_idle().await;
}

/// All permits are its callers', each of which waits for another.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_asks_itself_waits_for_no_permit_of_those_who_wait_for_it() {
    let limits = "[limits]\nconcurrency = 2\ndeadline = \"1m\"\n";
    let host = probes_with(&["probe", "probe3"], limits).start().await;
    let itself = host.url("/probe/send?url=http://probe.internal/probe/sleep?ms=20");
    for (client, url) in [
        (Client::new(), &itself),
        (Client::h2c(), &itself),
        (Client::new(), &host.url(&nested(5))),
        (Client::h2c(), &host.url(&nested(5))),
    ] {
        let asked = (0..8).map(|_| client.try_request(http::Method::GET, url, ""));
        for reply in join_all(asked).await {
            let reply = reply.expect("an answer");
            let is_there = reply.status == 200 && !reply.text().contains("error");
            assert!(is_there, "{url}: {reply:?}");
        }
    }
    host.until_idle().await;
}
