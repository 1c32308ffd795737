//! A new connection, step by step: a slot, the address rule, TCP, TLS.

use std::collections::HashMap;
use std::future::{Future, Ready, ready};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower_service::Service;

use super::address::AddressRule;
use super::failure::ConnectFailure;
use super::resolve::{CheckedResolver, Lookup};
use super::tls::Tls;
use crate::config::OutboundConfig;

/// Makes connections. Clones are the same connector.
#[derive(Clone)]
pub(super) struct Connector {
    inner: Arc<Inner>,
}

struct Inner {
    rule: Arc<AddressRule>,
    http: HttpConnector<CheckedResolver>,
    tls: Tls,
    slots: Slots,
    connect_timeout: Duration,
    tls_timeout: Duration,
}

/// So many slots for each of something: an origin's connections, a service's lookups.
pub(super) struct Slots {
    limit: usize,
    taken: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// How often a connection is read before others have their turn. A peer that sends without end
/// what is no answer yet (interim responses are read as long as there are any) would have the
/// thread for itself.
const READS_AT_ONCE: u8 = 2;

/// A TCP connection, counted until it is closed.
pub(super) struct Counted {
    stream: TokioIo<TcpStream>,
    /// Reads since its task gave way, none of which had to wait.
    reads: u8,
    _slot: OwnedSemaphorePermit,
}

impl Connector {
    pub(super) fn new(config: &OutboundConfig, lookup: Lookup, tls: Tls) -> Self {
        let rule = Arc::new(AddressRule::new(config.allow_private.clone()));
        let resolver = CheckedResolver::new(lookup, Arc::clone(&rule), config.connect_timeout);
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        // Shared among a name's addresses, so that one that is dead leaves time.
        http.set_connect_timeout(Some(config.connect_timeout));
        let slots = Slots::new(config.max_connections_per_origin);
        let inner = Inner {
            rule,
            http,
            tls,
            slots,
            connect_timeout: config.connect_timeout,
            tls_timeout: config.tls_timeout,
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Inner {
    async fn connect(&self, target: Uri) -> Result<MaybeHttpsStream<Counted>, ConnectFailure> {
        let origin = format!(
            "{}://{}",
            target.scheme_str().unwrap_or_default(),
            target.authority().map_or("", http::uri::Authority::as_str)
        );
        let slot = timeout(self.connect_timeout, self.slots.take(&origin)).await;
        let slot = slot.map_err(|_| ConnectFailure::Full(origin.clone()))?;
        // The resolver checks names; an address is never looked up.
        self.check_literal(&target)?;
        let stream = self.tcp(target.clone(), &origin).await?;
        let stream = Counted { stream, reads: 0, _slot: slot };
        if target.scheme() != Some(&Scheme::HTTPS) {
            return Ok(MaybeHttpsStream::Http(stream));
        }
        let config = self.tls.config().await.map_err(ConnectFailure::Tls)?;
        let mut tls = HttpsConnector::from((Connect(Some(stream)), config));
        let shaken = timeout(self.tls_timeout, tls.call(target)).await;
        shaken.map_err(|_| ConnectFailure::TlsTimeout(origin))?.map_err(ConnectFailure::Failed)
    }

    fn check_literal(&self, target: &Uri) -> Result<(), ConnectFailure> {
        let host = target.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let Ok(address) = bare.parse::<IpAddr>() else { return Ok(()) };
        let prohibited = |what| ConnectFailure::Prohibited { host: host.to_owned(), address, what };
        self.rule.check(address).map_err(prohibited)
    }

    async fn tcp(&self, target: Uri, origin: &str) -> Result<TokioIo<TcpStream>, ConnectFailure> {
        // The lookup has a timeout of its own, of the same length.
        let connecting = self.http.clone().call(target);
        match timeout(2 * self.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(|error| ConnectFailure::Failed(Box::new(error))),
            Err(_) => Err(ConnectFailure::ConnectTimeout(origin.to_owned())),
        }
    }
}

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, taken: Mutex::default() }
    }

    pub(super) async fn take(&self, name: &str) -> OwnedSemaphorePermit {
        let slots = self.of(name);
        slots.acquire_owned().await.expect("the semaphore is never closed")
    }

    fn of(&self, name: &str) -> Arc<Semaphore> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = taken.get(name).and_then(Weak::upgrade) {
            return slots;
        }
        // A permit keeps its semaphore: what is gone has no connections.
        taken.retain(|_, slots| slots.strong_count() > 0);
        let slots = Arc::new(Semaphore::new(self.limit));
        taken.insert(name.to_owned(), Arc::downgrade(&slots));
        slots
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Counted>;
    type Error = ConnectFailure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.connect(target).await })
    }
}

/// Gives out the connection that there already is, for TLS to begin on.
struct Connect(Option<Counted>);

impl Service<Uri> for Connect {
    type Response = Counted;
    type Error = io::Error;
    type Future = Ready<io::Result<Counted>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _target: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

impl Connection for Counted {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads == READS_AT_ONCE {
            self.reads = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.reads = if polled.is_ready() { self.reads + 1 } else { 0 };
        polled
    }
}

impl Write for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;
    use std::task::Waker;

    use hyper::rt::ReadBuf;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// Has each of its wakes counted.
    #[derive(Default)]
    struct Wakes(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_connection_with_much_to_read_gives_way_after_a_few_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (mut peer, _) = listener.accept().await.expect("a connection");
        peer.write_all(&[7; 16]).await.expect("sent");
        stream.readable().await.expect("there is something");
        let slot = Slots::new(1).take("here").await;
        let mut counted = Counted { stream: TokioIo::new(stream), reads: 0, _slot: slot };
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut read = || {
            let mut bytes = [MaybeUninit::uninit(); 1];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            let mut context = Context::from_waker(&waker);
            Pin::new(&mut counted).poll_read(&mut context, buffer.unfilled()).is_ready()
        };
        let woken = || wakes.0.load(std::sync::atomic::Ordering::SeqCst);
        for turn in 0..3 {
            assert!(read() && read(), "there is something to read");
            assert_eq!(woken(), turn);
            assert!(!read(), "others have their turn");
            assert_eq!(woken(), turn + 1, "it comes again by itself");
        }
    }
}
