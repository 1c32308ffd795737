//! Outgoing HTTP requests of all services: what may be asked, and the one
//! client that asks.
//!
//! A request passes two gates. Its *origin* (scheme, host, port) must be in the
//! manifest of the version that sends it: `grant`, per request, before the
//! client sees it. The *addresses* of every new connection must be public, or in
//! a network that the operator opened: `address`, after the name was looked up.
//!
//! All services share one pool of connections. That is safe because the address
//! rule is the host's, the same for all: no connection in the pool leads to an
//! address that only one service may reach; and what differs between services,
//! the origins, is checked before the pool is asked, whose key is the origin.

mod address;
mod body;
mod connect;
mod failure;
mod grant;
mod headers;
mod lasting;
mod own;
mod peer;
mod request;
mod resolve;
mod tls;
mod watched;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::runtime::Handle;

use self::body::RequestBody;
use self::connect::Connector;
use self::resolve::{CheckedResolver, Lookup};
use self::tls::Tls;
use crate::config::OutboundConfig;
use crate::manifest::Manifest;
use crate::service::{ServiceName, VersionId};

pub(crate) use grant::Grant;
pub(crate) use lasting::Lasting;
pub(crate) use own::AskError;
pub(crate) use request::Sent;

type Client = legacy::Client<Connector, RequestBody>;

/// The host's client. Clones are the same client.
#[derive(Clone)]
pub struct Outbound {
    inner: Arc<Inner>,
}

struct Inner {
    config: OutboundConfig,
    client: Client,
    /// For peers that are known to speak HTTP/2 without TLS.
    h2c: Client,
    tls: Tls,
    /// The one that it was made in: guests of the slow lane send requests, too.
    runtime: Option<Handle>,
    /// Requests under way by service; a version that exists keeps its service's.
    in_flight: Mutex<HashMap<ServiceName, Weak<AtomicUsize>>>,
}

impl Outbound {
    /// A client with these limits. It opens nothing before its first request.
    #[must_use]
    pub fn new(config: OutboundConfig) -> Self {
        Self::with_lookup(config, CheckedResolver::of_the_system())
    }

    fn with_lookup(config: OutboundConfig, lookup: Lookup) -> Self {
        let header_bytes = config.max_header_bytes;
        let tls = Tls::default();
        let connector = Connector::new(&config, lookup, tls.clone());
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.idle_timeout)
            .pool_max_idle_per_host(config.max_idle_per_origin)
            .http1_max_buf_size(usize::try_from(header_bytes).unwrap_or(usize::MAX))
            .http2_max_header_list_size(header_bytes);
        let client = builder.build(connector.clone());
        let h2c = builder.http2_only(true).build(connector.h2c());
        Self {
            inner: Arc::new(Inner {
                config,
                client,
                h2c,
                tls,
                runtime: Handle::try_current().ok(),
                in_flight: Mutex::default(),
            }),
        }
    }

    /// Has the certificates that are trusted read anew, for connections from now on.
    pub fn forget_certificates(&self) {
        self.inner.tls.forget();
    }

    /// What a version may send.
    pub(crate) fn grant(&self, version: &VersionId, manifest: &Arc<Manifest>) -> Arc<Grant> {
        let in_flight = self.in_flight(&version.service);
        Arc::new(Grant::new(self.clone(), version.clone(), Arc::clone(manifest), in_flight))
    }

    fn in_flight(&self, service: &ServiceName) -> Arc<AtomicUsize> {
        let mut all = self.inner.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = all.get(service).and_then(Weak::upgrade) {
            return counter;
        }
        all.retain(|_, counter| counter.strong_count() > 0);
        let counter = Arc::default();
        all.insert(service.clone(), Arc::downgrade(&counter));
        counter
    }

    fn config(&self) -> &OutboundConfig {
        &self.inner.config
    }

    fn client(&self, h2c: bool) -> &Client {
        if h2c { &self.inner.h2c } else { &self.inner.client }
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
