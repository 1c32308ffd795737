//! `POST /events` of both listeners.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::harness::raw::Raw;
use crate::harness::wire::{Asked, Came};
use crate::harness::{Client, Host, Reply, component};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/tests","type":"a.b"}"#;

async fn post(host: &Host, url: &str, content_type: &str, body: String) -> Reply {
    let request = Request::post(url).header("content-type", content_type);
    host.send(request.body(Full::new(Bytes::from(body))).expect("a request")).await
}

fn event(id: u32, event_type: &str) -> String {
    json!({"specversion": "1.0", "id": id.to_string(), "source": "/tests", "type": event_type})
        .to_string()
}

#[tokio::test]
async fn the_admin_listener_takes_events_of_every_type_once() {
    let host = Host::builder().start().await;
    let url = host.admin_url("/events");
    let batch = format!("[{},{}]", event(1, "a.b"), event(2, "shop.order.placed"));
    let taken = post(&host, &url, BATCH, batch).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    assert_eq!(taken.json(), json!({"accepted": 2, "repeated": 0}));
    let repeated = post(&host, &url, STRUCTURED, event(1, "a.b")).await;
    assert_eq!(repeated.json(), json!({"accepted": 0, "repeated": 1, "repeats": [0]}));
    let binary = Request::post(&url)
        .header("ce-specversion", "1.0")
        .header("ce-id", "3")
        .header("ce-source", "/tests")
        .header("ce-type", "a.b")
        .header("content-type", "text/plain")
        .body(Full::new(Bytes::from_static(b"data")));
    let binary = host.send(binary.expect("a request")).await;
    assert_eq!(binary.json(), json!({"accepted": 1, "repeated": 0}));

    // The same event by HTTP/2, where nobody took the blanks away that are none of the values.
    let padded = Request::post(&url)
        .header("ce-specversion", " 1.0 ")
        .header("ce-id", " 3\t")
        .header("ce-source", "/tests ")
        .header("ce-type", " a.b")
        .header("content-type", " text/plain ")
        .body(Full::new(Bytes::from_static(b"data")));
    let padded = Client::h2c().send(padded.expect("a request")).await.expect("an answer");
    assert_eq!(padded.json(), json!({"accepted": 0, "repeated": 1, "repeats": [0]}));

    let wrong = format!("[{},{}]", event(4, "a.b"), event(5, ""));
    let wrong = post(&host, &url, BATCH, wrong).await;
    assert_eq!(wrong.problem(400, "invalid-event"), "event 1: type: must not be empty");
    assert_eq!((&wrong.json()["attribute"], &wrong.json()["index"]), (&json!("type"), &json!(1)));
    let format = post(&host, &url, "application/cloudevents+avro", String::new()).await;
    format.problem(415, "unsupported-media-type");
    // Refused by its length: nothing of the body is waited for.
    let mut large = Raw::connect(host.admin).await;
    let length = (4 << 20) + 1;
    let head = format!("content-type: {STRUCTURED}\r\ncontent-length: {length}\r\n");
    large.send(format!("POST /events HTTP/1.1\r\nhost: localhost\r\n{head}\r\n")).await;
    assert!(large.until("\r\n").await.contains(" 413 "));
    let get = Request::get(&url).body(Full::default()).expect("a request");
    assert_eq!(host.send(get).await.status, 405);
}

/// A client that holds its body back is not told to send what is not taken.
#[tokio::test]
async fn what_a_head_says_is_refused_before_the_body_is_asked_for() {
    let host = Host::builder().settings("[events]\naccept = [\"a.b\"]\n").start().await;
    for address in [host.address, host.admin] {
        for (fields, status) in [
            ("Content-Type: application/cloudevents+avro", 415),
            ("Content-Type: application/cloudevents+json\r\nContent-Encoding: gzip", 415),
            ("Content-Type: application/json", 400),
        ] {
            let mut raw = Raw::connect(address).await;
            raw.send(format!(
                "POST /events HTTP/1.1\r\nHost: localhost\r\n{fields}\r\nExpect: 100-continue\r\n\
                 Content-Length: 5\r\n\r\n"
            ))
            .await;
            let head = raw.until("\r\n\r\n").await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}: {head}");
        }
    }
}

