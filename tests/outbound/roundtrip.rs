//! Requests that are granted.

use http::Version;

use super::upstream::Upstream;
use super::{local, probe, send};
use crate::harness::raw::Raw;
use crate::harness::{Host, component};

#[tokio::test(flavor = "multi_thread")]
async fn an_outbound_request_comes_back_with_what_the_peer_answered() {
    let upstream = Upstream::start().await;
    let host = local(probe(&[&upstream.origin()])).start().await;
    let parameters = "&method=POST&body=hello&headers=x-mine:1,te:gzip";
    let answer = send(&host, &upstream.url("/echo?q=1"), parameters).await;
    assert_eq!((&answer["status"], &answer["body"]), (&200.into(), &"hello".into()), "{answer}");
    let names: Vec<_> = answer["headers"].as_array().expect("headers").iter().collect();
    let has = |name: &str| names.iter().any(|header| header[0] == name);
    assert!(has("x-end"), "{answer}");
    for hop in ["connection", "keep-alive", "x-hop", "transfer-encoding"] {
        assert!(!has(hop), "{hop}: {answer}");
    }
    let seen = upstream.seen().remove(0);
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.headers["host"], upstream.address.to_string());
    assert_eq!(seen.headers["x-mine"], "1");
    assert!(!seen.headers.contains_key("te") && !seen.headers.contains_key("connection"));
    let key = seen.headers["idempotency-key"].to_str().expect("text");
    assert!(key.ends_with("-1") && key.len() == 55, "{key}");

    // The guest's own key stays; a safe request has none.
    send(&host, &upstream.url("/echo"), "&method=POST&headers=idempotency-key:mine").await;
    send(&host, &upstream.url("/echo"), "").await;
    let seen = upstream.seen();
    assert_eq!(seen[1].headers["idempotency-key"], "mine");
    assert!(!seen[2].headers.contains_key("idempotency-key"));
    assert_eq!(upstream.connections(), 1, "connections are used again");

    // What decides about framing and destination is not the guest's to say.
    for header in ["host:evil.example", "connection:close", "transfer-encoding:chunked"] {
        let answer = send(&host, &upstream.url("/echo"), &format!("&headers={header}")).await;
        assert!(answer["error"].as_str().is_some_and(|e| e.contains("Forbidden")), "{answer}");
    }
    // Redirects are the guest's to follow.
    let answer = send(&host, &upstream.url("/redirect"), "").await;
    assert_eq!(answer["status"], 302);
    assert_eq!(upstream.seen().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn outbound_bodies_stream_both_ways() {
    let upstream = Upstream::start().await;
    let (wasm, _) = component("probe3");
    let manifest = format!("[capabilities]\noutbound = [\"{}\"]\n", upstream.origin());
    let host = local(probe(&[&upstream.origin()]))
        .file("probe3.wasm", wasm)
        .file("probe3.toml", manifest)
        .start()
        .await;
    for service in ["probe", "probe3"] {
        let path = format!("/{service}/relay?url={}", upstream.url("/echo"));
        let body = "0123456789".repeat(60_000);
        let reply = host.post(&path, body.clone()).await;
        assert_eq!(reply.status, 200, "{service}: {reply:?}");
        assert!(reply.text() == body, "{service}: {} bytes", reply.body.len());
    }
    // Before the request's end: only 0.3 can answer while it reads.
    let mut client = Raw::connect(host.address).await;
    let path = format!("/probe3/relay?url={}", upstream.url("/echo"));
    client
        .send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"))
        .await;
    client.send("5\r\nfirst\r\n").await;
    client.until("first").await;
    client.send("6\r\nsecond\r\n0\r\n\r\n").await;
    client.until("second").await;
    client.until("0\r\n\r\n").await;
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbound_request_goes_over_tls_and_http_2_to_a_trusted_peer_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (upstream, trusted) = Upstream::with_tls(&folder).await;
    let (other, _) = Upstream::with_tls(&tempfile::tempdir().expect("a folder")).await;
    let origin = |upstream: &Upstream| format!("https://localhost:{}", upstream.address.port());
    let builder = local(probe(&[&origin(&upstream), &origin(&other)]));
    let host: Host = builder.environment("SSL_CERT_FILE", &trusted).start().await;
    // Another spelling of the host is the same origin.
    let url = origin(&upstream).replace("localhost", "LocalHost.");
    let answer = send(&host, &format!("{url}/echo"), "&method=POST&body=secret").await;
    assert_eq!(answer["body"], "secret", "{answer}");
    let seen = upstream.seen().remove(0);
    assert_eq!(seen.version, Version::HTTP_2);
    let answer = send(&host, &format!("{}/echo", origin(&other)), "").await;
    assert_eq!(answer["error"], "ErrorCode::TlsCertificateError", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_known_to_speak_plain_http_2_is_asked_by_it() {
    let upstream = Upstream::start().await;
    let origin = format!("h2c://{}", upstream.address);
    let host = local(probe(&[&origin])).start().await;
    let answer = send(&host, &upstream.url("/echo"), "&method=POST&body=hello").await;
    assert_eq!((&answer["status"], &answer["body"]), (&200.into(), &"hello".into()), "{answer}");
    let trailers = "&headers=te:trailers";
    send(&host, &upstream.url("/echo"), trailers).await;
    let seen = upstream.seen();
    assert!(seen.iter().all(|request| request.version == Version::HTTP_2), "{seen:?}");
    assert_eq!(seen[1].headers["te"], "trailers", "as gRPC asks it");
    assert_eq!(upstream.connections(), 1);
}
