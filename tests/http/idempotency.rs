//! `Idempotency-Key`: an effect happens once, and every repeat gets its answer.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;

use crate::harness::client::Client;
use crate::harness::raw::Raw;
use crate::harness::wire::{Asked, Came};
use crate::harness::{Host, Reply, component, eventually};

async fn probe() -> Host {
    Host::builder().plugin("probe").start().await
}

fn request(host: &Host, method: Method, path: &str, key: &str) -> http::request::Builder {
    Request::builder().method(method).uri(host.url(path)).header("idempotency-key", key)
}

async fn post(host: &Host, path: &str, key: &str, body: &'static str) -> Reply {
    let request = request(host, Method::POST, path, key).body(Full::new(Bytes::from(body)));
    host.send(request.expect("a request")).await
}

fn is_repeat(reply: &Reply) -> bool {
    reply.header("idempotency-replayed") == "true"
}

/// The number at `key`, in the store.
async fn number(host: &Host, key: &str) -> i64 {
    let reply = host.get(&format!("/probe/kv?op=get&key={key}")).await.json();
    reply["value"].as_str().map_or(0, |value| value.parse().expect("a number"))
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_changes_nothing() {
    let mut host = Host::builder().plugin("probe").plugin("probe3").start().await;
    for service in ["probe", "probe3"] {
        let path = format!("/{service}/increment?key=a");
        let first = post(&host, &path, "\"k-1\"", "").await;
        assert_eq!((first.status, first.text()), (StatusCode::OK, "1".to_owned()));
        assert!(!is_repeat(&first));
        // The same key as a bare token.
        for key in ["\"k-1\"", "k-1"] {
            let repeat = post(&host, &path, key, "").await;
            assert!(is_repeat(&repeat), "{repeat:?}");
            assert_eq!((repeat.status, &repeat.body), (first.status, &first.body));
            assert_eq!(repeat.header("content-type"), first.header("content-type"));
            assert_eq!(repeat.header("content-length"), first.header("content-length"));
        }
        assert_eq!(host.post(&path, "").await.text(), "2", "without a key as ever");
    }
    // It is in the file, not in memory.
    host.kill();
    host.start().await;
    assert_eq!(replayed_and_counted(&host).await, (0, 0));
    let repeat = post(&host, "/probe/increment?key=a", "k-1", "").await;
    assert!(is_repeat(&repeat));
    assert_eq!(repeat.text(), "1");
    assert_eq!(number(&host, "a").await, 2);
}

/// How many answers the service's metrics have as replayed, and how many requests its version has
/// to answer for.
async fn replayed_and_counted(host: &Host) -> (u64, u64) {
    let series = "hotdock_requests_total{service=\"probe\",outcome=\"replayed\"} ";
    let metrics = host.metrics().await;
    let replayed = metrics.lines().find_map(|line| line.strip_prefix(series));
    let service = host.service("probe").await;
    let serving = &service["serving"];
    assert_eq!(serving["errors"], 0, "{service}");
    (
        replayed.map_or(0, |count| count.parse().expect("a number")),
        serving["requests"].as_u64().expect("a number"),
    )
}

/// It may have been another version's: this one did not run.
#[tokio::test]
async fn a_kept_answer_is_no_request_and_no_error_of_the_version_that_serves() {
    let host = probe().await;
    let path = "/probe/status?code=500";
    assert_eq!(post(&host, path, "k", "").await.status, 500);
    let (probe, manifest) = component("probe");
    host.drop_file("probe.toml", format!("{}\n# another\n", manifest.unwrap_or_default()));
    host.drop_file("probe.wasm", probe);
    eventually("another version serves", async || {
        (host.service("probe").await["serving"]["version"] != 1).then_some(())
    })
    .await;
    for _ in 0..5 {
        let repeat = post(&host, path, "k", "").await;
        assert!(repeat.status == 500 && is_repeat(&repeat), "{repeat:?}");
    }
    assert_eq!(replayed_and_counted(&host).await, (5, 0));
}

#[tokio::test]
async fn a_request_that_wrote_by_sql_or_ran_again_is_repeated_too() {
    let host = probe().await;
    for repeated in [false, true] {
        let reply = post(&host, "/probe/sql-slow?ms=0", "sql", "").await;
        assert_eq!((reply.status.as_u16(), is_repeat(&reply)), (200, repeated), "{reply:?}");
    }
    let count = host.post("/probe/sql?sql=SELECT+count(*)+FROM+probe", "").await.json();
    assert_eq!(count["rows"], serde_json::json!([[1]]));

    // All of them conflict, so most of them run leased.
    let posts: Vec<_> = (0..100)
        .map(|number| {
            let path = "/probe/increment?key=a&spin_us=200";
            let request = request(&host, Method::POST, path, &format!("n-{}", number % 50));
            let request = request.body(Full::default()).expect("a request");
            let client = host.client.clone();
            tokio::spawn(async move { client.send(request).await.expect("an answer") })
        })
        .collect();
    for post in posts {
        let reply = post.await.expect("no panic");
        assert!(reply.status == 200 || reply.status == 409, "{reply:?}");
    }
    assert_eq!(number(&host, "a").await, 50);
}

#[tokio::test]
async fn a_repeat_while_the_first_still_runs_is_409() {
    let host = Host::builder().plugin_with("probe", "[limits]\ndeadline = \"10m\"\n").start().await;
    // Again once its client has left: then the key is free.
    for _round in 0..2 {
        let mut both = [Raw::connect(host.address).await, Raw::connect(host.address).await];
        for raw in &mut both {
            raw.send(
                "POST /probe/sleep?ms=600000 HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n\
                 Content-Length: 0\r\n\r\n",
            )
            .await;
        }
        // Whichever came second; the other sleeps.
        let [one, other] = &mut both;
        let (refused, running) = tokio::select! {
            refused = one.until("still runs") => (refused, other),
            refused = other.until("still runs") => (refused, one),
        };
        assert!(refused.starts_with("HTTP/1.1 409"), "{refused}");
        assert!(refused.contains("urn:hotdock:problem:idempotency-key-in-use"), "{refused}");
        assert!(refused.contains("retry-after: 1"), "{refused}");
        assert_eq!(post(&host, "/probe/increment?key=a", "k", "").await.status, 200);
        assert!(!running.has_more());
        drop(both);
        host.until_idle().await;
    }
}

#[tokio::test]
async fn another_body_content_type_or_coding_under_the_same_key_is_422() {
    let host = probe().await;
    let path = "/probe/upload?key=u";
    assert_eq!(post(&host, path, "k", "four").await.text(), "4");
    post(&host, path, "k", "other body").await.problem(422, "idempotency-key-reused");
    let typed = request(&host, Method::POST, path, "k").header("content-type", "text/plain");
    let typed = typed.body(Full::new(Bytes::from("four"))).expect("a request");
    host.send(typed).await.problem(422, "idempotency-key-reused");
    let coded = request(&host, Method::POST, path, "k").header("content-encoding", "gzip");
    let coded = coded.body(Full::new(Bytes::from("four"))).expect("a request");
    host.send(coded).await.problem(422, "idempotency-key-reused");
    assert!(is_repeat(&post(&host, path, "k", "four").await));
    // However the body is cut.
    let mut raw = Raw::connect(host.address).await;
    raw.send(format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n",
        host.address
    ))
    .await;
    raw.send("2\r\nfo\r\n2\r\nur\r\n0\r\n\r\n").await;
    let answer = raw.until("\r\n\r\n").await;
    assert!(answer.contains("idempotency-replayed: true"), "{answer}");
}

