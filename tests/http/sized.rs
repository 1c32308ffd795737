//! Answers whose heads say how long they are: what is told of them is what became of them.

use http::Method;

use crate::harness::raw::Raw;
use crate::harness::wire::read;
use crate::harness::{Client, Host, eventually};

const PROBES: [&str; 2] = ["probe", "probe3"];

async fn probes() -> Host {
    let limits = "[limits]\ndeadline = \"1m\"\n";
    Host::builder().plugin_with("probe", limits).plugin_with("probe3", limits).start().await
}

/// How answered invocations ended that did not end well.
async fn ended_ill(host: &Host) -> Vec<String> {
    let metrics = host.metrics().await;
    let ended = metrics.lines().filter(|line| line.starts_with("hotdock_ended_after_answer_total"));
    ended.map(str::to_owned).collect()
}

/// Waits until guests have said so often how they ended their answers.
async fn until_said(host: &Host, words: &str, times: usize) {
    eventually(words, async || (host.log().matches(words).count() == times).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_all_of_its_answer_has_not_left() {
    let host = probes().await;
    let mut times = 0;
    for probe in PROBES {
        for (version, header) in [
            ("1.1", ""),
            ("1.1", "Connection: close\r\n"),
            ("1.0", ""),
            ("1.1", "half-closed: 1\r\n"),
        ] {
            let mut raw = Raw::connect(host.address).await;
            let target = format!("/{probe}/sized?length=300000&bytes=300000&ms=200");
            raw.send(format!("GET {target} HTTP/{version}\r\nHost: x\r\n{header}\r\n")).await;
            if header.starts_with("half") {
                raw.half_close().await;
            }
            let answer = read(&mut raw, "GET").await;
            assert_eq!((answer.status, answer.body.len()), (200, 300_000), "{version} {header}");
            // It ends its body only now, with nobody to send it to.
            drop(raw);
            times += 1;
            until_said(&host, "sized: written, Ok(())", times).await;
        }
        // The connection stays, and is asked again before the guest of the last is done.
        let mut raw = Raw::connect(host.address).await;
        for _ in 0..3 {
            let target = format!("/{probe}/sized?length=3&bytes=3&ms=200");
            raw.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert_eq!(read(&mut raw, "GET").await.body, b"xxx");
        }
        times += 3;
        until_said(&host, "sized: written, Ok(())", times).await;
    }
    host.until_idle().await;
    assert_eq!(ended_ill(&host).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_end_of_its_answer_has_left() {
    let host = probes().await;
    for probe in PROBES {
        let mut raw = Raw::connect(host.address).await;
        let target = format!("/{probe}/sized?length=4&bytes=3&ms=60000");
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        raw.until("\r\n\r\nxxx").await;
        drop(raw);
        let left = format!(
            "hotdock_ended_after_answer_total{{service=\"{probe}\",outcome=\"client-left\"}}"
        );
        host.until_metric(&left, 1).await;
    }
}

/// RFC 9110 §8.6 and §15.4.5: the length is that of another answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_says_how_long_another_answer_is_is_whole() {
    let host = probes().await;
    let mut times = 0;
    for probe in PROBES {
        for client in [Client::new(), Client::h2c()] {
            for (method, code) in
                [(Method::HEAD, 200), (Method::GET, 304), (Method::GET, 204), (Method::HEAD, 404)]
            {
                let target = format!("/{probe}/sized?length=300000&code={code}&ms=1");
                let reply = client.try_request(method.clone(), &host.url(&target), "").await;
                let reply = reply.unwrap_or_else(|error| panic!("{method} {target}: {error}"));
                assert_eq!((reply.status.as_u16(), reply.body.len()), (code, 0), "{method}");
                let said = if code == 204 { "" } else { "300000" };
                assert_eq!(reply.header("content-length"), said, "{reply:?}");
                times += 1;
                until_said(&host, "sized: written, Ok(())", times).await;
            }
            // What it would send to others it may write all the same.
            let target = format!("/{probe}/sized?length=3&bytes=3");
            let reply = client.try_request(Method::HEAD, &host.url(&target), "").await;
            assert_eq!(reply.expect("an answer").header("content-length"), "3");
            times += 1;
            until_said(&host, "sized: written, Ok(())", times).await;
        }
        host.until_idle().await;
        assert_eq!(ended_ill(&host).await, [""; 0]);
        assert_eq!(host.service(probe).await["serving"]["errors"], 0);
    }
}

/// Else the client would take the next answer for the rest of this one.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_shorter_than_it_says_is_cut() {
    let host = probes().await;
    let cut = |probe| {
        format!("hotdock_ended_after_answer_total{{service=\"{probe}\",outcome=\"answer-cut\"}}")
    };
    for (times, (probe, more)) in
        (1..).zip([("probe", ""), ("probe", "&end=none"), ("probe", "&ms=50"), ("probe3", "")])
    {
        let target = format!("/{probe}/sized?length=200&bytes=4{more}");
        let mut raw = Raw::connect(host.address).await;
        let get = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        raw.send(format!("{get}{get}")).await;
        let all = raw.read_to_end().await;
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{target}: {all}");
        assert!(all.contains("content-length: 200") && all.ends_with("\r\n\r\nxxxx"), "{all}");
        host.until_metric(&cut(probe), if probe == "probe" { times } else { 1 }).await;
    }
    for target in ["/probe/sized?length=200&bytes=4&end=none", "/probe3/sized?length=200&bytes=4"] {
        let reply = Client::h2c().try_request(Method::GET, &host.url(target), "").await;
        assert!(reply.is_err(), "{target}: {reply:?}");
        // One that would be kept is none.
        let keyed = http::Request::post(host.url(target)).header("idempotency-key", "\"a\"");
        let keyed =
            host.send(keyed.body(http_body_util::Full::default()).expect("a request")).await;
        assert_eq!(keyed.status, 502, "{target}: {keyed:?}");
    }
}
