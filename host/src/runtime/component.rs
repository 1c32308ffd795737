//! From a compiled component to a program that makes instances.

use std::fmt;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};
use wasmtime_wasi_http::{p2, p3};

use super::engine::Runtime;
use super::instance::InstanceState;
use super::limits::MAX_MEMORIES;

/// A component whose code is mapped.
#[derive(Clone)]
pub struct LoadedComponent {
    component: Component,
}

/// A component linked to everything it imports.
#[derive(Clone)]
pub struct Program {
    pub(super) entry: Entry,
    /// Linear memories of one instance.
    pub(super) memories: u32,
}

/// The interface through which a program takes requests.
#[derive(Clone)]
pub(super) enum Entry {
    /// `wasi:http/incoming-handler@0.2.x`
    P2(p2::bindings::ProxyPre<InstanceState>),
    /// `wasi:http/handler@0.3.x`
    P3(p3::bindings::ServicePre<InstanceState>),
}

/// What makes a component worth deploying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servable {
    /// It exports `wasi:http/incoming-handler@0.2.x`.
    Http02,
    /// It exports `wasi:http/handler@0.3.x`.
    Http03,
}

impl LoadedComponent {
    pub(super) fn new(component: Component) -> Self {
        Self { component }
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

    /// How it can be served, if at all; 0.3 is preferred where it has both.
    #[must_use]
    pub fn servable(&self) -> Option<Servable> {
        let exports = self.exports();
        let has = |interface| exports.iter().any(|export| export.starts_with(interface));
        if has("wasi:http/handler@0.3.") {
            Some(Servable::Http03)
        } else if has("wasi:http/incoming-handler@0.2.") {
            Some(Servable::Http02)
        } else {
            None
        }
    }
}

impl Runtime {
    /// Links a component to the host's interfaces.
    ///
    /// # Errors
    /// Every reason why it cannot be served, in words, not only the first.
    pub fn link(&self, loaded: &LoadedComponent) -> Result<Program, Vec<String>> {
        let mut reasons = self.missing_imports(loaded);
        let Some(servable) = loaded.servable() else {
            reasons.push(not_servable(loaded));
            return Err(reasons);
        };
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let failed = |error: wasmtime::Error| vec![format!("{error:#}")];
        let pre = self.linker().instantiate_pre(&loaded.component).map_err(failed)?;
        let entry = entry(servable, pre).map_err(failed)?;
        let required = loaded.component.resources_required();
        // Unknown only where modules are imported, which the host provides none of.
        let memories = required.map_or(MAX_MEMORIES, |required| required.num_memories);
        Ok(Program { entry, memories })
    }

    fn missing_imports(&self, loaded: &LoadedComponent) -> Vec<String> {
        let ty = loaded.component.component_type();
        let mut missing = Vec::new();
        for (name, item) in ty.imports(self.engine()) {
            // Linked one by one, so that each missing import is named rather
            // than the first; an interface is provided when the linker has it.
            if !self.provides(name, &item.ty) {
                missing.push(missing_import(name));
            }
        }
        missing
    }

    fn provides(&self, name: &str, item: &ComponentItem) -> bool {
        match item {
            // Types without functions need nothing from the host.
            ComponentItem::ComponentInstance(instance) => {
                instance
                    .exports(self.engine())
                    .all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)))
                    || super::imports::provides(name)
            }
            ComponentItem::Type(_) => true,
            _ => super::imports::provides(name),
        }
    }
}

fn entry(servable: Servable, pre: InstancePre<InstanceState>) -> wasmtime::Result<Entry> {
    Ok(match servable {
        Servable::Http02 => Entry::P2(p2::bindings::ProxyPre::new(pre)?),
        Servable::Http03 => Entry::P3(p3::bindings::ServicePre::new(pre)?),
    })
}

fn missing_import(name: &str) -> String {
    match super::imports::nearest_version(name) {
        Some(near) => format!(
            "import {name} is not provided in this version; the host has {near}: \
             build the component against that one"
        ),
        None => format!(
            "import {name} is provided neither by the host nor by a deployed service: \
             build the component without it"
        ),
    }
}

fn not_servable(loaded: &LoadedComponent) -> String {
    let exports = loaded.exports();
    let found = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
    format!(
        "it exports {found}; a service exports wasi:http/incoming-handler@0.2.x \
         (world wasi:http/proxy) or wasi:http/handler@0.3.x (world wasi:http/service)"
    )
}

impl fmt::Debug for LoadedComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedComponent").field("servable", &self.servable()).finish()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.entry {
            Entry::P2(_) => "Program(wasi:http 0.2)",
            Entry::P3(_) => "Program(wasi:http 0.3)",
        })
    }
}

impl fmt::Display for Servable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http02 => "wasi:http 0.2",
            Self::Http03 => "wasi:http 0.3",
        })
    }
}
