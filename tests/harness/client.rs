//! A keep-alive client.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// A client that keeps its connections.
#[derive(Clone)]
pub struct Client {
    client: Legacy<HttpConnector, Full<Bytes>>,
}

/// A whole response.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Client {
    pub fn new() -> Self {
        Self { client: Legacy::builder(TokioExecutor::new()).build_http() }
    }

    /// HTTP/2 without TLS, as one who knows that the server speaks it.
    pub fn h2c() -> Self {
        Self { client: Legacy::builder(TokioExecutor::new()).http2_only(true).build_http() }
    }

    /// One that asks from this address.
    pub fn from(address: IpAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(address));
        Self { client: Legacy::builder(TokioExecutor::new()).build(connector) }
    }

    /// The same by HTTP/2.
    pub fn h2c_from(address: IpAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(address));
        Self { client: Legacy::builder(TokioExecutor::new()).http2_only(true).build(connector) }
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, String> {
        let response = self.client.request(request).await.map_err(|error| format!("{error:?}"))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| format!("{error:?}"))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Reply { status: parts.status, headers: parts.headers, body: body.to_bytes(), trailers })
    }

    pub async fn try_request(
        &self,
        method: Method,
        url: &str,
        body: impl Into<Bytes>,
    ) -> Result<Reply, String> {
        let request = Request::builder().method(method).uri(url).body(Full::new(body.into()));
        self.send(request.expect("a request")).await
    }
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Whether nothing was done, and the same may be sent again: a busy machine takes its time,
    /// and a store's writer is nobody's for long.
    pub fn is_turned_away(&self) -> bool {
        self.status == 503 && self.headers.contains_key("retry-after")
    }

    /// Asserts a problem of the host's (RFC 9457) and returns its detail.
    pub fn problem(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let json = self.json();
        assert_eq!(json["status"], status);
        assert_eq!(json["type"], format!("urn:hotdock:problem:{kind}"), "{json}");
        json["detail"].as_str().expect("a detail").to_owned()
    }
}
