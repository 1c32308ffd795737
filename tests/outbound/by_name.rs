//! Requests from one service to another, `http://NAME.internal`.

mod broken;
mod keys;
mod refused;
mod swapped;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::harness::client::Client;
use crate::harness::host::Builder;
use crate::harness::raw::Raw;
use crate::harness::{Host, component};

/// A host with both probes, each of which may call these services.
fn probes(calls: &[&str]) -> Builder {
    probes_with(calls, "")
}

/// The same with more in their manifests, before everything else.
fn probes_with(calls: &[&str], manifest: &str) -> Builder {
    let granted = format!("[capabilities]\ncalls = {calls:?}\n");
    let (wasm, beside) = component("probe");
    let beside = beside.expect("the probe's manifest");
    assert!(beside.contains("[capabilities]\n"));
    let probe = format!("{manifest}\n{}", beside.replace("[capabilities]\n", &granted));
    let (wasm3, _) = component("probe3");
    Host::builder()
        .file("probe.wasm", wasm)
        .file("probe.toml", probe)
        .file("probe3.wasm", wasm3)
        .file("probe3.toml", format!("{manifest}\n{granted}"))
}

/// What the mirror says it saw of a header; `None` where there was none.
fn header<'a>(seen: &'a Value, name: &str) -> Option<&'a str> {
    let headers = seen["headers"].as_array().expect("headers");
    headers.iter().find(|header| header[0] == name).and_then(|header| header[1].as_str())
}

/// What the mirror saw of a request that a probe sent.
fn seen(sent: &Value) -> Value {
    assert_eq!(sent["status"], 200, "{sent}");
    serde_json::from_str(sent["body"].as_str().expect("text")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_asks_another_by_name_and_says_who_it_is() {
    let host = probes(&["mirror"]).plugin("mirror").start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for client in [Client::new(), Client::h2c()] {
        // A service may not speak for its clients, or for another service.
        let claims = "forwarded:for=1.2.3.4,x-forwarded-for:1.2.3.4,hotdock-caller:cart,x-mine:1,\
                      expect:100-continue,hotdock_caller:cart,x_forwarded_for:1.2.3.4,\
                      x-forwarded_proto:https,x-forwarded-port:1,x_forwarded_prefix:shop";
        let url =
            format!("http://mirror.internal/mirror/a?q=1&method=POST&body=hello&headers={claims}");
        let request = Request::get(host.url(&format!("/probe/send?url={url}")))
            .header("traceparent", trace)
            .body(Full::default())
            .expect("a request");
        let reply = client.send(request).await.expect("an answer");
        let seen = seen(&reply.json());
        assert_eq!(seen["method"], "POST");
        assert_eq!(seen["path_with_query"], "/mirror/a?q=1");
        assert_eq!(seen["body"], "hello");
        assert_eq!(header(&seen, "host"), Some("mirror.internal"));
        assert_eq!(header(&seen, "hotdock-caller"), Some("probe"));
        assert_eq!(header(&seen, "x-mine"), Some("1"));
        assert_eq!(header(&seen, "traceparent"), Some(trace), "{seen}");
        assert!(header(&seen, "idempotency-key").is_some(), "{seen}");
        for name in [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded_proto",
            "x_forwarded_for",
            "x_forwarded_prefix",
            "hotdock_caller",
            "expect",
        ] {
            assert_eq!(header(&seen, name), None, "{seen}");
        }
        // And by 0.3, whose own trace goes before its invocation's.
        let url = host.url("/probe3/relay?url=http://mirror.internal/mirror");
        let request = Request::get(url).header("traceparent", trace).body(Full::default());
        let reply = client.send(request.expect("a request")).await.expect("an answer");
        let seen = reply.json();
        assert_eq!(header(&seen, "hotdock-caller"), Some("probe3"), "{seen}");
        assert_eq!(header(&seen, "traceparent"), Some(trace), "{seen}");
        assert_eq!(header(&seen, "idempotency-key"), None, "{seen}");
    }
    for service in ["probe", "probe3"] {
        let labels = format!("{{service=\"{service}\",outcome=\"sent-by-name\"}}");
        host.until_metric(&format!("hotdock_outgoing_requests_total{labels}"), 2).await;
    }
    host.until_metric(r#"hotdock_requests_total{service="mirror",outcome="answered"}"#, 4).await;
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_passes_for_a_service() {
    let settings = "[http]\ntrust-forwarded = [\"127.0.0.1\"]\n";
    for settings in ["", settings] {
        let host = Host::builder().plugin("mirror").settings(settings).start().await;
        for client in [Client::new(), Client::h2c()] {
            let request = Request::get(host.url("/mirror"))
                .header("hotdock-caller", "cart")
                .header("Hotdock-Caller", "order")
                .body(Full::default());
            let reply = client.send(request.expect("a request")).await.expect("an answer");
            assert_eq!(header(&reply.json(), "hotdock-caller"), None, "{reply:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_go_both_ways_by_name_as_they_come() {
    let host = probes(&["mirror", "probe3"]).plugin("mirror").start().await;
    let body = "0123456789".repeat(60_000);
    for client in [Client::new(), Client::h2c()] {
        let asked = async |path: &str| {
            let request = Request::get(host.url(path)).body(Full::from(body.clone()));
            let reply = client.send(request.expect("a request")).await.expect("an answer");
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
            reply
        };
        let reply = asked("/probe3/relay?url=http://probe3.internal/probe3/echo").await;
        assert!(reply.text() == body, "{} bytes", reply.body.len());
        // It writes all of it before it reads anything, so whom it asks has to read all, too.
        let reply = asked("/probe/relay?url=http://mirror.internal/mirror").await;
        assert!(reply.json()["body"] == body, "{} bytes", reply.body.len());
    }
    // Before the request's end: only 0.3 can answer while it reads.
    let mut client = Raw::connect(host.address).await;
    let path = "/probe3/relay?url=http://probe3.internal/probe3/echo";
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(head).await;
    client.send("5\r\nfirst\r\n").await;
    client.until("first").await;
    client.send("6\r\nsecond\r\n").await;
    client.until("second").await;
    client.send("0\r\n\r\n").await;
    client.until("0\r\n\r\n").await;
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_go_both_ways_by_name() {
    let host = probes(&["probe", "probe3"]).start().await;
    let client = Legacy::builder(TokioExecutor::new()).http2_only(true).build_http();
    for callee in ["probe", "probe3"] {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "42".parse().expect("a value"));
        // What only a head may say doesn't, and no client says who it is by this.
        trailers.insert("x-forwarded-for", "192.0.2.1".parse().expect("a value"));
        trailers.insert("hotdock-caller", "cart".parse().expect("a value"));
        trailers.insert("hotdock_caller", "cart".parse().expect("a value"));
        let frames: [Result<Frame<Bytes>, std::io::Error>; 2] =
            [Ok(Frame::data(Bytes::from_static(b"body"))), Ok(Frame::trailers(trailers))];
        let path = format!("/probe3/relay?url=http://{callee}.internal/{callee}/echo");
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let request = Request::get(host.url(&path)).body(body).expect("a request");
        let response = client.request(request).await.expect("a head");
        let body = response.into_body().collect().await.expect("a body");
        let trailers = body.trailers().unwrap_or_else(|| panic!("{callee}: trailers"));
        assert_eq!(trailers["x-sum"], "42", "{callee}");
        assert_eq!(trailers.len(), 1, "{callee}: {trailers:?}");
        assert_eq!(body.to_bytes(), "body");
    }
    host.until_idle().await;
}
