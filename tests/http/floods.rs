//! HTTP/2 from those who want it to work for nothing (RFC 9113 §10.5).

use std::time::Duration;

use http::Method;

use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, request,
};
use crate::harness::{Client, Host};

/// Frames in one send.
const AT_ONCE: u32 = 500;
/// How many of those.
const SENDS: u32 = 4_000;

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// What comes before the flood, and the flood's `number`th frames.
type Flood = (&'static str, fn() -> Vec<u8>, fn(u32) -> Vec<u8>);

fn upload() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &request("POST", "/probe/sleep?ms=20000"))
}

const FLOODS: &[Flood] = &[
    ("PING", Vec::new, |_| frame(PING, 0, 0, &[0; 8])),
    ("PING that are answers", Vec::new, |_| frame(PING, 1, 0, &[0; 8])),
    ("SETTINGS", Vec::new, |_| frame(SETTINGS, 0, 0, &[])),
    ("SETTINGS that change", Vec::new, |number| {
        frame(SETTINGS, 0, 0, &[&[0, 4], &(number % 60_000).to_be_bytes()[..]].concat())
    }),
    ("SETTINGS that are answers", Vec::new, |_| frame(SETTINGS, 1, 0, &[])),
    ("PRIORITY", Vec::new, |number| frame(PRIORITY, 0, number * 2 + 1, &[0, 0, 0, 0, 1])),
    ("WINDOW_UPDATE", Vec::new, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
    ("unknown frames", Vec::new, |_| frame(0xfa, 0, 0, &[])),
    ("DATA of nothing", upload, |_| frame(DATA, 0, 1, &[])),
    ("DATA of padding", upload, |_| frame(DATA, 8, 1, &[7, 0, 0, 0, 0, 0, 0, 0])),
    ("DATA of a byte", upload, |_| frame(DATA, 0, 1, b"x")),
    ("requests that are reset", Vec::new, |number| {
        let stream = number * 2 + 1;
        let head = request("GET", "/probe/sleep?ms=20000");
        let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
        both.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        both
    }),
    ("requests that are wrong", Vec::new, |number| {
        // A stream depends on itself.
        let stream = number * 2 + 1;
        let priority = [&stream.to_be_bytes()[..], &[1]].concat();
        let head = [priority, request("GET", "/probe/count")].concat();
        frame(HEADERS, END_HEADERS | END_STREAM | 0x20, stream, &head)
    }),
    (
        "CONTINUATION",
        || frame(HEADERS, END_STREAM, 1, &request("GET", "/probe/count")),
        |_| frame(CONTINUATION, 0, 1, &[]),
    ),
    (
        "CONTINUATION of headers",
        || frame(HEADERS, END_STREAM, 1, &request("GET", "/a")),
        |_| {
            // A literal header field that is not indexed.
            frame(CONTINUATION, 0, 1, &[&[0, 1, b'a', 100][..], &[b'x'; 100]].concat())
        },
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_bring_nothing_end_their_connection_and_no_other() {
    let host = Host::builder()
        .plugin_with("probe", "[limits]\ndeadline = \"1m\"\nmemory = \"64MiB\"\n")
        .settings("[http]\nmax-control-frames = 500\n")
        .start()
        .await;
    let before = resident_kib(host.pid());
    for address in [host.address, host.admin] {
        for (what, begin, flood) in FLOODS {
            let mut frames = Frames::connect(address, &[]).await;
            frames.send(begin()).await;
            let mut sends = 0;
            let sent = tokio::time::timeout(Duration::from_secs(60), async {
                while sends < SENDS {
                    let numbers = sends * AT_ONCE..(sends + 1) * AT_ONCE;
                    let batch: Vec<u8> = numbers.flat_map(flood).collect();
                    if !frames.send(batch).await {
                        return;
                    }
                    sends += 1;
                }
            });
            sent.await.unwrap_or_else(|_| panic!("{what}: the connection is stuck"));
            // Closed, and not for what the host lacks.
            frames.goodbye().await;
            assert!(sends < SENDS, "{what}: {sends} times {AT_ONCE} frames were taken");
            for client in [Client::new(), Client::h2c()] {
                let reply = client.try_request(Method::GET, &host.url("/probe/count"), "").await;
                assert_eq!(reply.expect("an answer").status, 200, "{what}");
                let url = host.admin_url("/readyz");
                let reply = client.try_request(Method::GET, &url, "").await;
                assert_eq!(reply.expect("an answer").status, 200, "{what}");
            }
        }
    }
    host.until_idle().await;
    let after = resident_kib(host.pid());
    assert!(after < before + (64 << 10), "{before} KiB before, {after} KiB after");
    // Whoever saw that it was one: the host, or the library that reads HTTP/2.
    for listener in ["public", "admin"] {
        let floods =
            format!("hotdock_connections_ended_total{{listener=\"{listener}\",reason=\"flood\"}}");
        host.until_metric(&floods, FLOODS.len() as u64).await;
    }
}

#[tokio::test]
async fn streams_that_never_end_are_bounded_and_end() {
    let host = Host::builder()
        .plugin_with("probe", "[limits]\ndeadline = \"1m\"\nconcurrency = 8\nqueue = 8\n")
        .settings(
            "[http]\nbody-idle = \"1s\"\nmax-concurrent-streams = 20\nidle-timeout = \"2s\"\n",
        )
        .start()
        .await;
    let mut frames = Frames::connect(host.address, &[]).await;
    for number in 0..60 {
        let head = request("POST", "/probe/upload?key=k");
        frames.send(frame(HEADERS, END_HEADERS, number * 2 + 1, &head)).await;
    }
    let reply = Client::h2c().try_request(Method::GET, &host.url("/probe/count"), "").await;
    assert_eq!(reply.expect("an answer").status, 200);
    // What was taken is answered 408, and the connection has nothing left then.
    assert!(frames.until(HEADERS).await.is_some());
    frames.goodbye().await;
    host.until_idle().await;
    host.until_metric("hotdock_uploads", 0).await;
}
