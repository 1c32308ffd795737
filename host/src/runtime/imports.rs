//! What the host provides to components: one file per WIT package of our own
//! or of the drafts that Wasmtime has no host for; the rest is Wasmtime's.

mod bindings;
mod bodiless;
mod config;
mod keyvalue;
mod logging;
mod outbound;
mod publisher;
mod services;
mod sql;
mod transaction;

pub(super) use outbound::OutboundHooks;
pub(super) use services::link as link_services;

use wasmtime::component::{HasData, Linker};

use super::compile::Abi;
use super::exchange::{Answered, Held, Unwritable};
use super::instance::InstanceState;
use crate::state;

/// The host's side of an import: the instance's whole state.
pub(super) struct Host;

impl HasData for Host {
    type Data<'a> = &'a mut InstanceState;
}

/// Ends the run: the transaction cannot go on. Travels through the guest as a trap.
#[derive(Debug, thiserror::Error)]
#[error("the invocation's transaction ended: {0}")]
pub struct Abort(pub(crate) state::Error);

/// Package and version prefixes of everything that is linked, interface by
/// interface where a package has several versions. An import that matches none
/// is refused at deployment; one that matches is checked by type when linked.
const PROVIDED: &[&str] = &[
    "wasi:cli/*@0.2.",
    "wasi:clocks/*@0.2.",
    "wasi:filesystem/*@0.2.",
    "wasi:http/*@0.2.",
    "wasi:io/*@0.2.",
    "wasi:random/*@0.2.",
    "wasi:sockets/*@0.2.",
    "wasi:cli/*@0.3.",
    "wasi:clocks/*@0.3.",
    "wasi:filesystem/*@0.3.",
    "wasi:http/*@0.3.",
    "wasi:random/*@0.3.",
    "wasi:sockets/*@0.3.",
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "wasi:config/store@0.2.0-rc.1",
    "wasi:config/store@0.2.0-draft",
    "wasi:config/runtime@0.2.0-draft",
    "wasi:config/store@0.2.0-draft-2024-09-27",
    "wasi:logging/logging@0.1.0-draft",
    "hotdock:events/publisher@0.1.",
    "hotdock:sql/sql@0.1.",
    "hotdock:transaction/transaction@0.1.",
];

/// What a component of those packages exports, and nobody provides; and what is not stable yet.
const NOT_PROVIDED: &[&str] =
    &["wasi:cli/run", "wasi:clocks/timezone", "wasi:http/handler", "wasi:http/incoming-handler"];

/// Links all of it, as far as the engine can have it.
pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>, abi: Abi) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    bodiless::add_to_linker(linker)?;
    if abi == Abi::Async {
        wasmtime_wasi::p3::add_to_linker(linker)?;
        wasmtime_wasi_http::p3::add_to_linker(linker)?;
    }
    keyvalue::add_to_linker(linker)?;
    config::add_to_linker(linker)?;
    logging::add_to_linker(linker)?;
    publisher::add_to_linker(linker)?;
    sql::add_to_linker(linker)?;
    transaction::add_to_linker(linker)
}

/// Whether the host has an interface of this name and version.
#[must_use]
pub fn provides(import: &str) -> bool {
    !is_left_out(import) && PROVIDED.iter().any(|provided| matches(provided, import))
}

fn is_left_out(import: &str) -> bool {
    let interface = import.split_once('@').map_or(import, |(interface, _)| interface);
    NOT_PROVIDED.contains(&interface)
}

/// The same interface in a version that the host has.
pub(super) fn nearest_version(import: &str) -> Option<String> {
    let (interface, _) = import.split_once('@')?;
    let (package, _) = interface.split_once('/')?;
    if is_left_out(import) {
        return None;
    }
    PROVIDED.iter().rev().find_map(|provided| {
        let (name, version) = provided.split_once('@')?;
        let any =
            version.strip_suffix('.').map_or(version.to_owned(), |version| format!("{version}.x"));
        let same = name == interface || name.strip_suffix("/*") == Some(package);
        same.then(|| format!("{interface}@{any}"))
    })
}

/// `wasi:cli/*@0.2.` matches every interface of the package in every 0.2
/// version (WIT versions are semantic ones); a version without a final dot is a
/// pre-release and matches exactly.
fn matches(provided: &str, import: &str) -> bool {
    let (Some((name, version)), Some((interface, wanted))) =
        (provided.split_once('@'), import.split_once('@'))
    else {
        return false;
    };
    let named = match name.strip_suffix("/*") {
        Some(package) => interface.split_once('/').is_some_and(|(wanted, _)| wanted == package),
        None => name == interface,
    };
    named && (wanted == version || version.ends_with('.') && is_release(wanted, version))
}

/// Whether this version begins so and is no pre-release (`0.2.0-rc-2023-11-10`): those are
/// others.
fn is_release(wanted: &str, version: &str) -> bool {
    wanted
        .strip_prefix(version)
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The transaction of the current invocation, for one call into the store.
fn hold(state: &InstanceState) -> Result<Held, Answered> {
    state.exchange.as_ref().ok_or(Answered)?.hold()
}

/// The same for one call that writes.
fn hold_to_write(state: &InstanceState) -> Result<Held, Unwritable> {
    state.exchange.as_ref().ok_or(Answered)?.hold_to_write()
}

/// The same for one call that reads, which may come after the answer.
async fn hold_to_read(state: &mut InstanceState) -> Result<Held, Answered> {
    if let Ok(held) = hold(state) {
        return Ok(held);
    }
    let exchange = state.exchange.clone().ok_or(Answered)?;
    // Boxed, so that those before the answer don't carry it.
    Box::pin(exchange.hold_late()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_versions_match_by_range_and_drafts_exactly() {
        assert!(provides("wasi:http/types@0.2.8"));
        assert!(provides("wasi:cli/stdout@0.3.1"));
        assert!(!provides("wasi:cli/stdout@0.4.0"));
        assert!(provides("wasi:keyvalue/store@0.2.0-draft"));
        assert!(!provides("wasi:keyvalue/store@0.2.0-draft3"));
        assert!(!provides("shop:stock/stock@1.0.0"));
        for absent in [
            "wasi:io/streams@0.2.0-rc-2023-11-10",
            "wasi:http/types@0.3.0-rc-2025-09-16",
            "wasi:http/handler@0.3.0",
            "wasi:http/incoming-handler@0.2.0",
            "wasi:cli/run@0.2.0",
        ] {
            assert!(!provides(absent), "{absent}");
        }
        assert_eq!(
            nearest_version("wasi:io/streams@0.2.0-rc-2023-11-10").as_deref(),
            Some("wasi:io/streams@0.2.x")
        );
        assert_eq!(nearest_version("wasi:http/handler@0.3.0"), None);
        assert!(!provides("wasi:clip/x@0.2.0"));
        assert_eq!(
            nearest_version("wasi:http/types@0.1.0").as_deref(),
            Some("wasi:http/types@0.3.x")
        );
        assert_eq!(nearest_version("shop:stock/stock@1.0.0"), None);
    }
}
