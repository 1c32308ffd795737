//! The request that is measured, in the forms in which the stages take it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use wasmtime_wasi_http::WasiBody;

use crate::http::client::Peer;
use crate::manifest::Route;

/// The host that it names where no route says another.
const HOST_NAME: &str = "localhost";

/// A request, the same each time.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub target: Uri,
    /// Its body.
    pub body: Bytes,
}

impl Asked {
    /// The head as it comes from a connection.
    pub(super) fn head(&self, host: &str) -> Parts {
        let mut request =
            Request::builder().method(&self.method).uri(&self.target).header(HOST, host);
        if !self.body.is_empty() {
            request = request.header(CONTENT_LENGTH, self.body.len());
        }
        let request = request.body(()).expect("its parts were checked");
        request.into_parts().0
    }

    /// The body as it comes from a connection.
    pub(super) fn body(&self) -> WasiBody {
        if self.body.is_empty() {
            return WasiBody::default();
        }
        Full::new(self.body.clone()).map_err(|never| match never {}).boxed_unsync()
    }

    /// The bytes of it as HTTP/1.1.
    pub(super) fn bytes(&self, host: &str) -> Vec<u8> {
        let Self { method, target, body } = self;
        let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n").into_bytes();
        if !body.is_empty() {
            bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(body);
        bytes
    }
}

/// The host that a request to one of these routes has to name.
pub(super) fn host_of(routes: &[Route]) -> &str {
    routes.iter().find_map(|route| route.host.as_deref()).unwrap_or(HOST_NAME)
}

/// Who asks.
pub(super) fn peer() -> Peer {
    let address = SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000));
    Peer { address, local: address, trusted: false }
}
