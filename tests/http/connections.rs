//! Connections that do nothing, next to nothing, or too much: each ends, and others are served.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request};
use http_body_util::Full;

use crate::harness::frames::{
    END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame, request,
};
use crate::harness::raw::Raw;
use crate::harness::{Client, Host, component, eventually, hello};

const SHORT: &str = "[http]\nfirst-byte-timeout = \"300ms\"\nheader-read-timeout = \"500ms\"\n\
                     idle-timeout = \"700ms\"\n";

/// An address of this machine that is not the first.
fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// Both listeners, with something that each answers.
fn both(host: &Host) -> [(&'static str, SocketAddr, String); 2] {
    [
        ("public", host.address, host.url("/probe/count")),
        ("admin", host.admin, host.admin_url("/v1/services")),
    ]
}

/// Whether it answers by HTTP/1.1 and HTTP/2.
async fn is_served(url: &str, from: IpAddr) {
    for client in [Client::from(from), Client::h2c_from(from)] {
        let reply = client.try_request(Method::GET, url, "").await;
        let reply = reply.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

/// What has begun and is not complete, in all ways that there are.
fn beginnings() -> Vec<Vec<u8>> {
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]);
    let begun = [PREFACE, &settings].concat();
    let head = frame(HEADERS, END_STREAM, 1, &request("GET", "/probe/count"));
    vec![
        b"P".to_vec(),
        b"PRI * HT".to_vec(),
        PREFACE[..23].to_vec(),
        PREFACE.to_vec(),
        [PREFACE, &settings[..5]].concat(),
        [PREFACE, &settings[..12]].concat(),
        [&begun[..], &head].concat(),
        [&begun[..], &head[..head.len() - 1]].concat(),
        [&begun[..], &head[..4]].concat(),
        b"G".to_vec(),
        b"GET /probe/count HTTP/1.1\r\n".to_vec(),
        b"GET /probe/count HTTP/1.1\r\nHost: localhost\r\n".to_vec(),
        b"\r\n\r\n".to_vec(),
    ]
}

#[tokio::test]
async fn what_does_not_begin_or_does_not_go_on_is_ended() {
    let host = Host::builder().plugin("probe").settings(SHORT).start().await;
    for (listener, address, url) in both(&host) {
        let mut silent: Vec<Raw> = Vec::new();
        for _ in 0..10 {
            silent.push(Raw::connect(address).await);
        }
        let mut begun = Vec::new();
        for start in beginnings() {
            let mut raw = Raw::connect(address).await;
            raw.send(&start).await;
            begun.push((start, raw));
        }
        is_served(&url, loopback(1)).await;
        for raw in &mut silent {
            assert_eq!(raw.read_to_end().await, "", "nothing was asked");
        }
        for (start, raw) in &mut begun {
            let told = raw.read_to_end().await;
            let is_http1 = start.starts_with(b"G") || start.starts_with(b"\r");
            assert_eq!(told.starts_with("HTTP/1.1 408 "), is_http1, "{start:?}: {told}");
        }
        let ended = |reason| {
            format!(
                "hotdock_connections_ended_total{{listener=\"{listener}\",reason=\"{reason}\"}}"
            )
        };
        host.until_metric(&ended("first-byte"), 10).await;
        host.until_metric(&ended("head"), begun.len() as u64).await;
    }
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_late_all_the_same() {
    let host = Host::builder().plugin("probe").settings(SHORT).start().await;
    for (_, address, url) in both(&host) {
        for start in ["GET / HTTP/1.1\r\nX: ", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let mut raw = Raw::connect(address).await;
            raw.send(start).await;
            // Of HTTP/2 the settings, of which one byte after the other comes.
            let mut bytes = frame(SETTINGS, 0, 0, &[0; 600]).into_iter();
            let trickle = async {
                while raw.try_send([bytes.next().expect("enough")]).await {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), trickle).await.expect("it is ended");
            is_served(&url, loopback(1)).await;
        }
    }
}

#[tokio::test]
async fn connections_without_requests_end_and_those_with_some_do_not() {
    let host = Host::builder().plugin("probe").settings(SHORT).start().await;
    let get = "GET /probe/sleep?ms=1500 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut busy = Raw::connect(host.address).await;
    busy.send(get).await;
    let mut streams = Frames::connect(host.address, &[]).await;
    let head = request("GET", "/probe/sleep?ms=1500");
    streams.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)).await;
    for (_, address, _) in both(&host) {
        let mut idle = Raw::connect(address).await;
        idle.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        idle.until("\r\n\r\n").await;
        idle.read_to_end().await;
        let mut idle = Frames::connect(address, &[]).await;
        idle.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("GET", "/healthz"))).await;
        assert!(idle.until(HEADERS).await.is_some());
        // It answers pings, and is no less idle for that.
        let pinged = eventually("it is told to go", async || {
            idle.send(frame(6, 0, 0, &[0; 8])).await;
            idle.next().await.is_none_or(|frame| frame.kind == GOAWAY).then_some(())
        });
        pinged.await;
    }
    assert!(busy.until("\r\n").await.starts_with("HTTP/1.1 200 "));
    assert!(streams.until(HEADERS).await.is_some(), "it was not idle");
}