#[tokio::test]
async fn the_public_listener_takes_what_the_operator_opened() {
    let host = Host::builder()
        .settings("[events]\naccept = [\"shop.external.*\"]\nmax-body = \"1KiB\"\n")
        .start()
        .await;
    let url = host.url("/events");
    let taken = post(&host, &url, STRUCTURED, event(1, "shop.external.paid")).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    let batch = format!("[{},{}]", event(2, "shop.external.paid"), event(3, "shop.order.placed"));
    let refused = post(&host, &url, BATCH, batch).await;
    let detail = refused.problem(403, "type-not-taken");
    assert_eq!(detail, "events of type shop.order.placed are not taken here");
    post(&host, &url, STRUCTURED, " ".repeat(1025)).await.problem(413, "body-too-large");
    let other = host.get("/events").await;
    other.problem(405, "method-not-allowed");
    assert_eq!(other.header("allow"), "POST");
    host.get("/other").await.problem(404, "no-route");
}

#[tokio::test]
async fn the_public_listener_takes_nothing_by_default() {
    let host = Host::builder().start().await;
    let answer = post(&host, &host.url("/events"), STRUCTURED, event(1, "a.b")).await;
    answer.problem(404, "no-route");
}

#[tokio::test]
async fn a_full_bus_refuses_events_and_keeps_those_it_took() {
    // All that one source may have of it, which is not all of it.
    let settings = "[events]\nmax-bytes = \"64KiB\"\nmax-bytes-per-source = \"64KiB\"\n";
    let host = Host::builder().settings(settings).start().await;
    let url = host.admin_url("/events");
    let mut taken = 0;
    let refused = loop {
        let reply = post(&host, &url, STRUCTURED, event(taken, "a.b")).await;
        if reply.status != 202 {
            break reply;
        }
        taken += 1;
    };
    let detail = "the bus has no room for more events that come in here ([events] max-bytes and \
                  max-bytes-per-source)";
    assert_eq!(refused.problem(503, "bus-full"), detail);
    assert_eq!(refused.header("retry-after"), "1");
    let batch = format!("[{},{}]", event(0, "a.b"), event(1, "a.b"));
    let known = post(&host, &url, BATCH, batch).await;
    let repeats = json!({"accepted": 0, "repeated": 2, "repeats": [0, 1]});
    assert_eq!(known.json(), repeats, "what it has takes no room");
    host.until_metric("hotdock_bus_events", taken.into()).await;
    host.until_metric("hotdock_bus_full", 1).await;
    let reason = "hotdock_intake_refused_total{listener=\"admin\",reason=\"bus-full\"}";
    host.until_metric(reason, 1).await;
}

#[tokio::test]
async fn anybodys_event_does_not_make_the_operators_a_repeat() {
    let host = Host::builder()
        .settings("[events]\naccept = [{ type = \"shop.*\", source = [\"/till\", \"/tills/*\"] }, \"a.b\"]\n")
        .start()
        .await;
    for (number, client) in [Client::new(), Client::h2c()].into_iter().enumerate() {
        let send = async |url: &str, content_type: &str, body: String| {
            let request = Request::post(url).header("content-type", content_type);
            client.send(request.body(Full::new(body.into())).expect("a request")).await
        };
        let event = |event_type: &str, source: &str, extension: &str| {
            format!(
                r#"{{"specversion":"1.0","id":"order-{number}","source":"{source}","type":"{event_type}"{extension}}}"#
            )
        };
        let public = host.url("/events");
        let good = event("shop.paid", "/till", "");
        let taken = send(&public, STRUCTURED, good.clone()).await.expect("an answer");
        assert_eq!((taken.status.as_u16(), &taken.json()["accepted"]), (202, &json!(1)));
        let batch = format!("[{},{good},{good}]", event("shop.paid", "/tills/7", ""));
        let again = send(&public, BATCH, batch).await.expect("an answer");
        assert_eq!(again.json(), json!({"accepted": 1, "repeated": 2, "repeats": [1, 2]}));
        // The operator's of the same name is another one.
        let operators = send(&host.admin_url("/events"), STRUCTURED, good.clone()).await;
        assert_eq!(operators.expect("an answer").json(), json!({"accepted": 1, "repeated": 0}));

        for (event_type, source, extension, status, kind, attribute) in [
            ("shop.paid", "/bank", "", 403, "source-not-taken", "source"),
            ("shop.paid", "/services/order", "", 403, "source-reserved", "source"),
            ("a.b", "/services/order", "", 403, "source-reserved", "source"),
            ("a.b", "/%73ervices/order", "", 403, "source-reserved", "source"),
            (
                "a.b",
                "/till",
                r#","sequence":"00000000000000000007""#,
                400,
                "invalid-event",
                "sequence",
            ),
            ("a.c", "/till", "", 403, "type-not-taken", "type"),
        ] {
            let batch = format!("[{good},{}]", event(event_type, source, extension));
            let refused = send(&public, BATCH, batch).await.expect("an answer");
            refused.problem(status, kind);
            let problem = refused.json();
            assert_eq!((&problem["attribute"], &problem["index"]), (&json!(attribute), &json!(1)));
        }
        let own = event("a.b", "/services/order", "");
        let own = send(&host.admin_url("/events"), STRUCTURED, own).await;
        own.expect("an answer").problem(403, "source-reserved");
    }
}

