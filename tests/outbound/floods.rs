//! Peers that send without end what is no answer, and what a pooled connection does then.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::upstream::certified;
use super::{local, probe, send};
use crate::harness::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame,
};
use crate::harness::{Client, PATIENCE};

/// What the system takes by itself is a tenth of it.
const MOST: usize = 64 << 20;

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A peer that answers a request and then floods, when it is told to.
struct Flooding {
    url: String,
    origin: String,
    go: Arc<Notify>,
    /// How much was taken of each connection's flood until it was closed.
    taken: mpsc::UnboundedReceiver<usize>,
}

impl Flooding {
    /// A peer that speaks HTTP/2 where its answer isn't text.
    async fn start(tls: Option<&TlsAcceptor>, answer: &[u8], flood: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let (told, taken) = mpsc::unbounded_channel();
        let go = Arc::new(Notify::new());
        let (may, tls) = (Arc::clone(&go), tls.cloned());
        let (answer, each) = (answer.to_vec(), flood.to_vec());
        let is_http2 = !answer.starts_with(b"HTTP");
        let port = address.port();
        let (url, origin) = match (tls.is_some(), is_http2) {
            (true, _) => (format!("https://localhost:{port}"), format!("https://localhost:{port}")),
            (false, true) => (format!("http://{address}"), format!("h2c://{address}")),
            (false, false) => (format!("http://{address}"), format!("http://{address}")),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (told, may, tls) = (told.clone(), Arc::clone(&may), tls.clone());
                let (answer, each) = (answer.clone(), each.clone());
                tokio::spawn(async move {
                    let taken = match tls {
                        Some(tls) => {
                            let stream = tls.accept(stream).await.expect("TLS");
                            flooded(stream, &answer, &may, &each).await
                        }
                        None => flooded::<TcpStream>(stream, &answer, &may, &each).await,
                    };
                    _ = told.send(taken);
                });
            }
        });
        Self { url, origin, go, taken }
    }

    async fn taken(&mut self) -> usize {
        let taken = timeout(PATIENCE, self.taken.recv()).await;
        taken.expect("it ends in time").expect("a connection")
    }
}

/// How much of its flood a connection took.
async fn flooded<S>(mut stream: S, answer: &[u8], may: &Notify, each: &[u8]) -> usize
where
    S: AsyncRead + AsyncWrite + Send + 'static + Unpin,
{
    let mut read = Vec::new();
    while !is_asked(&read) {
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return 0;
        }
    }
    stream.write_all(answer).await.expect("it is answered");
    stream.flush().await.expect("it is answered");
    let (mut from, mut to) = tokio::io::split(stream);
    tokio::spawn(async move { while matches!(from.read(&mut [0; 4096]).await, Ok(1..)) {} });
    may.notified().await;
    let batch = each.repeat(1 + (16 << 10) / each.len());
    let mut taken = 0;
    while taken < MOST && to.write_all(&batch).await.is_ok() {
        taken += batch.len();
    }
    taken
}

/// Whether a request's head has come, of HTTP/1.1 or HTTP/2.
fn is_asked(read: &[u8]) -> bool {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let Some(mut frames) = read.strip_prefix(PREFACE) else {
        let is_http2 = PREFACE.starts_with(&read[..read.len().min(PREFACE.len())]);
        return !is_http2 && read.ends_with(b"\r\n\r\n");
    };
    while let [a, b, c, kind, ..] = frames {
        if *kind == HEADERS {
            return true;
        }
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        frames = frames.get(9 + length..).unwrap_or_default();
    }
    false
}

fn floods() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("PING that are answers", frame(PING, 1, 0, &[0; 8])),
        ("unknown frames", frame(0xfa, 0, 0, &[])),
        ("unknown frames with something", frame(0xfa, 0, 0, &[0; 16_000])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("RST_STREAM", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
    ]
}

/// `:status: 200`.
const OK: &[u8] = &[0x88];

async fn is_served(client: &Client, url: &str) {
    let reply = client.try_request(http::Method::GET, url, "").await;
    assert_eq!(reply.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sends_without_end_after_its_answer_loses_its_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tls, trusted) = certified(&folder, &[b"h2"]);
    // The same certificate, without HTTP/2.
    let mut old = (**tls.config()).clone();
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    let old = TlsAcceptor::from(Arc::new(old));
    let settings = frame(SETTINGS, 0, 0, &[]);
    let head = frame(HEADERS, END_HEADERS, 1, OK);
    let answer = [settings, head, frame(DATA, END_STREAM, 1, b"hello")].concat();
    let mut peers = Vec::new();
    for (what, flood) in floods() {
        peers.push((what, Flooding::start(None, &answer, &flood).await));
        peers.push((what, Flooding::start(Some(&tls), &answer, &flood).await));
    }
    for tls in [None, Some(&old)] {
        for (what, flood) in [("an answer of HTTP/1.1", HELLO), ("lines", "\r\n")] {
            let peer = Flooding::start(tls, HELLO.as_bytes(), flood.as_bytes()).await;
            peers.push((what, peer));
        }
    }
    let origins: Vec<_> = peers.iter().map(|(_, peer)| peer.origin.as_str()).collect();
    let host = local(probe(&origins)).environment("SSL_CERT_FILE", &trusted).start().await;
    for (what, peer) in &mut peers {
        let answer = send(&host, &format!("{}/", peer.url), "").await;
        assert_eq!(answer["body"], "hello", "{what}, {}: {answer}", peer.origin);
        host.until_idle().await;
        peer.go.notify_one();
        let taken = peer.taken().await;
        assert!(taken < MOST, "{what}, {}: {taken} bytes were taken", peer.origin);
        for client in [Client::new(), Client::h2c()] {
            is_served(&client, &host.url("/probe/count")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sends_without_end_before_its_answer_ends_the_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tls, trusted) = certified(&folder, &[b"h2"]);
    let answer = [frame(SETTINGS, 0, 0, &[]), frame(HEADERS, END_HEADERS, 1, OK)].concat();
    let mut peers = Vec::new();
    for (what, flood) in floods() {
        peers.push((what, Flooding::start(None, &answer, &flood).await));
        peers.push((what, Flooding::start(Some(&tls), &answer, &flood).await));
    }
    let origins: Vec<_> = peers.iter().map(|(_, peer)| peer.origin.as_str()).collect();
    let host = local(probe(&origins)).environment("SSL_CERT_FILE", &trusted).start().await;
    for (what, peer) in &mut peers {
        peer.go.notify_one();
        let answer = send(&host, &format!("{}/", peer.url), "").await;
        let is_over = answer["error"].is_string() || answer["whole"] == false;
        assert!(is_over, "{what}, {}: {answer}", peer.origin);
        let taken = peer.taken().await;
        assert!(taken < MOST, "{what}, {}: {taken} bytes were taken", peer.origin);
        for client in [Client::new(), Client::h2c()] {
            is_served(&client, &host.url("/probe/count")).await;
        }
    }
}