#[tokio::test]
async fn up_to_every_bound_others_are_served() {
    let host = Host::builder()
        .plugin("probe")
        .settings(
            "[http]\nmax-connections = 60\nmax-connections-per-address = 20\nadmin-max-connections = 20\n",
        )
        .start()
        .await;
    let before = usage(host.pid());
    let starts = [vec![Vec::new(); 3], beginnings()].concat();
    let mut held = Vec::new();
    for (_, address, url) in both(&host) {
        for round in 0..300 {
            let from = loopback(2 + u8::try_from(round % 6).expect("small"));
            // The host may have closed it before it says anything.
            if let Some(mut raw) = Raw::try_connect_from(from, address).await {
                raw.try_send(&starts[round % starts.len()]).await;
                held.push(raw);
            }
            if round % 50 == 0 {
                is_served(&url, loopback(1)).await;
                is_served(&url, loopback(2)).await;
                is_served(&host.admin_url("/readyz"), loopback(1)).await;
            }
        }
    }
    // Those that give way are closed by their own tasks, a moment after the next were taken.
    eventually("there are no more than may be", async || {
        let after = usage(host.pid());
        (after.descriptors < before.descriptors + 120
            && after.resident_kib < before.resident_kib + (64 << 10))
            .then_some(())
    })
    .await;
    let metrics = host.metrics().await;
    for listener in ["public", "admin"] {
        let gave_way =
            format!("hotdock_connections_ended_total{{listener=\"{listener}\",reason=\"place\"}} ");
        assert!(metrics.contains(&gave_way) && !metrics.contains(&format!("{gave_way}0\n")));
    }
}

