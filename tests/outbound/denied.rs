//! Requests that are not granted.

use super::upstream::Upstream;
use super::{local, probe, refusal};
use crate::harness::Host;

#[tokio::test(flavor = "multi_thread")]
async fn an_outbound_request_to_an_origin_that_the_manifest_does_not_name_is_denied() {
    let upstream = Upstream::start().await;
    let origins = ["https://api.example.com", "http://*.example.org"];
    let host = local(probe(&origins)).start().await;
    let port = upstream.address.port();
    for url in [
        upstream.url("/"),
        format!("http://localhost:{port}/"),
        "http://api.example.com/".to_owned(),
        "https://api.example.com:8443/".to_owned(),
        "https://example.com/".to_owned(),
        "https://x.api.example.com/".to_owned(),
        "https://user@api.example.com/".to_owned(),
        "http://example.org/".to_owned(),
    ] {
        assert_eq!(refusal(&host, &url, "").await, "ErrorCode::HttpRequestDenied", "{url}");
    }
    host.until_logged("api.example.com:8443").await;
    let log = host.log();
    let line = log.lines().find(|line| line.contains("api.example.com:8443")).expect("a line");
    for part in [
        "\"service\":\"probe\"",
        "\"version\":1",
        "a request to https://api.example.com:8443 is denied",
        "write `outbound = [\\\"https://api.example.com:8443\\\"]` under `[capabilities]`",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // Also to a guest that writes a body before it looks for the answer.
    for _ in 0..10 {
        let error = refusal(&host, "https://example.com/", "&method=POST&body=hello").await;
        assert_eq!(error, "ErrorCode::HttpRequestDenied");
    }
    // Once, however often it is tried.
    refusal(&host, "https://api.example.com:8443/", "").await;
    assert_eq!(host.log().matches("to https://api.example.com:8443 is denied").count(), 1);
    assert_eq!(upstream.connections(), 0);
    let connect = refusal(&host, "https://api.example.com/", "&method=CONNECT").await;
    assert_eq!(connect, "ErrorCode::HttpRequestMethodInvalid");
    host.until_idle().await;
    assert!(!host.log().contains("failed after its answer"), "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbound_request_to_a_private_address_needs_the_operators_grant() {
    let upstream = Upstream::start().await;
    let port = upstream.address.port();
    let granted: Vec<String> = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "0.0.0.0",
        "10.0.0.1",
        "169.254.169.254",
        "255.255.255.255",
    ]
    .iter()
    .map(|host| format!("http://{host}:{port}"))
    .collect();
    let granted: Vec<&str> = granted.iter().map(String::as_str).collect();
    let host = probe(&granted).start().await;
    for origin in &granted {
        let error = refusal(&host, &format!("{origin}/"), "").await;
        assert_eq!(error, "ErrorCode::DestinationIpProhibited", "{origin}");
    }
    assert_eq!(upstream.connections(), 0);
    let log = host.log();
    assert!(
        log.contains("is at 127.0.0.1, which is loopback") || log.contains("is at ::1"),
        "{log}"
    );
    assert!(log.contains("`[outbound] allow-private` in hotdock.toml"), "{log}");
    drop(host);

    // What the operator opens is open, and nothing else.
    let settings = "[outbound]\nallow-private = [\"127.0.0.0/8\"]\n";
    let host = probe(&granted).settings(settings).start().await;
    for name in ["127.0.0.1", "localhost"] {
        let answer = super::send(&host, &format!("http://{name}:{port}/echo"), "").await;
        assert_eq!(answer["status"], 200, "{name}: {answer}");
    }
    for name in ["[::1]", "0.0.0.0", "10.0.0.1", "[2002:7f00:1::]"] {
        let error = refusal(&host, &format!("http://{name}:{port}/"), "").await;
        assert_eq!(error, "ErrorCode::DestinationIpProhibited", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_host_gets_an_outbound_request_past_the_manifest() {
    let upstream = Upstream::start().await;
    let port = upstream.address.port();
    let host: Host = local(probe(&[&upstream.origin()])).start().await;
    for name in [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "user@127.0.0.1",
        "127.0.0.1@127.0.0.1",
        "[::ffff:127.0.0.1]",
        "localhost",
        "127.0.0.2",
    ] {
        let error = refusal(&host, &format!("http://{name}:{port}/echo"), "").await;
        assert_eq!(error, "ErrorCode::HttpRequestDenied", "{name}");
    }
    assert_eq!(upstream.connections(), 0);
}
