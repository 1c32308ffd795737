//! A server that services send requests to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, hyper::Error>;

/// Called with each request's number, from 1, before it is answered.
pub type Hook = Arc<dyn Fn(usize) -> BoxFuture<'static, ()> + Send + Sync>;

/// A running server.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
}

/// A request's head.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub version: Version,
    pub headers: HeaderMap,
}

impl Upstream {
    pub async fn start() -> Self {
        Self::start_with(Arc::new(|_| Box::pin(async {})), None).await
    }

    pub async fn with_hook(hook: Hook) -> Self {
        Self::start_with(hook, None).await
    }

    /// With TLS, for `localhost`, and the file that makes it trusted.
    pub async fn with_tls(folder: &tempfile::TempDir) -> (Self, PathBuf) {
        let (tls, trusted) = certified(folder, &[b"h2", b"http/1.1"]);
        (Self::start_with(Arc::new(|_| Box::pin(async {})), Some(tls)).await, trusted)
    }

    async fn start_with(hook: Hook, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::default();
        let connections = Arc::default();
        let upstream =
            Self { address, seen: Arc::clone(&seen), connections: Arc::clone(&connections) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().expect("a lock") += 1;
                tokio::spawn(serve(stream, tls.clone(), Arc::clone(&hook), Arc::clone(&seen)));
            }
        });
        upstream
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("a lock").clone()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("a lock")
    }
}

/// TLS for `localhost`, with these protocols, and the file that makes it trusted.
pub fn certified(folder: &tempfile::TempDir, protocols: &[&[u8]]) -> (TlsAcceptor, PathBuf) {
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, &certificate).expect("a file");
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a pair");
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), trusted)
}

async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    hook: Hook,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let service = service_fn(move |request| {
        let (hook, seen) = (Arc::clone(&hook), Arc::clone(&seen));
        async move { Ok::<_, Infallible>(answer(request, &hook, &seen).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // Clients leave as they like.
    match tls {
        Some(tls) => {
            let Ok(stream) = tls.accept(stream).await else { return };
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        }
        None => drop(server.serve_connection(TokioIo::new(stream), service).await),
    }
}

/// ```text
/// /echo      the body as it comes, with headers that a connection keeps to itself
/// /redirect  to /echo
/// /never     nothing
/// /stall     a chunk, then nothing
/// /cut       less than it said
/// ```
async fn answer(
    request: Request<Incoming>,
    hook: &Hook,
    seen: &Mutex<Vec<Seen>>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let number = {
        let mut seen = seen.lock().expect("a lock");
        let Seen { method, version, headers } =
            Seen { method: head.method, version: head.version, headers: head.headers };
        seen.push(Seen { method, version, headers });
        seen.len()
    };
    hook(number).await;
    let response = Response::builder();
    let built = match head.uri.path() {
        "/redirect" => response.status(302).header("location", "/echo").body(empty()),
        "/never" => std::future::pending().await,
        "/stall" => response.body(stream("first", futures_util::stream::pending())),
        "/cut" => response.header("content-length", 100).body(stream("too short", soon_over())),
        _ if head.version == Version::HTTP_2 => response.body(body.boxed()),
        _ => response
            .header("keep-alive", "timeout=7")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("x-end", "1")
            .body(body.boxed()),
    };
    built.expect("a response")
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// Nothing more, once what came before has left.
fn soon_over() -> impl Stream<Item = Result<Frame<Bytes>, hyper::Error>> + Send + Sync {
    futures_util::stream::once(tokio::time::sleep(Duration::from_millis(50)))
        .filter_map(|()| std::future::ready(None))
}

/// A body of unknown length: this, then the rest.
fn stream(
    first: &'static str,
    rest: impl Stream<Item = Result<Frame<Bytes>, hyper::Error>> + Send + Sync + 'static,
) -> Body {
    let first = futures_util::stream::once(async move { Ok(Frame::data(Bytes::from(first))) });
    BodyExt::boxed(StreamBody::new(first.chain(rest)))
}