#[tokio::test]
async fn where_all_are_at_work_the_next_is_told_so() {
    let host = Host::builder()
        .plugin_with("probe", "[limits]\ndeadline = \"1m\"\n")
        .settings("[http]\nmax-connections = 8\nmax-connections-per-address = 4\n")
        .start()
        .await;
    let mut busy = Vec::new();
    let reasons = ["address", "full"];
    for (reason, froms) in reasons.into_iter().zip([[2, 2], [3, 4]]) {
        for from in froms {
            for _ in 0..2 {
                let mut raw = Raw::connect_from(loopback(from), host.address).await;
                raw.send("GET /probe/sleep?ms=30000 HTTP/1.1\r\nHost: x\r\n\r\n").await;
                busy.push(raw);
            }
        }
        eventually("they run", async || {
            (host.service("probe").await["serving"]["leases"] == busy.len()).then_some(())
        })
        .await;
        let from = loopback(if reason == "address" { 2 } else { 5 });
        let mut next = Raw::connect_from(from, host.address).await;
        next.send("GET /probe/count HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let told = next.read_to_end().await;
        assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("Retry-After"), "{told}");
        let series =
            format!("hotdock_connections_refused_total{{listener=\"public\",reason=\"{reason}\"}}");
        host.until_metric(&series, 1).await;
    }
    let mut next = Frames::connect(host.address, &[]).await;
    assert_eq!(next.goodbye().await, Some(0xb));
    is_served(&host.admin_url("/readyz"), loopback(1)).await;
    drop(busy);
    eventually("there is room", async || {
        let reply = Client::new().try_request(Method::GET, &host.url("/probe/count"), "").await;
        reply.is_ok_and(|reply| reply.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_descriptors_the_admin_listener_answers_and_the_public_one_recovers() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    let host = Host::builder().plugin("probe").start().await;
    is_served(&host.url("/probe/count"), loopback(1)).await;
    let has = usage(host.pid()).descriptors as u64;
    let limit = Some(has + 40);
    let pid = Pid::from_raw(i32::try_from(host.pid()).expect("a pid")).expect("a pid");
    let limit = Rlimit { current: limit, maximum: limit };
    prlimit(Some(pid), Resource::Nofile, limit).expect("a limit");
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(Raw::connect(host.address).await);
    }
    host.until_logged("no connection can be taken for now").await;
    for _ in 0..20 {
        is_served(&host.admin_url("/readyz"), loopback(1)).await;
    }
    is_served(&host.url("/probe/count"), loopback(1)).await;
    drop(held);
    host.until_logged("connections are taken again").await;
    assert!(host.log().matches("no connection can be taken for now").count() < 40, "not each time");
    is_served(&host.url("/probe/count"), loopback(1)).await;
}

/// Each service's store needs some when it is first asked for, whoever has the connections.
#[tokio::test]
async fn connections_leave_descriptors_to_the_files_of_services() {
    let services: Vec<_> = (0..24).map(|number| format!("s{number}")).collect();
    let (probe, _) = component("probe");
    let mut builder = Host::builder().descriptors(256);
    for service in &services {
        let route = format!("[[route]]\npath = \"/\"\nhost = \"{service}.example\"\n");
        builder = builder
            .file(&format!("{service}.wasm"), probe.clone())
            .file(&format!("{service}.toml"), route);
    }
    let host = builder.start().await;
    let mut held = Vec::new();
    for number in 0..320_u32 {
        let from = loopback(u8::try_from(number % 8).expect("a byte") + 1);
        let mut raw = Raw::connect_from(from, host.address).await;
        raw.try_send("GET /count HTTP/1.1\r\nHost: ").await;
        held.push(raw);
    }
    for service in &services {
        let request = format!(
            "POST /probe/increment?key=k HTTP/1.1\r\nHost: {service}.example\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        eventually(&format!("{service} is asked"), async || {
            let mut raw = Raw::try_connect(host.address).await?;
            raw.try_send(&request).await;
            let (answer, _) = raw.read_to_reset().await;
            let is_turned_away = answer.is_empty() || answer.contains("problem:connections");
            assert!(is_turned_away || answer.starts_with("HTTP/1.1 200"), "{answer}");
            (!is_turned_away).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_file_for_which_descriptors_were_short_is_tried_again() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    let host = Host::builder().plugin("probe").start().await;
    is_served(&host.url("/probe/count"), loopback(1)).await;
    let pid = Pid::from_raw(i32::try_from(host.pid()).expect("a pid")).expect("a pid");
    let has = usage(host.pid()).descriptors as u64;
    let limit = |current: u64| {
        let limit = Rlimit { current: Some(current), maximum: Some(4_096) };
        prlimit(Some(pid), Resource::Nofile, limit).expect("a limit");
    };
    // By a connection that is there.
    is_served(&host.admin_url("/readyz"), loopback(1)).await;
    let ready = host.client.try_request(Method::GET, &host.admin_url("/readyz"), "").await;
    assert_eq!(ready.expect("an answer").status, 200);
    limit(8);
    let upload = Request::put(host.admin_url("/v1/services/late"))
        .header(CONTENT_TYPE, "application/wasm")
        .body(Full::new(Bytes::from(hello(2))))
        .expect("a request");
    let reply = host.client.send(upload).await.expect("an answer");
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.headers.contains_key(RETRY_AFTER), "{reply:?}");
    limit(has + 3);
    host.drop_file("hello.wasm", hello(1));
    host.until_logged("too few descriptors").await;
    limit(4_096);
    host.until_version("hello", 1).await;
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_cut() {
    let host = Host::builder()
        .plugin_with("probe", "[limits]\ndeadline = \"1m\"\nmemory = \"256MiB\"\n")
        .settings("[http]\nanswer-idle = \"700ms\"\n")
        .start()
        .await;
    let mut raw = Raw::connect(host.address).await;
    raw.send("GET /probe/big?bytes=33554432 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answers = "hotdock_connections_ended_total{listener=\"public\",reason=\"answer\"}";
    host.until_metric(answers, 1).await;
    host.until_idle().await;

    // HTTP/2, once with no room at all and once with room for the beginning.
    for (number, window) in [0, 65_535].into_iter().enumerate() {
        let mut frames = Frames::connect(host.address, &[(4, window)]).await;
        for (stream, path) in [(1, "/probe/big?bytes=1000000"), (3, "/probe/big?bytes=1000000")] {
            let head = request("GET", path);
            frames.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)).await;
        }
        for _ in 0..2 {
            let reset = frames.until(RST_STREAM).await.map(|frame| frame.stream);
            assert!(matches!(reset, Some(1 | 3)), "streams are reset, the connection stays");
        }
        frames.send(frame(6, 0, 0, &[7; 8])).await;
        assert!(frames.until(6).await.is_some(), "it answers");
        let streams =
            "hotdock_connections_ended_total{listener=\"public\",reason=\"stream-answer\"}";
        host.until_metric(streams, 2 * (number as u64 + 1)).await;
    }
    host.until_idle().await;
}

#[tokio::test]
async fn answers_that_are_not_taken_have_so_much_memory_together() {
    let limits = "[limits]\nrequest-body = \"2MiB\"\nmemory = \"256MiB\"\ndeadline = \"1m\"\n";
    let host = Host::builder()
        .plugin("probe")
        .plugin_with("greeter", limits)
        .settings("[http]\nmax-unsent = \"3MiB\"\nanswer-idle = \"10m\"\n")
        .start()
        .await;
    let ended = "hotdock_connections_ended_total{listener=\"public\",reason=\"unsent\"}";
    let body = vec![b'x'; 1 << 20];
    let head =
        format!("POST /greeter HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut raw = Raw::connect(host.address).await;
        raw.send(&head).await;
        raw.send(&body).await;
        held.push(raw);
    }
    host.until_metric(ended, 5).await;

    // HTTP/2: a window of 0 takes nothing.
    let mut frames = Vec::new();
    for _ in 0..4 {
        let mut one = Frames::connect(host.address, &[(4, 0)]).await;
        for stream in [1, 3] {
            one.send(frame(HEADERS, END_HEADERS, stream, &request("POST", "/greeter"))).await;
            for (number, part) in body[..30_000].chunks(15_000).enumerate() {
                let flags = if number == 1 { END_STREAM } else { 0 };
                one.send(frame(0, flags, stream, part)).await;
            }
        }
        frames.push(one);
    }
    is_served(&host.url("/probe/count"), loopback(1)).await;
    drop((held, frames));
    let none = "hotdock_connections_unsent_bytes{listener=\"public\"}";
    host.until_metric(none, 0).await;
}

#[tokio::test]
async fn bodies_that_take_their_time_leave_half_of_a_service_to_others() {
    let host = Host::builder()
        .plugin_with("probe", "[limits]\nconcurrency = 4\nqueue = 4\ndeadline = \"1m\"\n")
        .settings("[http]\nbody-idle = \"3s\"\nmax-uploads = 40\nmax-uploads-per-address = 30\n")
        .start()
        .await;
    let head = "POST /probe/upload?key=k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
    let mut slow = Vec::new();
    for number in 0..60 {
        let from = loopback(2 + u8::from(number >= 40));
        let mut raw = Raw::connect_from(from, host.address).await;
        raw.send(head).await;
        slow.push(raw);
    }
    host.until_metric("hotdock_uploads_refused_total", 20).await;
    for _ in 0..20 {
        is_served(&host.url("/probe/count"), loopback(1)).await;
    }
    let small = host.post("/probe/upload?key=small", "all of it").await;
    assert_eq!(small.status, 200, "one that comes at once is none of them");
    let mut told = [0, 0];
    for raw in &mut slow {
        match &raw.until("\r\n").await[..12] {
            "HTTP/1.1 503" => told[0] += 1,
            "HTTP/1.1 408" => told[1] += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(told, [20, 40]);
    host.until_idle().await;
    host.until_metric("hotdock_uploads", 0).await;
}

#[tokio::test]
async fn answers_that_are_not_taken_leave_half_of_a_service_to_others() {
    let limits = "[limits]\nconcurrency = 4\nstreams = 0\nqueue = 100\ndeadline = \"10m\"\nmemory = \"256MiB\"\n";
    let host = Host::builder()
        .plugin_with("probe", limits)
        .settings("[http]\nanswer-idle = \"10m\"\n")
        .start()
        .await;
    let mut slow = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(host.address).await;
        raw.send("GET /probe/big?bytes=33554432 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        slow.push(raw);
    }
    for _ in 0..5 {
        is_served(&host.url("/probe/count"), loopback(1)).await;
    }
    drop(slow);
    host.until_idle().await;
}

#[tokio::test]
async fn a_body_of_the_operators_that_stalls_is_408() {
    let host = Host::builder()
        .plugin("probe")
        .settings("[http]\nbody-idle = \"500ms\"\n[deploy]\nupload-idle-timeout = \"500ms\"\n")
        .start()
        .await;
    let mut raw = Raw::connect(host.admin).await;
    raw.send("PUT /v1/services/probe/traffic HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        .await;
    assert!(raw.until("\r\n").await.starts_with("HTTP/1.1 408 "));
}

#[derive(Debug)]
struct Usage {
    descriptors: usize,
    resident_kib: u64,
}

fn usage(pid: u32) -> Usage {
    let descriptors =
        std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let resident_kib = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    Usage { descriptors, resident_kib }
}

/// A client that keeps its connection cannot know, and what it sent is under way.
#[tokio::test]
async fn a_request_that_was_sent_before_the_host_ends_is_answered() {
    let mut host = Host::builder().plugin("greeter").start().await;
    let ask = "HEAD /greeter HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut kept = Vec::new();
    for _ in 0..100 {
        let mut raw = Raw::connect(host.address).await;
        raw.send(ask).await;
        raw.until("\r\n\r\n").await;
        kept.push(raw);
    }
    // It finds all of it at once.
    host.signal("STOP");
    for raw in &mut kept {
        raw.send(ask).await;
    }
    host.signal("TERM");
    host.signal("CONT");
    for mut raw in kept {
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }
    assert!(host.ended().await.success(), "{}", host.log());
}
