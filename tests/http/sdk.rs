//! Services that have their requests from the SDK.

use std::process::Command;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::raw::Raw;
use crate::harness::{Host, built, eventually};

/// The same service, called by `hotdock:http/handler` and by `wasi:http/incoming-handler`.
const GREETERS: [&str; 2] = ["greeter", "greeter02"];
const LIMITS: &str = "[limits]\nrequest-body = \"8MiB\"\ndeadline = \"1m\"\ncpu = \"20s\"\n";

async fn greeters() -> Host {
    Host::builder().plugin_with("greeter", LIMITS).plugin_with("greeter02", LIMITS).start().await
}

#[test]
fn one_component_can_be_called_by_either() {
    let inspected = |name: &str| {
        let file = built("test-guests", &format!("{name}.wasm")).expect("it was built");
        let output = Command::new(env!("CARGO_BIN_EXE_hotdock")).arg("inspect").arg(file).output();
        String::from_utf8_lossy(&output.expect("it runs").stdout).into_owned()
    };
    let greeter = inspected("greeter");
    for export in ["hotdock:http/handler@0.1.0", "wasi:http/incoming-handler@0.2."] {
        assert!(greeter.contains(export), "{export}: {greeter}");
    }
    assert!(!inspected("greeter02").contains("hotdock:http"));
}

#[tokio::test]
async fn a_request_is_seen_as_it_was_sent() {
    let host = greeters().await;
    for name in GREETERS {
        let request = Request::put(host.url(&format!("/{name}/a%2Fb?name=one+two%21")))
            .header("Accept", "text/plain")
            .header("Accept", "text/html")
            .header("X-Agent", b"\xe9\xff".as_slice())
            .body(Full::new(Bytes::from_static(b"four")));
        let seen = host.send(request.expect("a request")).await.json();
        let expected = json!({
            "path": format!("/{name}/a%2Fb"),
            "target": format!("/{name}/a%2Fb?name=one+two%21"),
            "name": "one two!",
            "accept": ["text/plain", "text/html"],
            "agent": [0xe9, 0xff],
            "bytes": 4,
        });
        assert_eq!(seen, expected);
        let bare = host.request(Method::PUT, &format!("/{name}"), "").await.json();
        assert_eq!((&bare["bytes"], &bare["agent"]), (&json!(0), &Value::Null), "{bare}");
    }
}

#[tokio::test]
async fn methods_statuses_and_headers_go_through() {
    let host = greeters().await;
    for name in GREETERS {
        let path = format!("/{name}");
        let hello = host.get(&path).await;
        assert_eq!(hello.header("x-version"), "VERSION-00000001");
        let length = hello.body.len().to_string();
        assert_eq!(hello.header("content-length"), length);
        for method in ["OPTIONS", "TRACE", "PURGE"] {
            let reply = host.request(Method::try_from(method).expect("a method"), &path, "").await;
            assert_eq!(
                (reply.status.as_u16(), reply.header("allow")),
                (405, "GET, HEAD, POST, PUT")
            );
            assert!(reply.text().contains(method), "{reply:?}");
        }
        let head = host.request(Method::HEAD, &path, "").await;
        assert_eq!((head.header("content-length"), head.body.len()), (length.as_str(), 0));
    }
}

