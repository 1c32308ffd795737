//! Requests that are none: answered, never a hang, and the next one works.

use crate::harness::raw::Raw;
use crate::harness::{Host, hello};

#[tokio::test]
async fn malformed_requests_get_an_answer_and_leave_the_host_well() {
    let host = Host::builder().plugin("probe").file("hello.wasm", hello(1)).start().await;
    let long = "x".repeat(100_000);
    let cases = [
        ("no request line", "\0\0\0\r\n\r\n".to_owned(), "400"),
        ("a bad method", "G@T /hello HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400"),
        ("a bad target", "GET hello HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400"),
        ("no host", "GET /hello HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("two hosts", "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), "400"),
        ("a host that is none", "GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), "400"),
        ("a header without name", "GET /hello HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n".to_owned(), "400"),
        ("a space before the colon", "GET /hello HTTP/1.1\r\nHost : x\r\n\r\n".to_owned(), "400"),
        ("huge headers", format!("GET /hello HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"), "431"),
        (
            "many headers",
            format!("GET /hello HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(200)),
            "431",
        ),
        (
            "two lengths",
            "POST /probe/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(),
            "400",
        ),
        (
            "a negative length",
            "POST /probe/echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(),
            "400",
        ),
        (
            "an unknown coding",
            "POST /probe/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(),
            "400",
        ),
        ("connect", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(), "400"),
    ];
    for (what, request, status) in cases {
        let mut raw = Raw::connect(host.address).await;
        raw.send(&request).await;
        let answer = raw.until("\r\n").await;
        assert!(answer.contains(&format!(" {status} ")), "{what}: {answer}");
    }
    assert_eq!(host.get("/hello").await.status, 200);
    host.until_idle().await;
}

/// RFC 9112 §6.1: both framings in one message is how requests are smuggled.
#[tokio::test]
async fn a_request_with_two_framings_cannot_smuggle_another() {
    let host = Host::builder().plugin("probe").file("hello.wasm", hello(1)).start().await;
    let mut raw = Raw::connect(host.address).await;
    raw.send(
        "POST /probe/read-none HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    .await;
    let answer = raw.read_to_end().await;
    assert!(
        !answer.contains("Hello, world!"),
        "the connection ends with the doubtful one: {answer}"
    );
}

#[tokio::test]
async fn bad_chunks_end_the_request_and_not_the_host() {
    let host = Host::builder().plugin("probe").start().await;
    let mut raw = Raw::connect(host.address).await;
    raw.send(
        "POST /probe/upload?key=k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    )
    .await;
    raw.read_to_end().await;
    host.until_idle().await;
    let exists = host.post("/probe/kv?op=exists&bucket=upload&key=k", "").await;
    assert!(exists.text().contains("false"), "{exists:?}");
}