#[tokio::test]
async fn callers_methods_and_targets_do_not_meet_under_a_key() {
    let host = probe().await;
    let path = "/probe/increment?key=a";
    let mut expected = 0;
    for (method, path, header, value) in [
        (Method::POST, path, "x-nothing", "1"),
        (Method::PUT, path, "x-nothing", "1"),
        (Method::PATCH, path, "x-nothing", "1"),
        (Method::DELETE, path, "x-nothing", "1"),
        (Method::POST, "/probe/increment?key=a&spin_us=1", "x-nothing", "1"),
        (Method::POST, path, "authorization", "Bearer 1"),
        (Method::POST, path, "authorization", "Bearer 2"),
        (Method::POST, path, "cookie", "session=1"),
    ] {
        let send = async || {
            let request = request(&host, method.clone(), path, "k").header(header, value);
            host.send(request.body(Full::default()).expect("a request")).await
        };
        expected += 1;
        let first = send().await;
        assert_eq!((first.text(), is_repeat(&first)), (expected.to_string(), false));
        let repeat = send().await;
        assert_eq!((repeat.text(), is_repeat(&repeat)), (expected.to_string(), true));
    }
    // Safe methods need no key, whatever it says.
    for _twice in 0..2 {
        expected += 1;
        let get = request(&host, Method::GET, path, "((").body(Full::default());
        let reply = host.send(get.expect("a request")).await;
        assert_eq!((reply.text(), is_repeat(&reply)), (expected.to_string(), false));
    }
}

