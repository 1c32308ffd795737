//! Heads: what a guest sees and what a client gets.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;

use crate::harness::client::Client;
use crate::harness::raw::Raw;
use crate::harness::{Host, hello};

async fn probes() -> Host {
    Host::builder().plugin("probe").plugin("probe3").start().await
}

fn header<'a>(request: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = request["headers"].as_array().expect("headers");
    let named = headers.iter().filter(|header| header[0] == name);
    named.map(|header| header[1].as_str().expect("text")).collect()
}

#[tokio::test]
async fn both_kinds_of_guest_see_method_scheme_authority_and_the_whole_path() {
    let host = probes().await;
    for path in ["/probe/request?a=b%20c", "/probe3/request?a=b%20c"] {
        for client in [Client::new(), Client::h2c()] {
            let reply =
                client.try_request(Method::PUT, &host.url(path), "").await.expect("an answer");
            let request = reply.json();
            assert_eq!(request["method"].as_str().expect("text").to_ascii_uppercase(), "PUT");
            assert_eq!(request["scheme"].as_str().expect("text").to_ascii_lowercase(), "http");
            assert_eq!(request["authority"], host.address.to_string());
            assert_eq!(request["path_with_query"], path);
        }
    }
}

#[tokio::test]
async fn headers_of_the_connection_do_not_reach_the_guest() {
    let host = probes().await;
    let request = Request::get(host.url("/probe/request"))
        .header("connection", "x-private, close")
        .header("x-private", "1")
        .header("te", "trailers")
        .header("x-public", "2")
        .body(Full::new(Bytes::new()))
        .expect("a request");
    let seen = host.send(request).await.json();
    for name in ["connection", "x-private", "te", "transfer-encoding"] {
        assert!(header(&seen, name).is_empty(), "{name}: {seen}");
    }
    assert_eq!(header(&seen, "x-public"), ["2"]);
}

