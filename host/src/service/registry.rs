//! The registry: the one snapshot that every request reads and every
//! deployment replaces.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{Admission, Lease, RouteConflict, RouteTable, ServiceMetrics, Traffic, Version};
use crate::manifest::Route;
use crate::name::ServiceName;
use crate::state::Store;

/// A service as requests see it.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Which version gets which requests.
    pub traffic: Traffic,
    /// What of it another service reaches that asks for it by name: the routes of its versions,
    /// at whatever host.
    pub routes: RouteTable,
    /// Its permits and queue; shared by its versions.
    pub admission: Arc<Admission>,
    /// Its durable state; shared by its versions.
    pub store: Arc<Store>,
    /// What is counted of it; shared by its versions.
    pub metrics: Arc<ServiceMetrics>,
}

/// Everything a request needs to know, as of one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The services by name.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// Their routes.
    pub routes: RouteTable,
}

/// Holds the current [`Snapshot`].
#[derive(Debug, Default)]
pub struct Registry {
    snapshot: ArcSwap<Snapshot>,
    writer: Mutex<()>,
    changes: watch::Sender<u64>,
}

impl Registry {
    /// The current snapshot.
    #[must_use]
    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// A lease on the version of a service that `choose` finds in its traffic. None where
    /// there is none, or where it is retired and has no successor: the host ends.
    pub fn lease(
        &self,
        name: &ServiceName,
        mut choose: impl FnMut(&Traffic) -> Option<&Arc<Version>>,
    ) -> Option<(Arc<Service>, Lease)> {
        let mut before = None;
        loop {
            let service = Arc::clone(self.load().services.get(name)?);
            if let Some(lease) = choose(&service.traffic)?.lease() {
                return Some((service, lease));
            }
            // It is retired. Whoever takes its traffic was in a snapshot before that; one that
            // is in the newest snapshot has no successor, however often it is asked for.
            if before.replace(Arc::clone(&service)).is_some_and(|seen| Arc::ptr_eq(&seen, &service))
            {
                return None;
            }
        }
    }

    /// Tells of each new snapshot; the value counts them.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Shares a service's traffic anew, in one step with its routes. Returns the
    /// versions that have none of it any more.
    ///
    /// # Errors
    /// Every route of its versions that another service has.
    pub fn share(
        &self,
        name: &ServiceName,
        traffic: Traffic,
        store: &Arc<Store>,
    ) -> Result<Vec<Arc<Version>>, Vec<RouteConflict>> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.snapshot.load();
        let before = current.services.get(name);
        let limits = &traffic.primary().manifest.limits;
        let admission = before
            .map(|service| &service.admission)
            .filter(|admission| {
                admission.has_limits(limits.concurrency, limits.queue, limits.streams)
            })
            .cloned()
            .unwrap_or_else(|| {
                Arc::new(Admission::new(limits.concurrency, limits.queue, limits.streams))
            });
        let metrics = before.map(|service| Arc::clone(&service.metrics)).unwrap_or_default();
        let had_traffic = before.into_iter().flat_map(|service| service.traffic.versions());
        let has_it =
            |version: &Arc<Version>| traffic.versions().any(|each| Arc::ptr_eq(each, version));
        let lost = had_traffic.filter(|version| !has_it(version)).cloned().collect();
        let mut services = current.services.clone();
        let store = Arc::clone(store);
        let routes = RouteTable::of_service(name, traffic.versions().map(|each| each.routes()));
        let service = Service { name: name.clone(), traffic, routes, admission, store, metrics };
        services.insert(name.clone(), Arc::new(service));
        self.store(services, name)?;
        Ok(lost)
    }

    /// Takes a service out. Returns what it was.
    pub fn remove(&self, name: &ServiceName) -> Option<Arc<Service>> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut services = self.snapshot.load().services.clone();
        let removed = services.remove(name)?;
        self.store(services, name).expect("fewer routes make no new conflict");
        Some(removed)
    }

    /// The conflicts that `version`'s routes would have with other services.
    #[must_use]
    pub fn conflicts(&self, name: &ServiceName, routes: &[Route]) -> Vec<RouteConflict> {
        let current = self.snapshot.load();
        let others = current.services.values().filter(|service| service.name != *name);
        // The claimant comes last, so that the one that serves already keeps the route.
        let claims = others.flat_map(|service| claims(service)).chain([(name, routes)]);
        RouteTable::build(claims).1
    }

    fn store(
        &self,
        services: BTreeMap<ServiceName, Arc<Service>>,
        claimant: &ServiceName,
    ) -> Result<(), Vec<RouteConflict>> {
        let (others, claims): (Vec<_>, Vec<_>) = services
            .values()
            .flat_map(|service| claims(service))
            .partition(|(name, _)| *name != claimant);
        let (routes, conflicts) = RouteTable::build(others.into_iter().chain(claims));
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        self.snapshot.store(Arc::new(Snapshot { services, routes }));
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// The routes of every version that has traffic: one that only some of them have
/// leads to those.
fn claims(service: &Service) -> impl Iterator<Item = (&ServiceName, &[Route])> {
    let versions = service.traffic.versions();
    versions.map(|version| (&service.name, version.routes()))
}
