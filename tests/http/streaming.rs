//! Bodies that stream.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;

use crate::harness::Host;
use crate::harness::client::Client;
use crate::harness::raw::Raw;

const PROBES: [&str; 2] = ["/probe", "/probe3"];

async fn probes() -> Host {
    let limits = "[limits]\nrequest-body = \"100MiB\"\ndeadline = \"30s\"\ncpu = \"20s\"\n";
    Host::builder().plugin_with("probe", limits).plugin_with("probe3", limits).start().await
}

#[tokio::test]
async fn echo_is_full_duplex_on_http_1() {
    let host = probes().await;
    for probe in PROBES {
        let mut raw = Raw::connect(host.address).await;
        raw.send(format!(
            "POST {probe}/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        ))
        .await;
        for word in ["one", "two", "three"] {
            raw.send(format!("{:x}\r\n{word}\r\n", word.len())).await;
            // The answer to this part comes before the next part is sent.
            raw.until(word).await;
        }
        raw.send("0\r\n\r\n").await;
        raw.until("0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn echo_is_full_duplex_on_http_2() {
    let host = probes().await;
    for probe in PROBES {
        let client = Legacy::builder(TokioExecutor::new()).http2_only(true).build_http();
        let (parts, receiver) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
        let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|part| (part, receiver))
        });
        let request = Request::post(host.url(&format!("{probe}/echo")));
        let request = request.body(StreamBody::new(Box::pin(stream))).expect("a request");
        let response = tokio::spawn(async move { client.request(request).await });
        parts.send(Ok(Frame::data(Bytes::from_static(b"one")))).await.expect("sent");
        let mut body = response.await.expect("no panic").expect("a head").into_body();
        let mut next =
            async || body.frame().await.expect("a frame").expect("good").into_data().expect("data");
        assert_eq!(next().await, "one");
        for word in ["two", "three"] {
            parts.send(Ok(Frame::data(Bytes::from(word)))).await.expect("sent");
            assert_eq!(next().await, word);
        }
        drop(parts);
        let rest = body.collect().await.expect("a good end").to_bytes();
        assert!(rest.is_empty(), "{rest:?}");
    }
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let host = probes().await;
    for probe in PROBES {
        let mut raw = Raw::connect(host.address).await;
        // The second is never made: one that waits for it would wait until the deadline.
        raw.send(format!("GET {probe}/sse?n=2&ms=600000 HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let head = raw.until("data: 0").await;
        assert!(head.contains("text/event-stream"), "{head}");
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let host = probes().await;
    for probe in PROBES {
        let client = Legacy::builder(TokioExecutor::new()).http2_only(true).build_http();
        let mut trailers = http::HeaderMap::new();
        // Blanks around a value are none of it.
        trailers.insert("x-sum", http::HeaderValue::from_static(" 42\t"));
        // What only a head may say doesn't.
        trailers.insert("x-forwarded-for", "192.0.2.1".parse().expect("a value"));
        trailers.insert("x_forwarded_for", "192.0.2.1".parse().expect("a value"));
        trailers.insert("x-forwarded-port", "1".parse().expect("a value"));
        trailers.insert("authorization", "Bearer x".parse().expect("a value"));
        let frames: [Result<Frame<Bytes>, std::io::Error>; 2] =
            [Ok(Frame::data(Bytes::from_static(b"body"))), Ok(Frame::trailers(trailers))];
        let request = Request::post(host.url(&format!("{probe}/echo")));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let response =
            client.request(request.body(body).expect("a request")).await.expect("a head");
        let body = response.into_body().collect().await.expect("a body");
        let trailers = body.trailers().expect("trailers");
        assert_eq!(trailers["x-sum"], "42", "{probe}");
        assert_eq!(trailers.len(), 1, "{probe}: {trailers:?}");
        assert_eq!(body.to_bytes(), "body");
    }
}

#[tokio::test]
async fn large_bodies_stream_without_being_kept() {
    const SIZE: usize = 50 << 20;
    let host = probes().await;
    let warm = host.post("/probe/echo", vec![b'x'; 4 << 20]).await;
    assert_eq!(warm.body.len(), 4 << 20);
    let before = host.resident_bytes();
    for client in [Client::new(), Client::h2c()] {
        for probe in PROBES {
            let body = Bytes::from(vec![b'x'; SIZE]);
            let reply =
                client.try_request(Method::POST, &host.url(&format!("{probe}/echo")), body).await;
            let reply = reply.expect("an answer");
            assert_eq!((reply.status.as_u16(), reply.body.len()), (200, SIZE), "{probe}");
        }
    }
    let grown = host.resident_bytes().saturating_sub(before);
    assert!(grown < SIZE as u64 / 2, "memory grew by {grown} bytes");
}

#[tokio::test]
async fn a_made_body_of_any_size_arrives_whole() {
    let host = probes().await;
    for probe in PROBES {
        for bytes in [0, 1, 100_000, 3_000_000] {
            let reply = host.get(&format!("{probe}/big?bytes={bytes}")).await;
            assert_eq!((reply.status.as_u16(), reply.body.len()), (200, bytes), "{probe}");
        }
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_hang_the_connection() {
    let host = probes().await;
    let reply = host.post("/probe/read-none", vec![b'x'; 1 << 20]).await;
    assert_eq!(reply.status, 200);
    assert_eq!(host.get("/probe/count").await.status, 200);
}
