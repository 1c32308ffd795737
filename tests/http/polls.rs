//! Requests to the operator's listener that wait for something.

use std::net::Ipv4Addr;

use http::Method;

use crate::harness::raw::Raw;
use crate::harness::{Client, Host};

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
    // Those that have no place to wait at are answered, and may go.
    let mut last = waiting.pop().expect("one of them");
    let answer = last.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "else they ask again at once: {answer}");
    assert!(answer.contains("\r\nretry-after: 5\r\n"), "{answer}");
    for path in ["/healthz", "/readyz", "/metrics"] {
        let reply = Client::new().try_request(Method::GET, &host.admin_url(path), "").await;
        assert_eq!(reply.expect("an answer").status, 200, "{path}");
    }
}
