//! From a compiled component to a program that makes instances.

use std::fmt;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};

use super::calls::Wanted;
use super::compile::{Abi, Facts};
use super::engine::{Runtime, slots_of};
use super::entry::{Entries, FunctionEntry};
use super::functions::{Interface, is_of_services};
use super::instance::InstanceState;
use super::limits::{MAX_COMPONENT_INSTANCES, MAX_MEMORIES};
use super::words::words;
use crate::component::Steps;
use crate::escape::cut;
use crate::manifest::{Manifest, Route};

/// Bytes of a name, and how many of them, that a reason has.
const MAX_NAME: usize = 200;
const MAX_NAMES: usize = 20;

const WHOLE: &str = "hotdock:http/handler@0.1.";
const HTTP_02: &str = "wasi:http/incoming-handler@0.2.";
const HTTP_03: &str = "wasi:http/handler@0.3.";
const EVENTS_SYNC: &str = "hotdock:events/handler@0.1.";
const EVENTS_ASYNC: &str = "hotdock:events/async-handler@0.1.";

/// A component whose code is mapped.
#[derive(Clone)]
pub struct LoadedComponent {
    component: Component,
    facts: Facts,
}

/// A component linked to everything it imports.
#[derive(Clone)]
pub struct Program {
    pub(super) pre: InstancePre<InstanceState>,
    pub(super) entries: Entries,
    servable: Servable,
    provides: Arc<[Interface]>,
    uses: Arc<[Interface]>,
    is_concurrent: bool,
    /// How many of the host's slots an instance takes.
    pub(super) slots: u32,
    /// What the host does for it in one step.
    pub(super) steps: Steps,
}

/// What makes a component worth deploying: one of the three at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Servable {
    /// How requests reach it, if at all.
    pub requests: Option<RequestInterface>,
    /// How events reach it, if at all.
    pub events: Option<EventInterface>,
    /// Whether other services may call it, by interfaces of its own.
    pub calls: bool,
}

/// The interface through which a component takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestInterface {
    /// `hotdock:http/handler@0.1.x`
    Whole,
    /// `wasi:http/incoming-handler@0.2.x`
    Http02,
    /// `wasi:http/handler@0.3.x`
    Http03,
}

/// The interface through which a component takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventInterface {
    /// `hotdock:events/handler@0.1.x`
    Sync,
    /// `hotdock:events/async-handler@0.1.x`
    Async,
}

impl LoadedComponent {
    pub(super) fn new(component: Component, facts: Facts) -> Self {
        Self { component, facts }
    }

    pub(super) fn component(&self) -> &Component {
        &self.component
    }

    /// The names of what it exports, with versions.
    #[must_use]
    pub fn exports(&self) -> Vec<String> {
        let ty = self.component.component_type();
        ty.exports(self.component.engine()).map(|(name, _)| name.to_owned()).collect()
    }

    /// The names of what it imports, with versions.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        let ty = self.component.component_type();
        ty.imports(self.component.engine()).map(|(name, _)| name.to_owned()).collect()
    }

    /// How it can be served, if at all.
    #[must_use]
    pub fn servable(&self) -> Option<Servable> {
        Servable::of(&self.exports())
    }
}

impl Servable {
    /// How a component with these exports can be served, if at all. Where it has several,
    /// whole requests are preferred, then the newer interface and the asynchronous one.
    #[must_use]
    pub fn of(exports: &[String]) -> Option<Self> {
        let has = |interface: &str| exports.iter().any(|export| export.starts_with(interface));
        let requests = if has(WHOLE) {
            Some(RequestInterface::Whole)
        } else if has(HTTP_03) {
            Some(RequestInterface::Http03)
        } else if has(HTTP_02) {
            Some(RequestInterface::Http02)
        } else {
            None
        };
        let events = if has(EVENTS_ASYNC) {
            Some(EventInterface::Async)
        } else if has(EVENTS_SYNC) {
            Some(EventInterface::Sync)
        } else {
            None
        };
        let calls = exports.iter().any(|export| is_of_services(export));
        let is_servable = requests.is_some() || events.is_some() || calls;
        is_servable.then_some(Self { requests, events, calls })
    }

    /// Whether it is the host that calls this export.
    #[must_use]
    pub fn is_entry(export: &str) -> bool {
        [WHOLE, HTTP_03, HTTP_02, EVENTS_ASYNC, EVENTS_SYNC]
            .iter()
            .any(|entry| export.starts_with(entry))
    }

    /// The requests that a component like this answers: none where it takes
    /// events only, whatever the default of its manifest is.
    #[must_use]
    pub fn routes(self, manifest: &Manifest) -> &[Route] {
        if self.requests.is_some() { &manifest.routes } else { &[] }
    }
}

impl Program {
    /// How it is served.
    #[must_use]
    pub fn servable(&self) -> Servable {
        self.servable
    }

    /// The interfaces through which other services may call it.
    #[must_use]
    pub fn provides(&self) -> &[Interface] {
        &self.provides
    }

    /// The interfaces that other services provide to it.
    #[must_use]
    pub fn uses(&self) -> &[Interface] {
        &self.uses
    }

    /// Whether it has the function that another service wants.
    pub(crate) fn serves(&self, wanted: &Wanted) -> bool {
        self.function(wanted).is_some()
    }

    /// Where its function is that another service wants.
    pub(super) fn function(&self, wanted: &Wanted) -> Option<&FunctionEntry> {
        self.entries.function(wanted)
    }

    /// Whether it awaits and streams by the component model's own means.
    pub(super) fn is_concurrent(&self) -> bool {
        self.is_concurrent
    }
}

