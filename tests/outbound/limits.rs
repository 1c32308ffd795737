//! Timeouts and limits of outgoing requests.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::upstream::Upstream;
use super::{local, probe, probe_with, refusal, send};
use crate::harness::eventually;

const SHORT: &str = "[outbound]\ntls-timeout = \"200ms\"\nfirst-byte-timeout = \"300ms\"\nconnect-timeout = \"2s\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_outbound_request_ends_at_its_timeouts() {
    let upstream = Upstream::start().await;
    // Accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let silent_origin = format!("https://{}", silent.local_addr().expect("an address"));
    let host = local(probe(&[&upstream.origin(), &silent_origin])).settings(SHORT).start().await;
    let cases = [
        (silent_origin.clone(), "", "ErrorCode::ConnectionTimeout"),
        (silent_origin.clone(), "&connect_ms=20", "ErrorCode::ConnectionTimeout"),
        (upstream.url("/never"), "", "ErrorCode::ConnectionReadTimeout"),
        (upstream.url("/never"), "&first_byte_ms=20", "ErrorCode::ConnectionReadTimeout"),
        // Longer than the host's is not granted.
        (upstream.url("/never"), "&first_byte_ms=60000", "ErrorCode::ConnectionReadTimeout"),
    ];
    for (url, parameters, expected) in cases {
        let begun = Instant::now();
        assert_eq!(refusal(&host, &url, parameters).await, expected, "{url}{parameters}");
        let longest = if parameters.ends_with("=20") { 200 } else { 2000 };
        assert!(begun.elapsed() < Duration::from_millis(longest), "{url}{parameters}");
    }
    // A body that stops coming, by the guest's own wish.
    let answer = send(&host, &upstream.url("/stall"), "&between_ms=50").await;
    assert_eq!((&answer["body"], &answer["whole"]), (&"first".into(), &false.into()), "{answer}");
    let answer = send(&host, &upstream.url("/cut"), "").await;
    assert_eq!(answer["whole"], false, "{answer}");
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbound_request_ends_with_its_invocation() {
    let upstream = Upstream::start().await;
    let manifest = "[limits]\ndeadline = \"500ms\"\noutbound-requests = 1\n";
    let host = local(probe_with(&[&upstream.origin()], manifest)).start().await;
    for path in ["/never", "/stall"] {
        let reply = host.get(&format!("/probe/send?url={}", upstream.url(path))).await;
        reply.problem(504, "deadline");
        // Its place is free again, when its instance is gone.
        eventually("the request is given up", async || {
            let answer = send(&host, &upstream.url("/echo"), "").await;
            (answer["status"] == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_takes_no_outbound_request_along_to_its_next_invocation() {
    let upstream = Upstream::start().await;
    let manifest = "[limits]\noutbound-requests = 1\n[instances]\nreuse = 100\n";
    let host = local(probe_with(&[&upstream.origin()], manifest)).start().await;
    for round in 1..=3 {
        let count = host.get("/probe/count").await;
        assert_eq!(count.text(), format!("{round}\n"), "it is the same instance");
        // Kept by the guest, which lives on; its place is free again all the same.
        let answer = send(&host, &upstream.url("/stall"), "&leak=1").await;
        assert_eq!(answer, serde_json::json!({}));
        eventually("the request is given up", async || {
            let answer = send(&host, &upstream.url("/echo"), "").await;
            (answer["status"] == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outbound_requests_beyond_the_services_limit_are_refused() {
    let upstream = Upstream::start().await;
    let manifest = "[limits]\noutbound-requests = 3\n";
    let host = local(probe_with(&[&upstream.origin()], manifest)).start().await;
    let answers = send(&host, &upstream.url("/never"), "&times=5&first_byte_ms=200").await;
    let errors: Vec<_> =
        answers.as_array().expect("a list").iter().map(|answer| answer["error"].as_str()).collect();
    let (sent, refused) = errors.split_at(3);
    assert!(sent.iter().all(|e| *e == Some("ErrorCode::ConnectionReadTimeout")), "{errors:?}");
    assert!(refused.iter().all(|e| *e == Some("ErrorCode::ConnectionLimitReached")), "{errors:?}");
    let answers = send(&host, &upstream.url("/echo"), "&times=3").await;
    assert!(answers.as_array().expect("a list").iter().all(|a| a["status"] == 200), "{answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_one_origin_are_bounded() {
    let upstream = Upstream::start().await;
    let settings = "[outbound]\nmax-connections-per-origin = 2\nconnect-timeout = \"200ms\"\n";
    let host = local(probe(&[&upstream.origin()])).settings(settings).start().await;
    let answers = send(&host, &upstream.url("/never"), "&times=4&first_byte_ms=1000").await;
    let text = answers.to_string();
    assert_eq!(text.matches("ConnectionReadTimeout").count(), 2, "{text}");
    assert_eq!(text.matches("ConnectionLimitReached").count(), 2, "{text}");
    assert_eq!(upstream.connections(), 2);
    let answers = send(&host, &upstream.url("/echo"), "&times=8").await;
    assert_eq!(answers.to_string().matches("\"status\":200").count(), 8, "{answers}");
}