#[tokio::test]
async fn bodies_that_stall_shut_events_for_nobody() {
    let host = Host::builder()
        .settings("[http]\nbody-idle = \"1s\"\n[events]\naccept = [\"a.b\"]\n")
        .start()
        .await;
    let head = format!(
        "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: {STRUCTURED}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n"
    );
    let mut stalled = Vec::new();
    for address in [host.address, host.admin] {
        for _ in 0..100 {
            let mut raw = Raw::connect(address).await;
            raw.send(&head).await;
            stalled.push(raw);
        }
    }
    for (id, url) in [(1, host.url("/events")), (2, host.admin_url("/events"))] {
        let taken = post(&host, &url, STRUCTURED, event(id, "a.b")).await;
        assert_eq!(taken.status, 202, "{url}: {taken:?}");
    }
    for raw in &mut stalled {
        let answer = raw.until("\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    host.until_metric("hotdock_intake_refused_total{listener=\"public\",reason=\"slow\"}", 100)
        .await;
    host.until_metric("hotdock_intake_bytes{listener=\"public\"}", 0).await;
    host.until_metric("hotdock_intake_bytes{listener=\"admin\"}", 0).await;
}

/// Who reads a path otherwise would take these for the host's.
#[tokio::test]
async fn what_may_be_meant_for_the_host_goes_to_no_service() {
    let host = Host::builder()
        .file("mirror.wasm", component("mirror").0)
        .file("mirror.toml", "[[route]]\npath = \"/\"\n")
        .settings("[events]\naccept = [\"a.b\"]\n")
        .start()
        .await;
    for path in [
        "//events",
        "/./events",
        "/%2e/events",
        "/x/../events",
        "/events%2f",
        "/%2fevents",
        "/events/.",
    ] {
        for (version, came) in asked(&host, &Asked::new("POST", path).body("{}")).await {
            assert_eq!(came.answer().status, 400, "{path} by {version}");
        }
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
            for (version, came) in asked(&host, &Asked::new(method, path)).await {
                assert_eq!(came.answer().status, 400, "{method} {path} by {version}");
            }
        }
    }
    for path in ["/events", "/%65vents"] {
        let taken = Asked::new("POST", path).header("content-type", STRUCTURED);
        for (version, came) in asked(&host, &taken.body(EVENT)).await {
            assert_eq!(came.answer().status, 202, "{path} by {version}: {came:?}");
        }
    }
    for method in ["GET", "PUT", "OPTIONS"] {
        for (version, came) in asked(&host, &Asked::new(method, "/events")).await {
            assert_eq!(came.answer().status, 405, "{method} by {version}: the path is the host's");
        }
    }
    for path in ["/events/", "/events/x", "//eventful", "/x//events"] {
        for (version, came) in asked(&host, &Asked::new("GET", path)).await {
            assert_eq!(came.answer().status, 200, "{path} by {version}: it is not for the host");
        }
    }
}

async fn asked(host: &Host, what: &Asked) -> [(&'static str, Came); 2] {
    let by_http2 = what.http2(host.address).await.expect("it can be said");
    [("HTTP/1.1", what.http1(host.address).await), ("HTTP/2", by_http2)]
}