/// Through the host's limits for one write and one read, and their neighbours.
#[tokio::test]
async fn a_body_of_any_size_goes_there_and_back() {
    let host = greeters().await;
    let bytes: Vec<u8> = (0..5 << 20).map(|at: u32| at.to_le_bytes()[1]).collect();
    for name in GREETERS {
        for length in
            [0, 1, 4095, 4096, 4097, 65_536, 65_537, (1 << 20) - 1, (1 << 20) + 1, 5 << 20]
        {
            let reply = host.post(&format!("/{name}"), bytes[..length].to_vec()).await;
            assert_eq!(reply.status, 200, "{name} {length}");
            assert!(
                reply.body == bytes[..length],
                "{name}: of {length} bytes {} came back",
                reply.body.len()
            );
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_an_answer_is_cut_off() {
    let limits = "[limits]\nrequest-body = \"1KiB\"\nresponse-body = 16\n";
    let host = Host::builder()
        .plugin_with("greeter", limits)
        .plugin_with("greeter02", limits)
        .start()
        .await;
    for name in GREETERS {
        let mut raw = Raw::connect(host.address).await;
        let head =
            format!("POST /{name} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        raw.send(format!("{head}401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025))).await;
        assert!(raw.until("\r\n\r\n").await.starts_with("HTTP/1.1 413"), "{name}");
        let small = host.post(&format!("/{name}"), "sixteen bytes it").await;
        assert_eq!(small.text(), "sixteen bytes it", "{name}");
        let cut = host.client.try_request(Method::GET, &host.url(&format!("/{name}")), "").await;
        assert!(cut.is_err(), "{name}: the connection says that it is not whole: {cut:?}");
    }
}

#[tokio::test]
async fn a_trap_and_a_status_that_is_no_answer_are_the_services_failures() {
    let host = greeters().await;
    for name in GREETERS {
        let path = format!("/{name}");
        host.request(Method::DELETE, &path, "").await.problem(502, "failed");
        host.request(Method::PATCH, &path, "").await.problem(502, "no-answer");
        assert_eq!(host.get(&path).await.status, 200);
    }
}

/// Nothing runs while it comes, so nothing is used up by it but a place in the queue.
#[tokio::test]
async fn a_slow_upload_takes_an_instance_once_it_is_there() {
    let host = Host::builder().plugin_with("greeter", LIMITS).start().await;
    let made = "hotdock_instances_made_total{service=\"greeter\"}";
    // That of the warming.
    host.until_metric(made, 1).await;
    let mut uploads = Vec::new();
    for _ in 0..8 {
        let mut raw = Raw::connect(host.address).await;
        raw.send("POST /greeter HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nsl").await;
        uploads.push(raw);
    }
    eventually("all are being taken", async || {
        (host.service("greeter").await["serving"]["leases"] == 8).then_some(())
    })
    .await;
    host.until_metric(made, 1).await;
    for raw in &mut uploads {
        raw.send("ow").await;
        assert!(raw.until("slow").await.starts_with("HTTP/1.1 200"));
    }
    host.until_idle().await;
}

#[tokio::test]
async fn an_answer_is_kept_under_an_idempotency_key() {
    let host = greeters().await;
    for name in GREETERS {
        for replayed in ["", "true"] {
            let request = Request::post(host.url(&format!("/{name}")))
                .header("Idempotency-Key", "k")
                .body(Full::new(Bytes::from_static(b"once")));
            let reply = host.send(request.expect("a request")).await;
            assert_eq!(
                (reply.text().as_str(), reply.header("idempotency-replayed")),
                ("once", replayed)
            );
        }
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_has_no_effect_whatever_the_service_answers() {
    let host = Host::builder().plugin("consumer").start().await;
    let head =
        "POST /consumer/careless?key=k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut raw = Raw::connect(host.address).await;
    raw.send(format!("{head}ZZ\r\n")).await;
    let answer = raw.read_to_end().await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    host.until_idle().await;
    let value = "/consumer/value?bucket=careless&key=k";
    assert_eq!(host.get(value).await.status, 404);
    // The same, whole.
    let mut raw = Raw::connect(host.address).await;
    raw.send(format!("{head}3\r\none\r\n0\r\n\r\n")).await;
    assert!(raw.until("\r\n\r\n3").await.starts_with("HTTP/1.1 200"));
    assert_eq!(host.get(value).await.text(), "written");
}

#[tokio::test]
async fn by_wasi_http_such_a_request_is_the_clients_doing() {
    let host = Host::builder().plugin("greeter02").start().await;
    let mut raw = Raw::connect(host.address).await;
    let head = "POST /greeter02 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    raw.send(format!("{head}ZZ\r\n")).await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    host.until_idle().await;
}