impl Runtime {
    /// Links a component to the host's interfaces.
    ///
    /// # Errors
    /// Every reason why it cannot be served, in words, not only the first.
    pub fn link(&self, loaded: &LoadedComponent) -> Result<Program, Vec<String>> {
        let mut reasons = missing_imports(loaded);
        let (provides, uses) = (loaded.provides(), loaded.uses());
        reasons.extend(uses.iter().flat_map(uncallable));
        let Some(servable) = loaded.servable() else {
            reasons.push(not_servable(&loaded.exports()));
            return Err(reasons);
        };
        let engine = loaded.component.engine();
        let (linker, is_concurrent) = (self.linker(engine), self.is_concurrent(engine));
        if is_concurrent {
            reasons.extend(too_many_instances(loaded.facts.instances));
        }
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let failed = |error: wasmtime::Error| vec![words(&error)];
        let pre = match uses.as_slice() {
            [] => linker.instantiate_pre(&loaded.component).map_err(failed)?,
            _ => {
                // Another component's imports of the same name may have other types.
                let mut linker = linker.clone();
                super::imports::link_services(&mut linker, &uses, self.callees())
                    .map_err(failed)?;
                linker.instantiate_pre(&loaded.component).map_err(failed)?
            }
        };
        let entries = Entries::of(servable, &provides, &pre).map_err(failed)?;
        let required = loaded.component.resources_required();
        // Unknown only where modules are imported, which the host provides none of.
        let memories = required.map_or(MAX_MEMORIES, |required| required.num_memories);
        let abi = if is_concurrent { Abi::Async } else { Abi::Sync };
        let slots =
            slots_of(abi, memories, loaded.facts.instances.unwrap_or(MAX_COMPONENT_INSTANCES));
        let (provides, uses) = (provides.into(), uses.into());
        let steps = loaded.facts.steps;
        Ok(Program { pre, entries, servable, provides, uses, is_concurrent, slots, steps })
    }
}

/// What stands against a component whose calls may wait in so many component instances.
fn too_many_instances(instances: Option<u32>) -> Option<String> {
    match instances {
        Some(instances) if instances > MAX_COMPONENT_INSTANCES => Some(format!(
            "it has {instances} component instances, and an asynchronous component has at most \
             {MAX_COMPONENT_INSTANCES}: compose it of fewer"
        )),
        Some(_) => None,
        None => Some(
            "it instantiates a component that it imports, which an asynchronous component may \
             not: compose them into one"
                .to_owned(),
        ),
    }
}

/// What stands against an interface of another service's.
fn uncallable(used: &Interface) -> impl Iterator<Item = String> {
    let name = &used.name;
    used.uncallable
        .iter()
        .map(move |(function, why)| format!("import {name}: {function} cannot be called: {why}"))
}

fn missing_imports(loaded: &LoadedComponent) -> Vec<String> {
    let engine = loaded.component.engine();
    let ty = loaded.component.component_type();
    let mut missing = Vec::new();
    for (name, item) in ty.imports(engine) {
        // Linked one by one, so that each missing import is named rather
        // than the first; an interface is provided when the linker has it.
        if !provides(engine, name, &item.ty) {
            missing.push(missing_import(name));
        }
    }
    missing
}

fn provides(engine: &Engine, name: &str, item: &ComponentItem) -> bool {
    match item {
        // Types without functions need nothing from the host.
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)))
                || super::imports::provides(name)
                // Another service provides it.
                || is_of_services(name)
        }
        ComponentItem::Type(_) => true,
        _ => super::imports::provides(name),
    }
}

/// What stands against an import that the host does not provide.
#[must_use]
pub fn missing_import(name: &str) -> String {
    let name = &*cut(name, MAX_NAME);
    match super::imports::nearest_version(name) {
        Some(near) => format!(
            "import {name} is not provided in this version; the host has {near}: \
             build the component against that one"
        ),
        None => {
            format!("import {name} is not provided by the host: build the component without it")
        }
    }
}

/// Names of a component's, of any number and length, as far as anyone reads them.
#[must_use]
pub fn named(names: &[String]) -> String {
    let each = names.iter().take(MAX_NAMES).map(|name| cut(name, MAX_NAME));
    let mut named = each.collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMES {
        named.push_str(&format!(" and {} more", names.len() - MAX_NAMES));
    }
    named
}

/// Why a component with these exports cannot be served.
#[must_use]
pub fn not_servable(exports: &[String]) -> String {
    let found = if exports.is_empty() { "nothing".to_owned() } else { named(exports) };
    format!(
        "it exports {found}; a service exports any of wasi:http/incoming-handler@0.2.x \
         (world wasi:http/proxy), wasi:http/handler@0.3.x (world wasi:http/service), \
         hotdock:http/handler@0.1.x, hotdock:events/handler@0.1.x, \
         hotdock:events/async-handler@0.1.x and interfaces of its own (shop:cart/carts@1.0.0) for \
         other services"
    )
}

impl fmt::Debug for LoadedComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedComponent").field("servable", &self.servable()).finish()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("servable", &self.servable).finish_non_exhaustive()
    }
}

/// `wasi:http 0.2, hotdock:events, calls`
impl fmt::Display for Servable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.requests.map(|requests| requests.to_string());
        let events = self.events.map(|events| events.to_string());
        let calls = self.calls.then(|| "calls".to_owned());
        let all: Vec<_> = requests.into_iter().chain(events).chain(calls).collect();
        f.write_str(&all.join(", "))
    }
}

impl fmt::Display for RequestInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "hotdock:http",
            Self::Http02 => "wasi:http 0.2",
            Self::Http03 => "wasi:http 0.3",
        })
    }
}

impl fmt::Display for EventInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync => "hotdock:events",
            Self::Async => "hotdock:events (async)",
        })
    }
}
