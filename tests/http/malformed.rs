//! Requests that are none: answered, never a hang, and the next one works.

use crate::harness::raw::Raw;
use crate::harness::wire::read;
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
        // RFC 9110 §2.5 would have it read as HTTP/1.1; the library does not.
        ("a later minor version", "GET /hello HTTP/1.2\r\nHost: x\r\n\r\n".to_owned(), "400"),
        ("another major version", "GET /hello HTTP/3.0\r\nHost: x\r\n\r\n".to_owned(), "400"),
        (
            "an expectation in a list, and a body that is held back",
            "POST /probe/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue, foo\r\nContent-Length: 5\r\n\r\n".to_owned(),
            "417",
        ),
        (
            "an expectation twice, and a body that is held back",
            "POST /probe/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n".to_owned(),
            "417",
        ),
        ("connect", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(), "400"),
        ("pri", "PRI /hello HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400"),
        ("pri of the host", "PRI * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400"),
        // Of a target with a slash it is taken off; the library reads no other of this kind.
        (
            "the host as a whole, with a fragment",
            "OPTIONS *#f HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "400",
        ),
    ];
    for (what, request, status) in cases {
        let mut raw = Raw::connect(host.address).await;
        raw.send(&request).await;
        let head = raw.until("\r\n\r\n").await.to_ascii_lowercase();
        assert!(head.contains(&format!(" {status} ")), "{what}: {head}");
        assert!(head.contains("\r\ncontent-type: application/problem+json"), "{what}: {head}");
        // Whoever refuses it, the parser or the host, says so in the same form.
        let closes = head.contains("\r\nconnection: close");
        let rest = if closes { raw.read_to_end().await } else { raw.until("}").await };
        let (_, body) = rest.split_once("\r\n\r\n").unwrap_or(("", &rest));
        let problem: serde_json::Value = serde_json::from_str(body).expect(what);
        assert_eq!(problem["status"].to_string(), status, "{what}: {problem}");
        // RFC 9110 §6.6.1
        assert_eq!(head.matches("\r\ndate: ").count(), 1, "{what}: {head}");
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
    // Any client could fill the log with it.
    assert!(!host.log().contains("hyper error"), "{}", host.log());
}

/// Who forwards requests may take a lone LF for the end of a line (RFC 9112 §2.2), and then sees
/// another end of the trailer section than who does not.
#[tokio::test]
async fn nothing_hides_behind_the_end_of_a_trailer_section() {
    let host = Host::builder()
        .plugin("probe")
        .file("hello.wasm", hello(1))
        .settings("[events]\naccept = [\"ext.*\"]\n")
        .start()
        .await;
    let hidden = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    let length = hidden.len();
    let next =
        format!("POST /probe/read-none HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    for address in [host.address, host.admin] {
        for path in ["/probe/upload?key=k", "/probe/read-none", "/probe/echo", "/events", "/absent"]
        {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/cloudevents+json\r\n\
                 Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
            );
            for end in ["0\r\n\n", "0\r\nx: y\n\n", "0\r\nx: y\r\n\n", "0\r\nx: y\n\r\n"] {
                for hidden in [hidden.to_owned(), format!("{next}{hidden}")] {
                    let mut raw = Raw::connect(address).await;
                    raw.send(format!("{head}{end}{hidden}")).await;
                    // Nothing more comes, where the section is not at its end yet.
                    raw.half_close().await;
                    let all = raw.read_to_end().await;
                    let what = format!("{path} {end:?}: {all}");
                    assert!(all.matches("HTTP/1.1 ").count() <= 1, "{what}");
                    assert!(!all.contains("Hello, world!"), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_chunked_body_keeps_its_connection_and_one_with_trailers_ends_it() {
    let host = Host::builder().plugin("probe").file("hello.wasm", hello(1)).start().await;
    let head = "POST /probe/upload?key=k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                5\r\nhello\r\n";
    let mut raw = Raw::connect(host.address).await;
    for _ in 0..3 {
        raw.send(format!("{head}0\r\n\r\n")).await;
        let answer = read(&mut raw, "POST").await;
        assert_eq!((answer.status, answer.header("connection")), (200, ""), "{answer:?}");
    }
    raw.send(format!("{head}0\r\nx: y\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let answer = read(&mut raw, "POST").await;
    assert_eq!((answer.status, answer.header("connection")), (200, "close"), "{answer:?}");
    assert_eq!(raw.read_to_end().await, "");
}

#[tokio::test]
async fn the_operators_listener_is_as_strict() {
    let host = Host::builder().plugin("probe").start().await;
    let json = "Content-Type: application/cloudevents+json\r\n";
    for (what, request, status) in [
        (
            "a coding",
            "PUT /v1/services/foo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(),
            501,
        ),
        (
            "a coding of an event",
            format!(
                "POST /events HTTP/1.1\r\nHost: localhost\r\n{json}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
            ),
            501,
        ),
        ("a port", "GET /v1/services HTTP/1.1\r\nHost: localhost:abc\r\n\r\n".to_owned(), 400),
        (
            "a large port",
            "GET /v1/services HTTP/1.1\r\nHost: 127.0.0.1:99999\r\n\r\n".to_owned(),
            400,
        ),
        ("no host", "GET /v1/services HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("the host as a whole", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 204),
        (
            "the host as a whole, by its name",
            "OPTIONS http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            204,
        ),
        (
            "an expectation",
            "GET /v1/services HTTP/1.1\r\nHost: localhost\r\nExpect: foo\r\n\r\n".to_owned(),
            417,
        ),
        ("a good one", "GET /v1/services HTTP/1.1\r\nHost: localhost:81\r\n\r\n".to_owned(), 200),
    ] {
        let mut raw = Raw::connect(host.admin).await;
        raw.send(request).await;
        let answer = read(&mut raw, "GET").await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
    }
}
