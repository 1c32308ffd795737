//! Answers that go on for longer than their head may take, and those that end too early.

use bytes::Bytes;
use http_body_util::Full;

use crate::harness::client::Client;
use crate::harness::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, fields, frame,
};
use crate::harness::raw::Raw;
use crate::harness::wire::read;
use crate::harness::{Host, eventually};

const PROBES: [&str; 2] = ["probe", "probe3"];

async fn probes(limits: &str) -> Host {
    let limits = format!("[limits]\n{limits}");
    Host::builder().plugin_with("probe", &limits).plugin_with("probe3", &limits).start().await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_goes_on_after_the_deadline_of_its_head() {
    let host = probes("deadline = \"500ms\"\nbody-idle = \"30s\"\n").await;
    for probe in PROBES {
        for client in [Client::new(), Client::h2c()] {
            let url = host.url(&format!("/{probe}/sse?n=8&ms=200"));
            let reply = client.try_request(http::Method::GET, &url, "").await;
            let reply = reply.unwrap_or_else(|error| panic!("{probe}: {error}"));
            assert_eq!(reply.text().matches("data: ").count(), 8, "{probe}: {reply:?}");
        }
        host.until_metric(&format!("hotdock_streams{{service=\"{probe}\"}}"), 0).await;
        assert_eq!(host.service(probe).await["serving"]["errors"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_have_places_of_their_own() {
    let host = probes("deadline = \"2s\"\nconcurrency = 1\nstreams = 2\n").await;
    for probe in PROBES {
        let streams = format!("hotdock_streams{{service=\"{probe}\"}}");
        let free = format!("hotdock_permits_free{{service=\"{probe}\"}}");
        let mut open = Vec::new();
        for count in 1..=2 {
            let mut raw = Raw::connect(host.address).await;
            raw.send(get(&format!("/{probe}/sse?n=100000&ms=20"))).await;
            raw.until("data: 1").await;
            open.push(raw);
            host.until_metric(&streams, count).await;
            host.until_metric(&free, 1).await;
        }
        assert_eq!(host.get(&format!("/{probe}/sse?n=1")).await.status, 200);
        // One more has a permit, and its deadline.
        let mut third = Raw::connect(host.address).await;
        third.send(get(&format!("/{probe}/sse?n=100000&ms=20"))).await;
        third.until("data: 1").await;
        host.until_metric(&free, 0).await;
        let rest = third.read_to_end().await;
        assert!(!rest.ends_with("0\r\n\r\n"), "it is cut off");
        host.until_logged("([limits] streams)").await;
        // It is the load that cut it.
        let cut = format!(
            "hotdock_ended_after_answer_total{{service=\"{probe}\",outcome=\"overloaded\"}}"
        );
        host.until_metric(&cut, 1).await;
        assert_eq!(host.service(probe).await["serving"]["errors"], 0);
        for raw in &mut open {
            raw.until("data: ").await;
        }
        drop(open);
        host.until_metric(&streams, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_which_nothing_is_made_or_taken_ends() {
    let host = probes(
        "cpu = \"60s\"\ndeadline = \"500ms\"\nbody-idle = \"1s\"\nresponse-body = \"1GiB\"\n",
    )
    .await;
    for probe in PROBES {
        let streams = format!("hotdock_streams{{service=\"{probe}\"}}");
        let mut raw = Raw::connect(host.address).await;
        raw.send(get(&format!("/{probe}/sse?n=2&ms=600000"))).await;
        let all = raw.read_to_end().await;
        assert!(all.contains("data: 0") && !all.ends_with("0\r\n\r\n"), "{all}");
        host.until_logged("nothing came of its body for 1s ([limits] body-idle)").await;
        // A client that takes nothing, though there is more.
        let mut raw = Raw::connect(host.address).await;
        raw.send(get(&format!("/{probe}/big?bytes=900000000"))).await;
        raw.until("\r\n\r\n").await;
        host.until_metric(&streams, 0).await;
        host.until_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_takes_no_longer_than_it_may() {
    let host = probes("deadline = \"500ms\"\nbody-deadline = \"1s\"\n").await;
    for probe in PROBES {
        let mut raw = Raw::connect(host.address).await;
        raw.send(get(&format!("/{probe}/sse?n=100000&ms=20"))).await;
        let all = raw.read_to_end().await;
        assert!(all.matches("data: ").count() > 10 && !all.ends_with("0\r\n\r\n"), "{all}");
        host.until_logged("its body took over 1s ([limits] body-deadline)").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_before_a_trap_goes_out_before_the_cut() {
    let host = probes("").await;
    for _ in 0..5 {
        let mut raw = Raw::connect(host.address).await;
        raw.send(get("/probe/trap-after")).await;
        let all = raw.read_to_end().await;
        assert!(all.starts_with("HTTP/1.1 200 "), "{all:?}");
        assert!(all.contains("part of a body") && !all.ends_with("0\r\n\r\n"), "{all:?}");
        let mut frames = Frames::connect(host.address, &[]).await;
        let head = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "x"),
            (":path", "/probe/trap-after"),
        ];
        frames.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&head))).await;
        let mut came = Vec::new();
        while let Some(next) = frames.next().await {
            if next.stream == 1 {
                came.push(next.kind);
            }
            if next.kind == RST_STREAM {
                break;
            }
        }
        assert_eq!(came, [HEADERS, DATA, RST_STREAM]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_has_answered_reads_what_is_committed() {
    let host = probes("").await;
    for index in 0..20 {
        let path = format!("/probe/read-late?key=k{index}");
        let mut raw = Raw::connect(host.address).await;
        raw.send(get(&path)).await;
        let answer = read(&mut raw, "GET").await;
        assert_eq!(answer.text(), "written before\n", "{answer:?}");
    }
    let named = host.post("/probe/kv?op=set&bucket=default&key=a&value=b", "").await;
    assert_eq!(named.status, 200, "{named:?}");
    // Where none is named the default is meant.
    let unnamed = eventually("it is there", async || {
        let reply = host.post("/probe/kv?op=get&bucket=&key=a", "").await;
        (reply.status == 200).then_some(reply)
    })
    .await;
    assert!(unnamed.text().contains("\"b\""), "{unnamed:?}");
}

/// RFC 9110 §9.3.2: its client has all of it, and may be gone, while its guest writes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_body_is_over_with_its_head() {
    let host = probes("deadline = \"30s\"\nbody-idle = \"60s\"\nstreams = 2\n").await;
    for probe in PROBES {
        let target = format!("/{probe}/sse?n=1000000&ms=20");
        for client in [Client::new(), Client::h2c()] {
            for _ in 0..4 {
                let reply = client.try_request(http::Method::HEAD, &host.url(&target), "").await;
                assert_eq!(reply.expect("an answer").status, 200, "{probe}");
            }
        }
        for code in [204, 205, 304] {
            let target = format!("/{probe}/sized?length=3000000&bytes=3000000&ms=20&code={code}");
            assert_eq!(host.get(&target).await.status.as_u16(), code, "{probe}");
        }
        // Long before their deadline, and though they had gone on for hours.
        host.until_idle().await;
        let service = host.service(probe).await;
        assert_eq!(service["serving"]["errors"], 0, "{service}");
    }
    let metrics = host.metrics().await;
    for ended in metrics.lines().filter(|line| line.starts_with("hotdock_ended_after_answer_total"))
    {
        assert!(ended.contains("outcome=\"client-left\""), "{ended}");
    }
    assert!(!host.log().contains("WARN"), "{}", host.log());
}

/// With a key, too: its answer is kept, and with it what was written until then.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_body_is_kept_when_its_head_is_there() {
    let host = probes("deadline = \"20s\"\n").await;
    for probe in PROBES {
        for (number, client) in [Client::new(), Client::h2c()].into_iter().enumerate() {
            for code in [204, 205, 304] {
                let path = format!("/{probe}/sized?length=3&bytes=3&ms=3600000&code={code}");
                let ask = async || {
                    let request = http::Request::post(host.url(&path))
                        .header("idempotency-key", format!("k{number}"))
                        .body(Full::new(Bytes::new()));
                    client.send(request.expect("a request")).await.expect("an answer")
                };
                let first = ask().await;
                assert_eq!(first.status.as_u16(), code, "{probe}");
                let again = ask().await;
                assert_eq!(again.status.as_u16(), code, "{probe}");
                assert_eq!(again.header("idempotency-replayed"), "true", "{probe}");
            }
        }
    }
}

/// As with one whose client takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_whose_answer_is_over_gives_its_permit_to_who_waits() {
    let host = probes("deadline = \"60s\"\nconcurrency = 2\n").await;
    for probe in PROBES {
        let target = host.url(&format!("/{probe}/sse?n=2&ms=50000"));
        for _ in 0..2 {
            let reply = Client::new().try_request(http::Method::HEAD, &target, "").await;
            assert_eq!(reply.expect("an answer").status, 200, "{probe}");
        }
        // Its guests write nothing, so they do not learn of it.
        assert_eq!(host.get(&format!("/{probe}/count")).await.status, 200, "{probe}");
        assert_eq!(host.service(probe).await["serving"]["errors"], 0);
    }
}

/// RFC 9112 §8: it has no other sign that its answer is not whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_answer_to_http_1_0_ends_by_a_reset() {
    let host = probes("body-deadline = \"1s\"\nresponse-body = \"100KiB\"\n").await;
    for header in ["", "Connection: keep-alive\r\n"] {
        let ask = async |target: &str| {
            let mut raw = Raw::connect(host.address).await;
            raw.send(format!("GET {target} HTTP/1.0\r\nHost: x\r\n{header}\r\n")).await;
            let (all, was_reset) = raw.read_to_reset().await;
            let (head, body) = all.split_once("\r\n\r\n").expect("a head");
            (head.to_ascii_lowercase(), body.to_owned(), was_reset)
        };
        for target in [
            "/probe/trap-after",
            "/probe/sse?n=100000&ms=20",
            "/probe3/sse?n=100000&ms=20",
            "/probe/big?bytes=1000000",
        ] {
            let (head, body, was_reset) = ask(target).await;
            assert!(head.starts_with("http/1.0 200 "), "{target}: {head}");
            assert!(head.contains("connection: close"), "{target}: {head}");
            assert!(!body.is_empty() && was_reset, "{target}: {body:?}");
        }
        for probe in PROBES {
            let (head, body, was_reset) = ask(&format!("/{probe}/sse?n=3&ms=50")).await;
            assert!(head.contains("connection: close"), "{probe}: {head}");
            assert!(body.contains("data: 2\n\n") && !was_reset, "{probe}: {body:?}");
            let target = format!("/{probe}/sized?length=3&bytes=3&ms=50");
            let mut raw = Raw::connect(host.address).await;
            raw.send(format!("GET {target} HTTP/1.0\r\nHost: x\r\n{header}\r\n")).await;
            let answer = read(&mut raw, "GET").await;
            assert_eq!(answer.body, b"xxx", "{probe}: {answer:?}");
            assert_eq!(answer.header("connection") == "keep-alive", !header.is_empty());
        }
    }
}
