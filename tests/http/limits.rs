//! Limits: what a client is told, and that nothing is left behind.

use std::time::Duration;

use crate::harness::raw::Raw;
use crate::harness::wire::Asked;
use crate::harness::{Host, eventually};

#[tokio::test]
async fn a_body_that_is_too_large_is_413_however_it_comes() {
    let host =
        Host::builder().plugin_with("probe", "[limits]\nrequest-body = \"1KiB\"\n").start().await;
    host.post("/probe/upload?key=k", vec![b'x'; 1025]).await.problem(413, "body-too-large");
    let mut raw = Raw::connect(host.address).await;
    raw.send("POST /probe/upload?key=k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    raw.send(format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025))).await;
    let answer = raw.until("\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let exists = host.post("/probe/kv?op=exists&bucket=upload&key=k", "").await;
    assert!(exists.text().contains("false"));
    assert_eq!(host.post("/probe/upload?key=k", vec![b'x'; 1024]).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_late_is_408_with_the_key_that_acted() {
    let host = Host::builder()
        .plugin_with("probe", "[limits]\ndeadline = \"1s\"\n")
        .settings("[http]\nbody-idle = \"600ms\"\n")
        .start()
        .await;
    for (bytes, key) in [(1, "as long as [http] body-idle"), (5, "within 1s ([limits] deadline)")] {
        let mut raw = Raw::connect(host.address).await;
        raw.send("POST /probe/upload?key=k HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n")
            .await;
        for _ in 0..bytes {
            raw.send("x").await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let answer = raw.until(key).await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body-late"), "{answer}");
    }
    host.until_idle().await;
}

#[tokio::test]
async fn a_trap_is_502_and_says_nothing_of_the_inside() {
    let host = Host::builder().plugin("probe").plugin("probe3").start().await;
    for path in ["/probe/trap", "/probe3/trap", "/probe/error-code"] {
        let detail = host.get(path).await.problem(502, "failed");
        assert!(!detail.contains("wasm") && !detail.contains("unreachable"), "{detail}");
    }
    host.get("/probe/no-answer").await.problem(502, "no-answer");
    assert!(host.log().contains("wasm"), "the operator reads why: {}", host.log());
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_cut_and_not_ended() {
    let host = Host::builder().plugin("probe").start().await;
    let reply =
        host.client.try_request(http::Method::GET, &host.url("/probe/trap-after"), "").await;
    assert!(reply.is_err(), "{reply:?}");
    host.until_idle().await;
}

#[tokio::test]
async fn an_answer_beyond_the_buffer_of_a_guest_that_ended_comes_whole() {
    let limits = "[limits]\nresponse-buffer = \"1KiB\"\n";
    let host =
        Host::builder().plugin_with("probe", limits).plugin_with("probe3", limits).start().await;
    for path in ["/probe/big?bytes=10000", "/probe3/big?bytes=10000"] {
        assert_eq!(host.get(path).await.body.len(), 10_000, "{path}");
    }
}

#[tokio::test]
async fn a_guest_that_waits_or_computes_too_long_is_504() {
    let waits = "[limits]\ndeadline = \"300ms\"\n";
    let host =
        Host::builder().plugin_with("probe", waits).plugin_with("probe3", waits).start().await;
    for path in ["/probe/sleep?ms=10000", "/probe3/sleep?ms=10000"] {
        host.get(path).await.problem(504, "deadline");
    }
    for service in ["probe", "probe3"] {
        let labels = format!("{{service=\"{service}\",outcome=\"deadline\"}}");
        host.until_metric(&format!("hotdock_requests_total{labels}"), 1).await;
    }
    // On a busy machine the slow lane takes its time, and so do the ticks by which a guest
    // that computes is found: the budget has room for many.
    let spins = "[limits]\ndeadline = \"1m\"\ncpu = \"1s\"\n";
    let host =
        Host::builder().plugin_with("probe", spins).plugin_with("probe3", spins).start().await;
    for path in ["/probe/spin", "/probe3/spin"] {
        host.get(path).await.problem(504, "out-of-cpu");
    }
    host.until_idle().await;
    assert_eq!(host.get("/probe/count").await.status, 200);
    for service in ["probe", "probe3"] {
        for (outcome, count) in [("cpu", 1), ("answered", u64::from(service == "probe"))] {
            let labels = format!("{{service=\"{service}\",outcome=\"{outcome}\"}}");
            host.until_metric(&format!("hotdock_requests_total{labels}"), count).await;
        }
        host.until_metric(&format!("hotdock_slow_lane_total{{service=\"{service}\"}}"), 1).await;
    }
}

#[tokio::test]
async fn a_guest_that_computed_long_comes_back_to_hold_the_writer() {
    let host = Host::builder()
        .plugin_with("probe", "[limits]\ncpu = \"10s\"\ndeadline = \"1m\"\n")
        .start()
        .await;
    let series = "hotdock_slow_lane_total{service=\"probe\"}";
    // It computes until the clock says so, and on a busy machine others have most of that time.
    let never = format!("{series} 0\n");
    assert!(host.metrics().await.contains(&never));
    let mut runs = 0;
    eventually("one was handed over", async || {
        runs += 1;
        let reply = host.post("/probe/sql-slow?before=50&ms=5", "").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        (!host.metrics().await.contains(&never)).then_some(())
    })
    .await;
    let count = host.post("/probe/sql?mode=query&sql=SELECT%20count(*)%20FROM%20probe", "").await;
    assert_eq!(count.json()["rows"][0][0], runs, "{count:?}");
}

#[tokio::test]
async fn memory_is_limited_for_the_instance_as_a_whole() {
    let host = Host::builder().plugin_with("probe", "[limits]\nmemory = \"16MiB\"\n").start().await;
    assert_eq!(host.get("/probe/memory?mib=4").await.status, 200);
    host.get("/probe/memory?mib=64").await.problem(502, "out-of-memory");
    assert_eq!(host.get("/probe/memory?mib=4").await.status, 200);
}

#[tokio::test]
async fn beyond_concurrency_requests_queue_and_beyond_the_queue_they_are_503() {
    let host = Host::builder()
        .plugin_with("probe", "[limits]\nconcurrency = 2\nqueue = 1\n")
        .start()
        .await;
    let slow: Vec<_> = (0..3)
        .map(|_| {
            let (client, url) = (host.client.clone(), host.url("/probe/sleep?ms=1000"));
            tokio::spawn(async move { client.try_request(http::Method::GET, &url, "").await })
        })
        .collect();
    eventually("two run", async || {
        (host.service("probe").await["serving"]["leases"] == 2).then_some(())
    })
    .await;
    let refused = eventually("the queue is full", async || {
        let reply = host.get("/probe/count").await;
        (reply.status == 503).then_some(reply)
    })
    .await;
    refused.problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    for slow in slow {
        assert_eq!(slow.await.expect("no panic").expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_invocation() {
    let host = Host::builder()
        .plugin_with("probe", "[limits]\ndeadline = \"1m\"\nconcurrency = 4\n")
        .plugin_with("probe3", "[limits]\ndeadline = \"1m\"\n")
        .start()
        .await;
    let requests = [
        ("probe", "GET /probe/sleep?ms=60000"),
        ("probe", "GET /probe/sse?n=100000&ms=20"),
        ("probe", "POST /probe/sql-slow?ms=60000"),
        ("probe3", "GET /probe3/sleep?ms=60000"),
        ("probe3", "GET /probe3/sse?n=100000&ms=20"),
    ];
    for (service, request) in requests {
        let mut raw = Raw::connect(host.address).await;
        raw.send(format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")).await;
        if request.contains("sse") {
            raw.until("data: 1").await;
        }
        if !request.contains("sql-slow") {
            eventually(&format!("{request} runs"), async || {
                (host.service(service).await["serving"]["leases"] == 1).then_some(())
            })
            .await;
        }
        drop(raw);
        host.until_idle().await;
    }
    let next = host.post("/probe/sql-slow?ms=0", "");
    let next =
        tokio::time::timeout(Duration::from_secs(10), next).await.expect("the writer is free");
    assert_eq!(next.status, 200);
}

#[tokio::test]
async fn instances_are_reused_as_the_manifest_says() {
    for (reuse, expected) in [(1, [1, 1, 1, 1]), (3, [1, 2, 3, 1])] {
        let instances = format!("[instances]\nreuse = {reuse}\n");
        let host = Host::builder()
            .plugin_with("probe", &instances)
            .plugin_with("probe3", &instances)
            .start()
            .await;
        for path in ["/probe/count", "/probe3/count"] {
            for count in expected {
                assert_eq!(
                    host.get(path).await.text().trim(),
                    count.to_string(),
                    "{path} reuse {reuse}"
                );
                // A 0.3 guest may still be busy with what follows its answer.
                host.until_idle().await;
            }
        }
    }
}

#[tokio::test]
async fn limits_that_are_reached_are_counted_by_name() {
    let host = Host::builder().plugin("probe").start().await;
    assert_eq!(host.get("/probe/print?lines=2000&text=many").await.status, 200);
    host.get("/probe/memory?mib=1000").await.problem(502, "out-of-memory");
    host.get("/probe/outbound?url=http%3A%2F%2Fexample.com%2F").await;
    for limit in ["log", "memory"] {
        let labels = format!("{{service=\"probe\",limit=\"{limit}\"}}");
        host.until_metric(&format!("hotdock_limits_reached_total{labels}"), 1).await;
    }
    let labels = "{service=\"probe\",outcome=\"denied\"}";
    host.until_metric(&format!("hotdock_outgoing_requests_total{labels}"), 1).await;
}

#[tokio::test]
async fn a_head_has_so_many_lines_by_either_version() {
    let host = Host::builder().plugin("probe").start().await;
    let with = |lines: usize| {
        let asked = Asked::new("GET", "/probe/count");
        (0..lines).fold(asked, |asked, _| asked.header("x-a", "b"))
    };
    // With `Host`, which HTTP/2 has in another form.
    let most = with(99);
    let too_many = with(100);
    assert_eq!(most.http1(host.address).await.answer().status, 200);
    let came = most.http2(host.address).await.expect("it can be said");
    assert_eq!(came.answer().status, 200);
    let came = too_many.http2(host.address).await.expect("it can be said");
    assert_eq!(came.answer().status, 431, "{came:?}");
    let crumbs = (0..150).fold(with(90), |asked, _| asked.header("cookie", "a=b"));
    let came = crumbs.http2(host.address).await.expect("it can be said");
    assert_eq!(came.answer().status, 200, "cookies are one line");
}