#[tokio::test]
async fn a_malformed_key_is_400() {
    let host = probe().await;
    let too_long = "x".repeat(256);
    for key in ["\"", "\"\"", "a b", "\"a\" b", "(k)", &too_long] {
        let detail = post(&host, "/probe/increment?key=a", key, "").await;
        let detail = detail.problem(400, "bad-request");
        assert!(detail.contains("Idempotency-Key"), "{detail}");
    }
    let two = request(&host, Method::POST, "/probe/increment?key=a", "a");
    let two = two.header("idempotency-key", "b").body(Full::default()).expect("a request");
    host.send(two).await.problem(400, "bad-request");
    assert_eq!(number(&host, "a").await, 0);
}

#[tokio::test]
async fn a_failure_is_not_kept_and_what_the_service_answered_is() {
    let patient = "[limits]\ndeadline = \"1m\"\ncpu = \"500ms\"\n";
    let host = Host::builder().plugin_with("probe", patient).start().await;
    let failures = [
        ("/probe/trap", 502, "failed"),
        ("/probe/trap-after", 502, "failed"),
        ("/probe/no-answer", 502, "no-answer"),
        ("/probe/error-code", 502, "failed"),
        ("/probe/spin", 504, "out-of-cpu"),
    ];
    fail_twice(&host, &failures).await;
    fail_twice(&host, &[("/probe/status?code=600", 502, "no-answer")]).await;
    assert_eq!(host.log().matches("asked to trap").count(), 4, "it ran each time");
    // Its own answer is an answer, whatever its status.
    for code in [201, 404, 500, 503] {
        let path = format!("/probe/status?code={code}");
        for repeated in [false, true] {
            let reply = post(&host, &path, "k", "").await;
            assert_eq!((reply.status.as_u16(), is_repeat(&reply)), (code, repeated));
        }
    }
    host.until_idle().await;
}

#[tokio::test]
async fn a_deadline_is_not_kept() {
    let host = Host::builder().plugin_with("probe", "[limits]\ndeadline = \"1s\"\n").start().await;
    let failures = [
        ("/probe/sleep?ms=60000", 504, "deadline"),
        ("/probe/sse?n=1000000&ms=100", 504, "deadline"),
    ];
    fail_twice(&host, &failures).await;
    host.until_idle().await;
}

/// Each fails the second time as it did the first.
async fn fail_twice(host: &Host, failures: &[(&str, u16, &str)]) {
    for (path, status, kind) in failures {
        for _anew in 0..2 {
            let failed = post(host, path, "k", "").await;
            failed.problem(*status, kind);
            assert!(!is_repeat(&failed), "{path}");
        }
    }
}

#[tokio::test]
async fn a_trap_in_the_body_leaves_nothing_though_the_head_was_out() {
    let host = probe().await;
    post(&host, "/probe/trap-after?key=t", "k", "").await.problem(502, "failed");
    let exists = host.post("/probe/kv?op=exists&bucket=late&key=t", "").await;
    assert!(exists.text().contains("false"), "{exists:?}");
}

