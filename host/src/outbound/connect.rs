//! A new connection, step by step: a slot and a place, the address rule, TCP, TLS.

use std::collections::HashMap;
use std::future::{Future, Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower_service::Service;

use super::address::AddressRule;
use super::asker::{Place, Places};
use super::failure::ConnectFailure;
use super::resolve::{ASKER, CheckedResolver, Lookup};
use super::tls::Tls;
use super::watched::{Counted, Watched};
use crate::config::OutboundConfig;
use crate::name::ServiceName;

/// Makes connections. Clones are the same connector.
#[derive(Clone)]
pub(super) struct Connector {
    inner: Arc<Inner>,
    /// Who asks; the host itself where it is none.
    service: Option<ServiceName>,
    /// How many connections it has.
    share: Arc<AtomicUsize>,
    /// Whether peers without TLS speak HTTP/2.
    h2c: bool,
}

struct Inner {
    rule: Arc<AddressRule>,
    http: HttpConnector<CheckedResolver>,
    tls: Tls,
    slots: Slots,
    places: Arc<Places>,
    connect_timeout: Duration,
    tls_timeout: Duration,
}

/// So many slots for each of something: a service's connections to an origin, its lookups.
pub(super) struct Slots {
    limit: usize,
    taken: Mutex<HashMap<String, Weak<Semaphore>>>,
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
            places: Places::new(config.max_connections),
            connect_timeout: config.connect_timeout,
            tls_timeout: config.tls_timeout,
        };
        Self { inner: Arc::new(inner), service: None, share: Arc::default(), h2c: false }
    }

    /// The same, for a service, or the host itself.
    pub(super) fn of(self, service: Option<ServiceName>) -> Self {
        Self { service, share: Arc::default(), ..self }
    }

    /// The same, for peers that speak HTTP/2 without TLS.
    pub(super) fn h2c(self) -> Self {
        Self { h2c: true, ..self }
    }
}

/// A connection's slot at its origin and its place among all.
#[derive(Debug)]
pub(super) struct Held {
    _slot: OwnedSemaphorePermit,
    _place: Place,
}

impl Connector {
    /// What a connection to this origin takes, if there is one to be had in time.
    async fn hold(&self, origin: &str) -> Result<Held, ConnectFailure> {
        let inner = &self.inner;
        let service = self.service.as_ref().map_or("", ServiceName::as_str);
        let name = format!("{service} {origin}");
        let slot = timeout(inner.connect_timeout, inner.slots.take(&name)).await;
        let slot = slot.map_err(|_| ConnectFailure::Full {
            origin: origin.to_owned(),
            limit: inner.slots.limit,
        })?;
        let place = inner.places.take(&self.share).ok_or(ConnectFailure::OverShare)?;
        Ok(Held { _slot: slot, _place: place })
    }

    async fn connect(
        &self,
        target: Uri,
    ) -> Result<MaybeHttpsStream<TokioIo<Counted>>, ConnectFailure> {
        let inner = &self.inner;
        let origin = format!(
            "{}://{}",
            target.scheme_str().unwrap_or_default(),
            target.authority().map_or("", http::uri::Authority::as_str)
        );
        let held = self.hold(&origin).await?;
        // The resolver checks names; an address is never looked up.
        inner.check_literal(&target)?;
        let stream = inner.tcp(target.clone(), &origin).await?;
        let stream = TokioIo::new(Counted::new(stream.into_inner(), held));
        if target.scheme() != Some(&Scheme::HTTPS) {
            return Ok(MaybeHttpsStream::Http(stream));
        }
        let config = inner.tls.config().await.map_err(ConnectFailure::Tls)?;
        let mut tls = HttpsConnector::from((Connect(Some(stream)), config));
        let shaken = timeout(inner.tls_timeout, tls.call(target)).await;
        shaken.map_err(|_| ConnectFailure::TlsTimeout(origin))?.map_err(ConnectFailure::Failed)
    }
}

impl Inner {
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

#[cfg(test)]
impl Held {
    /// For a test of something else.
    pub(super) async fn one() -> Self {
        let place = Places::new(1).take(&Arc::default()).expect("the first");
        Self { _slot: Slots::new(1).take("here").await, _place: place }
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
    type Response = TokioIo<Watched>;
    type Error = ConnectFailure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let connecting = this.connect(target);
            let stream = match &this.service {
                Some(service) => ASKER.scope(service.clone(), connecting).await?,
                None => connecting.await?,
            };
            Ok(TokioIo::new(Watched::new(stream, this.h2c)))
        })
    }
}

/// Gives out the connection that there already is, for TLS to begin on.
struct Connect(Option<TokioIo<Counted>>);

impl Service<Uri> for Connect {
    type Response = TokioIo<Counted>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<Counted>>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _target: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}
