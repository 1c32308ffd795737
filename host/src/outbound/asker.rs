//! Who sends requests, a service or the host itself: its clients, whose connections nobody else
//! has a part in, and its part of all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::body::RequestBody;
use super::connect::Connector;
use crate::config::OutboundConfig;
use crate::name::ServiceName;

pub(super) type Client = legacy::Client<Connector, RequestBody>;

/// The part of the connections that is kept for those who have few.
const RESERVED_PART: usize = 4;

/// The part of them that is few.
const FEW_PART: usize = 64;

/// One who asks.
pub(super) struct Asker {
    client: Client,
    /// For peers that are known to speak HTTP/2 without TLS.
    h2c: Client,
    /// Requests under way.
    pub(super) in_flight: Arc<AtomicUsize>,
}

/// All connections that there may be.
#[derive(Debug)]
pub(super) struct Places {
    total: usize,
    taken: AtomicUsize,
}

/// One of them, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    all: Arc<Places>,
    share: Arc<AtomicUsize>,
}

impl Asker {
    /// Opens nothing before its first request.
    pub(super) fn new(
        service: Option<ServiceName>,
        config: &OutboundConfig,
        connector: &Connector,
    ) -> Self {
        let connector = connector.clone().of(service);
        let header_bytes = config.max_header_bytes;
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
        Self { client, h2c, in_flight: Arc::default() }
    }

    pub(super) fn client(&self, h2c: bool) -> &Client {
        if h2c { &self.h2c } else { &self.client }
    }
}

impl Places {
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, taken: AtomicUsize::new(0) })
    }

    /// One for who has this share; not where what is left is kept for others.
    pub(super) fn take(self: &Arc<Self>, share: &Arc<AtomicUsize>) -> Option<Place> {
        let has = share.fetch_add(1, Ordering::Relaxed);
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        let place = Place { all: Arc::clone(self), share: Arc::clone(share) };
        let has_few = has < (self.total / FEW_PART).max(1);
        let for_all = self.total - self.total / RESERVED_PART;
        (taken < if has_few { self.total } else { for_all }).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.share.fetch_sub(1, Ordering::Relaxed);
        self.all.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_connections_are_for_those_who_have_few() {
        let places = Places::new(256);
        let (greedy, modest) = (Arc::default(), Arc::default());
        let had: Vec<Place> = std::iter::from_fn(|| places.take(&greedy)).collect();
        assert_eq!(had.len(), 192);
        let few: Vec<Place> = std::iter::from_fn(|| places.take(&modest)).collect();
        assert_eq!(few.len(), 4);
        drop(had);
        assert!(places.take(&modest).is_some() && places.take(&greedy).is_some());
        drop(few);
        assert_eq!(places.taken.load(Ordering::Relaxed), 0);
    }
}
