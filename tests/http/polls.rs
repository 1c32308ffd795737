//! Requests to the operator's listener that wait for something.

use std::net::Ipv4Addr;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::Method;

use crate::harness::raw::Raw;
use crate::harness::{Client, Host, eventually};

#[tokio::test]
async fn who_waits_for_events_leaves_room_for_others() {
    let host = Host::builder().settings("[http]\nadmin-max-connections = 20\n").start().await;
    let mut waiting = Vec::new();
    for number in 0..30 {
        let from = Ipv4Addr::new(127, 0, 0, 2 + number / 10).into();
        let mut raw = Raw::connect_from(from, host.admin).await;
        let poll = "GET /v1/events?after=99999&wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        raw.try_send(poll).await;
        waiting.push(raw);
    }
    // Those that have no place to wait at are answered, and may go; the others are not, yet.
    // (Beyond the connections that there may be they come no further than that.)
    let mut answers: FuturesUnordered<_> =
        waiting.iter_mut().map(|raw| raw.until("\r\n\r\n")).collect();
    loop {
        let answer = answers.next().await.expect("some have no place");
        assert!(answer.starts_with("HTTP/1.1 503 "), "else they ask again at once: {answer}");
        if answer.contains("\r\nretry-after: 5\r\n") {
            break;
        }
        assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    }
    drop(answers);
    for path in ["/healthz", "/readyz", "/metrics"] {
        let reply = Client::new().try_request(Method::GET, &host.admin_url(path), "").await;
        assert_eq!(reply.expect("an answer").status, 200, "{path}");
    }
}

#[tokio::test]
async fn who_follows_leaves_room_for_others() {
    let host = Host::builder().settings("[http]\nadmin-max-connections = 20\n").start().await;
    for path in ["/v1/logs", "/v1/notices"] {
        let mut following = Vec::new();
        let follow =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
        // All of one address, as commands, probes and scrapes are.
        for number in 0..14 {
            let mut raw = Raw::connect(host.admin).await;
            raw.send(&follow).await;
            let answer = raw.until("\r\n\r\n").await;
            let expected = if number < 10 { "HTTP/1.1 200 " } else { "HTTP/1.1 503 " };
            assert!(answer.starts_with(expected), "{path} {number}: {answer}");
            assert_eq!(answer.contains("\r\nretry-after: 5\r\n"), number >= 10, "{answer}");
            if number < 10 {
                following.push(raw);
            }
        }
        for path in ["/healthz", "/readyz", "/metrics", "/v1/services", "/v1/logs"] {
            let reply = Client::new().try_request(Method::GET, &host.admin_url(path), "").await;
            assert_eq!(reply.expect("an answer").status, 200, "{path}");
        }
        // Who goes makes room.
        drop(following);
        eventually("there is a place", async || {
            let mut raw = Raw::connect(host.admin).await;
            raw.send(&follow).await;
            raw.until("\r\n\r\n").await.starts_with("HTTP/1.1 200 ").then_some(())
        })
        .await;
    }
}
