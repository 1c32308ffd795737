//! Requests with an `Idempotency-Key`, and what their client knows of them.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;

use super::raw::Raw;
use super::{Host, Reply, eventually};

/// A request and what its client knows of it.
pub struct Sent {
    pub key: String,
    pub path: &'static str,
    pub body: String,
    /// The answer's body, where it came.
    pub answer: Option<Bytes>,
}

impl Sent {
    /// Sends it on a connection that ends with its answer. Returns whether it could be sent.
    pub async fn send(&self, raw: &mut Raw, address: SocketAddr) -> bool {
        let Self { key, path, body, .. } = self;
        let length = body.len();
        raw.try_send(format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nIdempotency-Key: {key}\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ))
        .await
    }

    /// Takes its answer, where one comes whole. Returns whether it is one of those that
    /// [`Reply::is_turned_away`] means.
    pub async fn is_turned_away(&mut self, raw: &mut Raw) -> bool {
        let answer = raw.read_to_end().await;
        // A head says how much comes after it; what is less has been cut off.
        if let Some((head, body)) = answer.split_once("\r\n\r\n")
            && head.contains(&format!("content-length: {}", body.len()))
        {
            if head.starts_with("HTTP/1.1 503") && head.contains("retry-after: ") {
                return true;
            }
            assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
            self.answer = Some(Bytes::from(body.to_owned()));
        }
        false
    }

    /// Repeats it, until the host neither runs it any more nor says to come again.
    pub async fn repeat(&self, host: &Host) -> Reply {
        eventually("the first is no longer under way", async || {
            let repeated = Request::builder()
                .method(Method::POST)
                .uri(host.url(self.path))
                .header("idempotency-key", &self.key)
                .body(Full::new(Bytes::from(self.body.clone())));
            let reply = host.send(repeated.expect("a request")).await;
            (reply.status != 409 && !reply.is_turned_away()).then_some(reply)
        })
        .await
    }
}
