//! The exports through which a program takes requests and events.

use wasmtime::component::{Instance, InstancePre};
use wasmtime_wasi_http::{p2, p3};

use super::component::{EventInterface, RequestInterface, Servable};
use super::handlers::{
    AsyncHandling, AsyncHandlingIndices, Handling, HandlingIndices, WholeService,
    WholeServiceIndices,
};
use super::instance::InstanceState;

/// Where a program's exports are, looked up by name once.
#[derive(Clone)]
pub(super) struct Entries {
    requests: Option<RequestEntry>,
    events: Option<EventEntry>,
}

#[derive(Clone)]
enum RequestEntry {
    Whole(WholeServiceIndices),
    P2(p2::bindings::ProxyIndices),
    P3(p3::bindings::ServiceIndices),
}

#[derive(Clone)]
enum EventEntry {
    Sync(HandlingIndices),
    Async(AsyncHandlingIndices),
}

/// The exports of one instance.
pub(super) struct Guest {
    pub(super) requests: Option<RequestGuest>,
    pub(super) events: Option<EventGuest>,
}

/// Takes requests.
pub(super) enum RequestGuest {
    Whole(WholeService),
    P2(p2::bindings::Proxy),
    P3(p3::bindings::Service),
}

/// Takes events.
pub(super) enum EventGuest {
    Sync(Handling),
    Async(AsyncHandling),
}

impl Entries {
    pub(super) fn of(
        servable: Servable,
        pre: &InstancePre<InstanceState>,
    ) -> wasmtime::Result<Self> {
        let requests = match servable.requests {
            None => None,
            Some(RequestInterface::Whole) => {
                Some(RequestEntry::Whole(WholeServiceIndices::new(pre)?))
            }
            Some(RequestInterface::Http02) => {
                Some(RequestEntry::P2(p2::bindings::ProxyIndices::new(pre)?))
            }
            Some(RequestInterface::Http03) => {
                Some(RequestEntry::P3(p3::bindings::ServiceIndices::new(pre)?))
            }
        };
        let events = match servable.events {
            None => None,
            Some(EventInterface::Sync) => Some(EventEntry::Sync(HandlingIndices::new(pre)?)),
            Some(EventInterface::Async) => Some(EventEntry::Async(AsyncHandlingIndices::new(pre)?)),
        };
        Ok(Self { requests, events })
    }

    /// The exports of an instance of the program.
    pub(super) fn load(
        &self,
        store: &mut wasmtime::Store<InstanceState>,
        instance: &Instance,
    ) -> wasmtime::Result<Guest> {
        let requests = match &self.requests {
            None => None,
            Some(RequestEntry::Whole(entry)) => {
                Some(RequestGuest::Whole(entry.load(&mut *store, instance)?))
            }
            Some(RequestEntry::P2(entry)) => {
                Some(RequestGuest::P2(entry.load(&mut *store, instance)?))
            }
            Some(RequestEntry::P3(entry)) => {
                Some(RequestGuest::P3(entry.load(&mut *store, instance)?))
            }
        };
        let events = match &self.events {
            None => None,
            Some(EventEntry::Sync(entry)) => Some(EventGuest::Sync(entry.load(store, instance)?)),
            Some(EventEntry::Async(entry)) => Some(EventGuest::Async(entry.load(store, instance)?)),
        };
        Ok(Guest { requests, events })
    }
}
