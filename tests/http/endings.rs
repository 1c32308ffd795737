//! The ends of connections and of their sides: no answer is lost with them, and the next request
//! is answered or was told that it would not be.

use std::io::{Read as _, Write as _};

use crate::harness::frames::{END_HEADERS, END_STREAM, Frames, HEADERS, fields, frame};
use crate::harness::raw::Raw;
use crate::harness::wire::read;
use crate::harness::{Host, PATIENCE, hello};

async fn host() -> Host {
    let limits = "[limits]\ndeadline = \"1m\"\n";
    Host::builder().plugin_with("probe", limits).file("hello.wasm", hello(1)).start().await
}

#[tokio::test]
async fn a_client_that_asks_for_nothing_more_gets_its_answer() {
    let host = host().await;
    for request in [
        "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /probe/sleep?ms=300 HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /probe/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        "GET /probe/sse?n=3&ms=100 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /probe/big?bytes=5000000 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /absent HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut raw = Raw::connect(host.address).await;
        raw.send(request).await;
        raw.half_close().await;
        let answer = read(&mut raw, "GET").await;
        assert_ne!(answer.status, 0, "{request}");
        assert_eq!(raw.read_to_end().await, "", "{request}");
    }
    // By HTTP/2, too.
    for target in ["/hello", "/probe/sleep?ms=300"] {
        let mut frames = Frames::connect(host.address, &[]).await;
        let head =
            [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", target)];
        frames.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&head))).await;
        frames.half_close().await;
        assert!(frames.until(HEADERS).await.is_some(), "{target}");
        while frames.next().await.is_some() {}
    }
    host.until_idle().await;
}

#[tokio::test]
async fn a_client_that_is_gone_ends_its_request() {
    let host = host().await;
    for half_closes in [false, true] {
        let mut raw = Raw::connect(host.address).await;
        raw.send("GET /probe/sleep?ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        host.until_metric("hotdock_permits_free{service=\"probe\"}", 63).await;
        if half_closes {
            raw.half_close().await;
        }
        let began = std::time::Instant::now();
        drop(raw);
        host.until_metric("hotdock_permits_free{service=\"probe\"}", 64).await;
        assert!(began.elapsed().as_secs() < 20, "not by its deadline");
    }
}

/// As Python's `http.client` does it: the whole body, then the answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_reaches_who_sends_a_large_body_first() {
    let host = host().await;
    for (path, chunked, status) in [
        ("/absent", false, "404"),
        ("/absent", true, "404"),
        ("/probe/echo", false, "413"),
        ("/probe/upload?key=k", true, "413"),
        ("/probe/read-none", true, "200"),
    ] {
        for _ in 0..3 {
            let address = host.address;
            let answer = tokio::task::spawn_blocking(move || {
                let mut stream = std::net::TcpStream::connect(address).expect("a connection");
                stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
                let body = vec![b'x'; 20 << 20];
                let framing = if chunked {
                    "Transfer-Encoding: chunked".to_owned()
                } else {
                    format!("Content-Length: {}", body.len())
                };
                let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n");
                stream.write_all(head.as_bytes()).expect("sent");
                if chunked {
                    stream.write_all(format!("{:x}\r\n", body.len()).as_bytes()).expect("sent");
                }
                stream.write_all(&body).expect("all of it is taken");
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).expect("no reset");
                String::from_utf8_lossy(&answer).into_owned()
            });
            let answer = answer.await.expect("an answer");
            let what = format!("{path}, chunked: {chunked}: {answer}");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}");
            assert!(answer.contains("connection: close"), "{what}");
        }
    }
}

#[tokio::test]
async fn an_early_answer_keeps_the_connection_or_says_that_it_ends() {
    let host = host().await;
    let large = "x".repeat(3 << 20);
    for (what, head, body, status) in [
        ("no route", "POST /absent HTTP/1.1\r\nHost: x\r\nContent-Length: 5", "hello", 404),
        ("a bad host", "POST /hello HTTP/1.1\r\nHost: a:b\r\nContent-Length: 5", "hello", 400),
        (
            "a bad key",
            "POST /probe/echo HTTP/1.1\r\nHost: x\r\nIdempotency-Key: a b\r\nContent-Length: 5",
            "hello",
            400,
        ),
        (
            "chunks",
            "POST /absent HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked",
            "5\r\nhello\r\n0\r\n\r\n",
            404,
        ),
        (
            "a large body",
            "POST /absent HTTP/1.1\r\nHost: x\r\nContent-Length: 3145728",
            large.as_str(),
            404,
        ),
        (
            "too large a body",
            "POST /probe/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3145728",
            large.as_str(),
            413,
        ),
    ] {
        for _ in 0..5 {
            let mut raw = Raw::connect(host.address).await;
            raw.send(format!("{head}\r\n\r\n")).await;
            let answer = read(&mut raw, "POST").await;
            assert_eq!(answer.status, status, "{what}");
            if answer.header("connection") == "close" {
                // All of it is still taken.
                raw.send(body).await;
                assert_eq!(raw.read_to_end().await, "", "{what}");
                continue;
            }
            raw.send(body).await;
            raw.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert_eq!(read(&mut raw, "GET").await.status, 200, "{what}");
        }
    }
}
