//! The exports through which a program takes requests, events and calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::{ComponentExportIndex, Func, Instance, InstancePre};
use wasmtime_wasi_http::{p2, p3};

use super::calls::{Wanted, print};
use super::component::{EventInterface, RequestInterface, Servable};
use super::functions::{Interface, Signature, semver_key};
use super::handlers::{
    AsyncHandling, AsyncHandlingIndices, Handling, HandlingIndices, WholeService,
    WholeServiceIndices,
};
use super::instance::InstanceState;
use super::values::flat::slots;
use crate::digest::Digest;

/// Where a program's exports are, looked up by name once.
#[derive(Clone)]
pub(super) struct Entries {
    requests: Option<RequestEntry>,
    events: Option<EventEntry>,
    functions: Arc<Functions>,
}

/// By what versions of an interface have in common, and by the function's name. A component may
/// have several versions of one.
type Functions = BTreeMap<String, BTreeMap<String, Vec<FunctionEntry>>>;

/// A function that other services may call.
pub(super) struct FunctionEntry {
    index: ComponentExportIndex,
    pub(super) signature: Signature,
    /// How many slots its result takes.
    pub(super) slots: usize,
    print: Digest,
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
    /// Where its functions are.
    pub(super) instance: Instance,
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
        provided: &[Interface],
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
        let functions = Arc::new(functions(provided, pre)?);
        Ok(Self { requests, events, functions })
    }

    /// Where the function is that another service wants, of the same type.
    pub(super) fn function(&self, wanted: &Wanted) -> Option<&FunctionEntry> {
        let entries = self.functions.get(wanted.key())?.get(&wanted.function)?;
        entries.iter().find(|entry| entry.print == wanted.print)
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
        Ok(Guest { requests, events, instance: *instance })
    }
}

impl FunctionEntry {
    /// The function in an instance.
    pub(super) fn load(
        &self,
        store: &mut wasmtime::Store<InstanceState>,
        instance: &Instance,
    ) -> Option<Func> {
        instance.get_func(store, self.index)
    }
}

fn functions(
    provided: &[Interface],
    pre: &InstancePre<InstanceState>,
) -> wasmtime::Result<Functions> {
    let mut functions = Functions::new();
    for interface in provided {
        let component = pre.component();
        let missing = || wasmtime::Error::msg("an export of the component is not where it was");
        let within = component.get_export_index(None, &*interface.name).ok_or_else(missing)?;
        for (name, signature) in &interface.functions {
            let index = component.get_export_index(Some(&within), &**name).ok_or_else(missing)?;
            let (slots, print) = (slots(&signature.result), print(signature));
            let entry = FunctionEntry { index, signature: signature.clone(), slots, print };
            let of_interface = functions.entry(semver_key(&interface.name).to_owned()).or_default();
            of_interface.entry(name.clone()).or_default().push(entry);
        }
    }
    Ok(functions)
}
