//! Answers that clients don't take, and those that do.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;

use crate::harness::raw::Raw;
use crate::harness::{Host, eventually};

/// How large each answer is, and how much its client takes at once.
const ANSWER: usize = 1 << 20;
const PART: usize = 64 << 10;

/// What the system may keep for a client.
const ROOM: u32 = 16 << 10;

/// A client that takes its answer bit by bit.
enum Taker {
    Http1(Raw),
    Http2(h2::RecvStream),
}

impl Taker {
    async fn http1(address: SocketAddr) -> Self {
        let mut raw = asks(address).await;
        raw.until("\r\n\r\n").await;
        Self::Http1(raw)
    }

    async fn http2(host: &Host) -> Self {
        let stream = tokio::net::TcpStream::connect(host.address).await.expect("a connection");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = Request::post(host.url("/greeter")).body(()).expect("a request");
        let (response, mut body) = client.send_request(request, false).expect("sent");
        body.send_data(Bytes::from(vec![b'x'; ANSWER]), true).expect("sent");
        Self::Http2(response.await.expect("an answer").into_body())
    }

    /// Takes so much, or less where its answer ends.
    async fn take(&mut self, bytes: usize) {
        match self {
            Self::Http1(raw) => drop(raw.exactly(bytes).await),
            Self::Http2(stream) => {
                let mut left = bytes;
                while left > 0 {
                    let data = stream.data().await.expect("more").expect("no reset");
                    stream.flow_control().release_capacity(data.len()).expect("it was taken");
                    left = left.saturating_sub(data.len());
                }
            }
        }
    }
}

/// A client with little room that has asked for an answer.
async fn asks(address: SocketAddr) -> Raw {
    let mut raw = Raw::connect_with_room(ROOM, address).await;
    raw.send(format!("POST /greeter HTTP/1.1\r\nHost: x\r\nContent-Length: {ANSWER}\r\n\r\n"))
        .await;
    raw.send(vec![b'x'; ANSWER]).await;
    raw
}

/// How many bytes are there that clients did not take.
async fn unsent(host: &Host) -> usize {
    let metrics = host.metrics().await;
    let series = "hotdock_connections_unsent_bytes{listener=\"public\"} ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)).expect("a line");
    value.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_its_answer_keeps_it_where_others_take_nothing() {
    let limits = "[limits]\nrequest-body = \"2MiB\"\nmemory = \"256MiB\"\ndeadline = \"1m\"\n";
    for by_http2 in [false, true] {
        let host = Host::builder()
            .plugin_with("greeter", limits)
            .settings("[http]\nmax-unsent = \"3584KiB\"\nanswer-idle = \"10m\"\n")
            .start()
            .await;
        let mut taker =
            if by_http2 { Taker::http2(&host).await } else { Taker::http1(host.address).await };
        taker.take(4 * PART).await;
        let mut idle = Vec::new();
        for number in 1..=8 {
            idle.push(asks(host.address).await);
            if number <= 2 {
                eventually("it is there", async || {
                    (unsent(&host).await > number * ANSWER + ANSWER / 2).then_some(())
                })
                .await;
            } else {
                let ended =
                    "hotdock_connections_ended_total{listener=\"public\",reason=\"unsent\"}";
                host.until_metric(ended, number as u64 - 2).await;
            }
            taker.take(PART).await;
        }
        // Those that took nothing went, each when the next came, and no more of them than needed.
        taker.take(ANSWER - 13 * PART).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_not_taken_have_so_much_memory_while_the_host_drains_too() {
    let limits = "[limits]\nrequest-body = \"2MiB\"\nmemory = \"256MiB\"\ndeadline = \"1m\"\n";
    let mut host = Host::builder()
        .plugin_with("greeter", limits)
        .settings("[http]\nmax-unsent = \"3MiB\"\nanswer-idle = \"10m\"\n")
        .argument("--drain=60s")
        .start()
        .await;
    let mut asking = Vec::new();
    for _ in 0..8 {
        let mut raw = Raw::connect_with_room(ROOM, host.address).await;
        let head = format!("POST /greeter HTTP/1.1\r\nHost: x\r\nContent-Length: {ANSWER}\r\n\r\n");
        raw.send(head).await;
        raw.send(vec![b'x'; ANSWER / 2]).await;
        asking.push(raw);
    }
    host.until_metric("hotdock_uploads", 8).await;
    host.signal("TERM");
    eventually("it takes no more connections", async || {
        Raw::try_connect(host.address).await.is_none().then_some(())
    })
    .await;
    for raw in &mut asking {
        raw.send(vec![b'x'; ANSWER / 2]).await;
    }
    let ended = "hotdock_connections_ended_total{listener=\"public\",reason=\"unsent\"}";
    host.until_metric(ended, 5).await;
    drop(asking);
    assert!(host.ended().await.success(), "{}", host.log());
}
