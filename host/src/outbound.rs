//! Outgoing HTTP requests of all services: what may be asked, and the one
//! client that asks.
//!
//! A request passes two gates. Its *origin* (scheme, host, port) must be in the
//! manifest of the version that sends it: `grant`, per request, before the
//! client sees it. The *addresses* of every new connection must be public, or in
//! a network that the operator opened: `address`, after the name was looked up.
//!
//! A request to `http://NAME.internal` goes to the service NAME of this host, in memory: `by_name`
//! checks it in the place of both gates, and who answers it is not known here.
//!
//! Each service has a pool of connections of its own: what one does with an answer, such as
//! leaving it unread, and how many connections it takes, is no other's trouble. The address
//! rule is the host's, the same for all; what differs between services, the origins, is
//! checked before the pool is asked, whose key is the origin.

mod address;
mod asker;
mod body;
mod by_name;
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
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;

use self::asker::Asker;
use self::connect::Connector;
use self::resolve::{CheckedResolver, Lookup};
use self::tls::Tls;
use crate::config::OutboundConfig;
use crate::manifest::Manifest;
use crate::name::{ServiceName, VersionId};

pub(crate) use grant::{Grant, Granted};
pub(crate) use lasting::Lasting;
pub(crate) use own::AskError;
pub(crate) use request::Sent;

/// Who asks for all. Clones are the same client.
#[derive(Clone)]
pub struct Outbound {
    inner: Arc<Inner>,
}

struct Inner {
    config: OutboundConfig,
    connector: Connector,
    tls: Tls,
    /// The host itself, for its webhooks.
    own: Asker,
    /// The one that it was made in: guests of the slow lane send requests, too.
    runtime: Option<Handle>,
    /// By service; a version that exists keeps its service's.
    askers: Mutex<HashMap<ServiceName, Weak<Asker>>>,
}

impl Outbound {
    /// A client with these limits. It opens nothing before its first request.
    #[must_use]
    pub fn new(config: OutboundConfig) -> Self {
        Self::with_lookup(config, CheckedResolver::of_the_system())
    }

    fn with_lookup(config: OutboundConfig, lookup: Lookup) -> Self {
        let tls = Tls::default();
        let connector = Connector::new(&config, lookup, tls.clone());
        Self {
            inner: Arc::new(Inner {
                own: Asker::new(None, &config, &connector),
                config,
                connector,
                tls,
                runtime: Handle::try_current().ok(),
                askers: Mutex::default(),
            }),
        }
    }

    /// Has the certificates that are trusted read anew, for connections from now on.
    pub fn forget_certificates(&self) {
        self.inner.tls.forget();
    }

    /// What a version may send.
    pub(crate) fn grant(&self, version: &VersionId, manifest: &Arc<Manifest>) -> Arc<Grant> {
        let asker = self.asker(&version.service);
        Arc::new(Grant::new(self.clone(), version.clone(), Arc::clone(manifest), asker))
    }

    fn asker(&self, service: &ServiceName) -> Arc<Asker> {
        let mut all = self.inner.askers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = all.get(service).and_then(Weak::upgrade) {
            return asker;
        }
        all.retain(|_, asker| asker.strong_count() > 0);
        let (config, connector) = (&self.inner.config, &self.inner.connector);
        let asker = Arc::new(Asker::new(Some(service.clone()), config, connector));
        all.insert(service.clone(), Arc::downgrade(&asker));
        asker
    }

    fn config(&self) -> &OutboundConfig {
        &self.inner.config
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
