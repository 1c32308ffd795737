//! Who is at the other end of a connection, and under which name it asks for the
//! host.
//!
//! Almost all requests of a connection name the same host, so what follows from the
//! name is kept from one to the next.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue};

use super::arriving::End;
use super::forwarded::{self, Forwarded};
use super::uploads::Uploads;
use crate::config::ForwardedHeader;
use crate::config::{HttpLimits, Network};

/// Who is asking, and whether what it says of others is believed.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The client's, or the last proxy's, address.
    pub address: SocketAddr,
    /// The listener's address, for requests that name no host.
    pub local: SocketAddr,
    /// Whether its `Forwarded` and `X-Forwarded-*` are kept.
    pub trusted: bool,
}

/// What the connections of a listener have in common.
#[derive(Debug)]
pub struct Common {
    /// In which headers a guest is told of the client.
    pub told: Arc<[ForwardedHeader]>,
    /// How large the heads of requests may be.
    pub max_header_bytes: usize,
    /// How many lines they may have.
    pub max_headers: usize,
    /// How long nothing may come of a request's body.
    pub body_idle: Duration,
    /// Bodies that take their time.
    pub uploads: Arc<Uploads>,
    /// The proxies that are believed.
    proxies: Box<[Network]>,
}

/// A connection's client.
#[derive(Debug)]
pub struct Client {
    /// Who it is.
    pub peer: Peer,
    /// What holds for all.
    pub common: Arc<Common>,
    last: Mutex<Option<Arc<Named>>>,
    /// How the body before ends, if it was a chunked one: what comes after it depends on that.
    before: Mutex<Option<Arc<End>>>,
}

/// The host's name, as a request has it, and what follows from it.
#[derive(Debug)]
pub struct Named {
    text: Box<[u8]>,
    /// The name, checked.
    pub authority: Authority,
    /// The same as a `Host` header.
    pub host: HeaderValue,
    /// What the guest is told, where the client is not believed.
    pub forwarded: Forwarded,
}

impl Common {
    /// As the operator wants it.
    #[must_use]
    pub fn new(limits: &HttpLimits) -> Self {
        Self {
            told: Arc::clone(&limits.forwarded),
            max_header_bytes: limits.max_header_bytes,
            max_headers: limits.max_headers,
            body_idle: limits.body_idle,
            uploads: Arc::new(Uploads::new(limits)),
            proxies: limits.trust_forwarded.as_slice().into(),
        }
    }

    /// Whether this is a proxy that is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|proxy| proxy.contains(address))
    }
}

impl Client {
    /// A connection from `peer` that has not asked yet.
    #[must_use]
    pub fn new(peer: Peer, common: Arc<Common>) -> Self {
        Self { peer, common, last: Mutex::default(), before: Mutex::default() }
    }

    /// Its next request is one only if this body ends well.
    pub(super) fn waits_for(&self, end: Arc<End>) {
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// Whether what comes now is a request as the client meant it.
    pub(super) async fn may_ask(&self) -> bool {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).take();
        match before {
            Some(end) => end.lets_follow().await,
            None => true,
        }
    }

    /// Who sent a request with these headers: the client, or whom the proxies name.
    #[must_use]
    pub fn origin(&self, headers: &HeaderMap) -> IpAddr {
        let is_proxy = |address| self.common.trusts(address);
        let named = self.peer.trusted.then(|| forwarded::client(headers, is_proxy));
        named.flatten().unwrap_or_else(|| self.peer.address.ip())
    }

    /// What follows from the name `text`; `check` makes an authority of a name that
    /// isn't the last request's.
    ///
    /// # Errors
    /// What `check` says.
    pub fn named<E>(
        &self,
        text: &[u8],
        check: impl FnOnce() -> Result<Authority, E>,
    ) -> Result<Arc<Named>, E> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(last) = last.filter(|last| *last.text == *text) {
            return Ok(last);
        }
        let authority = check()?;
        let forwarded = Forwarded::of(&self.common.told, self.peer.address, authority.as_str());
        let host = HeaderValue::from_str(authority.as_str())
            .expect("all that an authority may have a header may, too");
        let named = Arc::new(Named { text: text.into(), authority, host, forwarded });
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&named));
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_checked_once_and_again_when_it_is_another() {
        let address = "192.0.2.1:1000".parse().expect("an address");
        let common = Arc::new(Common::new(&HttpLimits::default()));
        let client = Client::new(Peer { address, local: address, trusted: false }, common);
        let authority = |text: &'static str| move || Ok::<_, ()>(Authority::from_static(text));
        let first = client.named(b"a.example", authority("a.example")).expect("good");
        let again = client.named(b"a.example", || Err(())).expect("known");
        assert_eq!(again.authority, first.authority);
        assert!(client.named(b"b.example", || Err(())).is_err(), "it is checked");
        let other = client.named(b"b.example", authority("b.example")).expect("good");
        assert_eq!(other.authority, "b.example");
    }
}