#[tokio::test]
async fn the_guest_learns_the_client_and_not_what_the_client_claims() {
    let host = probes().await;
    let ask = async |host: &Host, client: &Client| {
        let request = Request::get(host.url("/probe/request"))
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-forwarded-proto", "https")
            // A guest of CGI's kind cannot tell these from the host's.
            .header("x_forwarded_for", "203.0.113.9")
            .header("x-forwarded_proto", "https")
            .header("hotdock_caller", "till")
            // The host never writes these, but other gateways do.
            .header("x-forwarded-port", "1")
            .header("x_forwarded_port", "1")
            .header("x-forwarded_prefix", "/shop")
            .header("x-forwarded-ssl", "on")
            .header("x-forward", "kept")
            .header("forwarded", "for=203.0.113.9")
            .body(Full::new(Bytes::new()))
            .expect("a request");
        client.send(request).await.expect("an answer").json()
    };
    let clients = [Client::new(), Client::h2c()];
    for client in &clients {
        let seen = ask(&host, client).await;
        assert_eq!(header(&seen, "x-forwarded-for"), ["127.0.0.1"]);
        for name in [
            "forwarded",
            "hotdock_caller",
            "x-forwarded-port",
            "x-forwarded-proto",
            "x-forwarded-ssl",
            "x-forwarded_prefix",
            "x-forwarded_proto",
            "x_forwarded_for",
            "x_forwarded_port",
        ] {
            assert!(header(&seen, name).is_empty(), "{name}: {seen}");
        }
        assert_eq!(header(&seen, "x-forward"), ["kept"]);
    }

    let trusting = Host::builder()
        .plugin("probe")
        .settings(
            "[http]\ntrust-forwarded = [\"127.0.0.0/8\"]\nforwarded = [\"forwarded\", \"x-forwarded-for\"]\n",
        )
        .start()
        .await;
    for client in &clients {
        let seen = ask(&trusting, client).await;
        assert_eq!(header(&seen, "x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
        assert_eq!(header(&seen, "x-forwarded-proto"), ["https"]);
        assert_eq!(header(&seen, "x-forwarded-port"), ["1"]);
        assert_eq!(header(&seen, "x-forwarded-ssl"), ["on"]);
        assert!(header(&seen, "forwarded")[0].starts_with("for=203.0.113.9, for=127.0.0.1;host="));
        assert_eq!(seen["scheme"].as_str().expect("text").to_ascii_lowercase(), "https");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let host = Host::builder().plugin("probe").file("hello.wasm", hello(1)).start().await;
    let got = host.get("/hello").await;
    let head = host.request(Method::HEAD, "/hello", "").await;
    assert_eq!(head.status, 200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-length"), got.body.len().to_string());
    let mut raw = Raw::connect(host.address).await;
    raw.send("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let both = raw.read_to_end().await;
    assert_eq!(both.matches("HTTP/1.1 200").count(), 2, "{both}");
    assert_eq!(both.matches("Hello, world!").count(), 1, "{both}");
    let head = host.request(Method::HEAD, "/absent", "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (404, 0));
}

/// RFC 9112 §4: the reason may be nothing.
#[tokio::test]
async fn a_status_without_a_name_has_no_reason() {
    let host = probes().await;
    for (code, line) in [(299, "HTTP/1.1 299 \r\n"), (404, "HTTP/1.1 404 Not Found\r\n")] {
        let path = format!("/probe/status?code={code}");
        let mut raw = Raw::connect(host.address).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with(line), "{answer}");
        let answer = Client::h2c().try_request(Method::GET, &host.url(&path), "").await;
        assert_eq!(answer.expect("an answer").status, code);
    }
}

/// RFC 9110 §15: a client would take it for a failure of the service. (`wasi:http` 0.3 lets no guest
/// have one.)
#[tokio::test]
async fn a_status_that_there_is_not_is_no_answer() {
    let host = probes().await;
    for client in [Client::new(), Client::h2c()] {
        let ask = async |code: u16| {
            let path = format!("/probe/status?code={code}");
            let asked = client.try_request(Method::GET, &host.url(&path), "").await;
            asked.expect("an answer")
        };
        assert_eq!(ask(599).await.status, 599);
        for code in [600, 999] {
            ask(code).await.problem(502, "no-answer");
        }
    }
    host.until_metric("hotdock_requests_total{service=\"probe\",outcome=\"no-answer\"}", 4).await;
}

#[tokio::test]
async fn http_1_0_is_answered() {
    let host = Host::builder().plugin("probe").file("hello.wasm", hello(1)).start().await;
    let mut raw = Raw::connect(host.address).await;
    raw.send("GET /hello HTTP/1.0\r\n\r\n").await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(answer.ends_with("VERSION-00000001\n"), "{answer}");
    let mut raw = Raw::connect(host.address).await;
    raw.send("GET /probe/sse?n=2&ms=1 HTTP/1.0\r\n\r\n").await;
    let answer = raw.read_to_end().await;
    assert!(answer.contains("data: 1") && !answer.contains("chunked"), "{answer}");
}

#[tokio::test]
async fn expect_continue_is_answered_when_the_guest_reads_or_agrees() {
    let host = probes().await;
    for path in ["/probe/echo", "/probe3/echo"] {
        let mut raw = Raw::connect(host.address).await;
        raw.send(format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        ))
        .await;
        raw.until("HTTP/1.1 100 Continue\r\n\r\n").await;
        raw.send("hello").await;
        raw.until("HTTP/1.1 200").await;
        raw.until("hello").await;
    }
    let mut raw = Raw::connect(host.address).await;
    raw.send("POST /probe/unknown HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    let answer = raw.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "refused without 100: {answer}");
    let mut raw = Raw::connect(host.address).await;
    raw.send("POST /probe/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n").await;
    let answer = raw.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "without 100: {answer}");
}

#[tokio::test]
async fn routes_match_whole_segments_and_unknown_ones_are_problems() {
    let host = Host::builder()
        .file("hello.wasm", hello(1))
        .file("hello.toml", "[[route]]\npath = \"/hello\"\n[[route]]\npath = \"/read\"\nmethods = [\"GET\", \"HEAD\"]\n[[route]]\nhost = \"shop.example\"\npath = \"/\"\n")
        .start()
        .await;
    for path in ["/hello", "/hello/", "/hello/x/y?z"] {
        assert_eq!(host.get(path).await.status, 200, "{path}");
    }
    for path in ["/", "/helloo", "/hell", "/Hello", "//helloo"] {
        host.get(path).await.problem(404, "no-route");
    }
    let refused = host.post("/read", "").await;
    refused.problem(405, "method-not-allowed");
    assert_eq!(refused.header("allow"), "GET, HEAD");
    let named = Request::get(host.url("/anything")).header("host", "SHOP.example:99");
    let named = named.body(Full::new(Bytes::new())).expect("a request");
    assert_eq!(host.send(named).await.status, 200);
}
