//! From a name to addresses that may be connected to.
//!
//! Runs for every new connection, and what it returns is all that the connection
//! is tried with: a name whose answer changes between a check and a use cannot
//! lead anywhere else.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::address::AddressRule;
use super::connect::Slots;
use super::failure::ConnectFailure;
use crate::name::ServiceName;

/// Names looked up at once in the whole host. A lookup takes a thread that
/// stores need, too, and goes on when nobody waits for it any more.
const MAX_LOOKUPS: usize = 64;

/// Those of one service: where its names' servers don't answer, others' do.
const MAX_LOOKUPS_OF_ONE: usize = 8;

tokio::task_local! {
    /// Whose request it is, in the task that sends it; the host's own where there is none.
    pub(super) static ASKER: ServiceName;
}

/// Looks a name up.
pub(super) type Lookup = Arc<dyn Fn(String) -> LookupFuture + Send + Sync>;
pub(super) type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks names up and drops every address that may not be connected to.
#[derive(Clone)]
pub(super) struct CheckedResolver {
    lookup: Lookup,
    rule: Arc<AddressRule>,
    slots: Arc<Semaphore>,
    slots_of_one: Arc<Slots>,
    timeout: Duration,
}

impl CheckedResolver {
    pub(super) fn new(lookup: Lookup, rule: Arc<AddressRule>, timeout: Duration) -> Self {
        let slots_of_one = Arc::new(Slots::new(MAX_LOOKUPS_OF_ONE));
        Self { lookup, rule, slots: Arc::new(Semaphore::new(MAX_LOOKUPS)), slots_of_one, timeout }
    }

    /// The machine's own resolver.
    pub(super) fn of_the_system() -> Lookup {
        Arc::new(|name| {
            Box::pin(async move {
                let found = tokio::net::lookup_host((name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            })
        })
    }

    async fn resolve(self, name: String) -> Result<Vec<SocketAddr>, ConnectFailure> {
        let asker = ASKER.try_with(Clone::clone).ok();
        let lookup = async {
            let asker = asker.as_ref().map_or("", |service| service.as_str());
            let own = self.slots_of_one.take(asker).await;
            let slot = self.slots.acquire_owned().await.expect("the semaphore is never closed");
            let found = (self.lookup)(name.clone());
            // A task of its own keeps its slot until the thread is free again.
            let work = tokio::spawn(async move {
                let found = found.await;
                drop((own, slot));
                found
            });
            work.await.map_err(io::Error::other).and_then(|found| found)
        };
        let found = match tokio::time::timeout(self.timeout, lookup).await {
            Ok(Ok(found)) => found,
            Ok(Err(source)) => return Err(ConnectFailure::Lookup { name, source }),
            Err(_) => return Err(ConnectFailure::LookupTimeout { name }),
        };
        let mut permitted = Vec::with_capacity(found.len());
        let mut prohibited = None;
        for address in found {
            match self.rule.check(address) {
                Ok(()) => permitted.push(SocketAddr::new(address, 0)),
                Err(what) => prohibited = Some((address, what)),
            }
        }
        match prohibited {
            Some((address, what)) if permitted.is_empty() => {
                Err(ConnectFailure::Prohibited { host: name, address, what })
            }
            _ => Ok(permitted),
        }
    }
}

impl Service<Name> for CheckedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ConnectFailure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move { Ok(resolver.resolve(name.as_str().to_owned()).await?.into_iter()) })
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn a_service_whose_lookups_hang_leaves_others_theirs() {
        let lookup: Lookup = Arc::new(|name| {
            Box::pin(async move {
                if name == "stuck.example" {
                    pending::<()>().await;
                }
                Ok(vec![IpAddr::from(Ipv4Addr::LOCALHOST)])
            })
        });
        let local = vec!["127.0.0.0/8".parse().expect("a network")];
        let rule = Arc::new(AddressRule::new(local));
        let resolver = CheckedResolver::new(lookup, rule, Duration::from_secs(20));
        let ask = |service: &str, name: &str| {
            let resolving = resolver.clone().resolve(name.to_owned());
            ASKER.scope(service.parse().expect("a name"), resolving)
        };
        let stuck: Vec<_> =
            (0..2 * MAX_LOOKUPS).map(|_| tokio::spawn(ask("stuck", "stuck.example"))).collect();
        while resolver.slots.available_permits() > MAX_LOOKUPS - MAX_LOOKUPS_OF_ONE {
            tokio::task::yield_now().await;
        }
        let found = ask("cart", "good.example").await.expect("an address");
        assert_eq!(found, [SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]);
        stuck.into_iter().for_each(|task| task.abort());
    }
}