#[tokio::test]
async fn bodies_are_whole_or_refused() {
    let limits = "[limits]\nreplay-body = \"1KiB\"\nresponse-buffer = \"2KiB\"\n";
    let host =
        Host::builder().plugin_with("probe", limits).plugin_with("probe3", limits).start().await;
    for service in ["probe", "probe3"] {
        let large = request(&host, Method::POST, &format!("/{service}/echo"), "k");
        let large = large.body(Full::new(Bytes::from(vec![b'x'; 1025]))).expect("a request");
        let detail = host.send(large).await.problem(413, "body-too-large");
        assert!(detail.contains("1024") && detail.contains("[limits] replay-body"), "{detail}");
        let mut raw = Raw::connect(host.address).await;
        raw.send(format!(
            "POST /{service}/echo HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n"
        ))
        .await;
        raw.send(format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025))).await;
        let answer = raw.until("replay-body").await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

        for _anew in 0..2 {
            let answer = post(&host, &format!("/{service}/big?bytes=2049"), "k", "").await;
            let detail = answer.problem(502, "answer-too-large");
            assert!(detail.contains("[limits] response-buffer"), "{detail}");
            assert!(!is_repeat(&answer));
        }
        let path = format!("/{service}/big?bytes=2048");
        for repeated in [false, true] {
            let answer = post(&host, &path, "k", "").await;
            assert_eq!((answer.body.len(), is_repeat(&answer)), (2048, repeated));
        }
    }
    // Without a key nothing of this counts.
    assert_eq!(host.post("/probe/big?bytes=10000", "").await.body.len(), 10_000);
}

#[tokio::test]
async fn an_answer_that_is_too_large_leaves_nothing_behind() {
    let host =
        Host::builder().plugin_with("probe", "[limits]\nresponse-buffer = \"4B\"\n").start().await;
    let path = "/probe/kv?op=set&bucket=b&key=a&value=1";
    let put = request(&host, Method::POST, "/probe/increment?key=a", "k");
    let put = put.body(Full::default()).expect("a request");
    assert_eq!(host.send(put).await.text(), "1", "it fits");
    let answer = post(&host, "/probe/kv?op=increment&bucket=b&key=a&value=7", "k", "").await;
    answer.problem(502, "answer-too-large");
    let exists = host.post("/probe/kv?op=exists&bucket=b&key=a", "").await;
    assert!(exists.text().contains("false"), "{exists:?}");
    assert_eq!(host.post(path, "").await.status, 200);
}

#[tokio::test]
async fn a_streamed_answer_is_kept_whole_with_its_trailers() {
    let host = Host::builder().plugin("probe").plugin("probe3").start().await;
    for path in ["/probe/sse?n=20&ms=5", "/probe3/sse?n=20&ms=5"] {
        let first = post(&host, path, "k", "").await;
        assert_eq!(first.text().matches("data: ").count(), 20);
        let repeat = post(&host, path, "k", "").await;
        assert!(is_repeat(&repeat));
        assert_eq!(repeat.body, first.body);
    }
    for path in ["/probe/echo", "/probe3/echo"] {
        let body = "what comes in goes out";
        for repeated in [false, true] {
            let echo = post(&host, path, "k", body).await;
            assert_eq!((echo.text().as_str(), is_repeat(&echo)), (body, repeated));
        }
    }
    // HTTP/2 sends trailers unasked.
    let client = Client::h2c();
    for repeated in [false, true] {
        let trailed = request(&host, Method::POST, "/probe/trailers", "k");
        let trailed = trailed.body(Full::default()).expect("a request");
        let trailed = client.send(trailed).await.expect("an answer");
        assert_eq!(trailed.text(), "a body with a trailer\n");
        let sum: u64 = trailed.body.iter().map(|&byte| u64::from(byte)).sum();
        assert_eq!(trailed.trailers["x-sum"], sum.to_string());
        assert_eq!(is_repeat(&trailed), repeated);
    }
}

