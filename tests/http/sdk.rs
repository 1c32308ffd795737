//! Services that have their requests from the SDK.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::Host;
use crate::harness::raw::Raw;

#[tokio::test]
async fn a_request_is_seen_as_it_was_sent() {
    let host = Host::builder().plugin("greeter").start().await;
    let request = Request::put(host.url("/greeter/a%2Fb?name=one+two%21"))
        .header("Accept", "text/plain")
        .header("Accept", "text/html")
        .header("X-Agent", b"\xe9\xff".as_slice())
        .body(Full::new(Bytes::from_static(b"four")));
    let seen = host.send(request.expect("a request")).await.json();
    let expected = json!({
        "path": "/greeter/a%2Fb",
        "target": "/greeter/a%2Fb?name=one+two%21",
        "name": "one two!",
        "accept": ["text/plain", "text/html"],
        "agent": [0xe9, 0xff],
        "bytes": 4,
    });
    assert_eq!(seen, expected);
    let bare = host.request(Method::PUT, "/greeter", "").await.json();
    assert_eq!((&bare["bytes"], &bare["agent"]), (&json!(0), &Value::Null), "{bare}");
}

#[tokio::test]
async fn methods_statuses_and_headers_go_through() {
    let host = Host::builder().plugin("greeter").start().await;
    let hello = host.get("/greeter").await;
    assert_eq!(hello.header("x-version"), "VERSION-00000001");
    assert_eq!(hello.header("content-length"), hello.text().len().to_string());
    for method in ["PATCH", "OPTIONS", "DELETE", "PURGE"] {
        let reply = host.request(Method::try_from(method).expect("a method"), "/greeter", "").await;
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "GET, POST, PUT"));
        assert!(reply.text().contains(method), "{reply:?}");
    }
}

/// Through the host's limits for one write and one read, and their neighbours.
#[tokio::test]
async fn a_body_of_any_size_goes_there_and_back() {
    let limits = "[limits]\nrequest-body = \"8MiB\"\ndeadline = \"1m\"\ncpu = \"20s\"\n";
    let host = Host::builder().plugin_with("greeter", limits).start().await;
    let bytes: Vec<u8> = (0..5 << 20).map(|at: u32| at.to_le_bytes()[1]).collect();
    for length in [0, 1, 4095, 4096, 4097, 65_536, 65_537, (1 << 20) - 1, (1 << 20) + 1, 5 << 20] {
        let reply = host.post("/greeter", bytes[..length].to_vec()).await;
        assert_eq!(reply.status, 200, "{length}");
        assert!(reply.body == bytes[..length], "{length} bytes: {} came back", reply.body.len());
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