/// A write after the head is late, also where the transaction is still open then.
#[tokio::test]
async fn a_write_after_the_head_is_refused_as_ever() {
    let host = Host::builder().plugin("probe").plugin("probe3").start().await;
    for service in ["probe", "probe3"] {
        let path = format!("/{service}/late?ms=20&key=l");
        let first = post(&host, &path, "k", "").await;
        assert_eq!(first.text(), "ok\n");
        host.until_idle().await;
        eventually("the late write was refused", async || {
            host.log().contains("late: Err").then_some(())
        })
        .await;
        assert!(is_repeat(&post(&host, &path, "k", "").await));
    }
    let exists = host.post("/probe/kv?op=exists&bucket=late&key=l", "").await;
    assert!(exists.text().contains("false"), "{exists:?}");
}

#[tokio::test]
async fn keys_expire_and_there_are_so_many_at_the_most() {
    let settings = "[http]\nidempotency-ttl = \"1s\"\nmax-idempotency-keys = 2\n";
    let host = Host::builder().plugin("probe").file("../hotdock.toml", settings).start().await;
    let path = "/probe/increment?key=a";
    let refused = eventually("there are too many", async || {
        for key in ["a", "b", "c"] {
            let reply = post(&host, path, key, "").await;
            if reply.status != 200 {
                return Some(reply);
            }
        }
        None
    })
    .await;
    refused.problem(503, "idempotency-full");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(host.post(path, "").await.status, 200, "without a key there is room");
    eventually("a key is free again", async || {
        let reply = post(&host, path, "d", "").await;
        (reply.status == 200).then_some(())
    })
    .await;
    let before = number(&host, "a").await;
    eventually("it is expired, too", async || {
        let reply = post(&host, path, "d", "").await;
        (reply.status == 200 && !is_repeat(&reply)).then_some(())
    })
    .await;
    assert_eq!(number(&host, "a").await, before + 1);
    eventually("expired answers are taken out", async || {
        let file = rusqlite::Connection::open(host.data().join("stores/probe.db")).ok()?;
        let left: i64 =
            file.query_row("SELECT count(*) FROM _idempotency", (), |row| row.get(0)).ok()?;
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_asked_for_its_body() {
    let host = probe().await;
    let head = "POST /probe/read-none HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n\
                Expect: 100-continue\r\n";
    for repeated in [false, true] {
        let mut raw = Raw::connect(host.address).await;
        raw.send(format!("{head}Content-Length: 4\r\n\r\n")).await;
        raw.until("HTTP/1.1 100 Continue\r\n\r\n").await;
        raw.send("body").await;
        let answer = raw.until("ok\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(answer.contains("idempotency-replayed: true"), repeated, "{answer}");
    }
}

/// RFC 9110 §7.1: a request's host is part of what it is for.
#[tokio::test]
async fn an_answer_is_not_given_to_who_asks_another_host() {
    let host = probe().await;
    for asks in ["http1", "http2"] {
        let ask = async |name: &'static str| {
            let target = format!("/probe/increment?key={asks}");
            let asked =
                Asked::new("POST", target).header("host", name).header("idempotency-key", "k");
            let came = match asks {
                "http1" => asked.body("x").http1(host.address).await,
                _ => asked.body("x").http2(host.address).await.expect("it can say that"),
            };
            let Came::Answer(answer) = came else { panic!("{came:?}") };
            let replayed = answer.headers.contains_key("idempotency-replayed");
            (answer.status, String::from_utf8(answer.body).expect("text"), replayed)
        };
        assert_eq!(ask("a.example").await, (200, "1".to_owned(), false));
        assert_eq!(ask("b.example").await, (200, "2".to_owned(), false), "{asks}");
        for name in ["a.example", "A.Example.", "a.example:8080"] {
            assert_eq!(ask(name).await, (200, "1".to_owned(), true), "{asks} {name}");
        }
    }
}
