//! Which service a call goes to: by `[imports]`, or the only one of those that may be called
//! that has the function.

use std::sync::Arc;

use super::registry::{Service, Snapshot};
use super::version::Version;
use crate::manifest::Manifest;
use crate::name::ServiceName;
use crate::runtime::calls::Wanted;
use crate::runtime::functions::unversioned;

/// Why a call goes to no service.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoProvider {
    /// None may be called.
    #[error("no service may be called: name the one that is meant in `[capabilities] calls`")]
    NotGranted,
    /// Those that may be called are not deployed.
    #[error("{0}")]
    NotDeployed(String),
    /// Several of them have it.
    #[error("{0} all export it: choose one with `[imports] \"{1}\" = \"…\"`")]
    Several(String, String),
}

impl Version {
    /// Whether it has this function.
    pub(crate) fn serves(&self, wanted: &Wanted) -> bool {
        self.pool.program().serves(wanted)
    }
}

/// The service that a call of a service with this manifest goes to.
pub(crate) fn provider<'a>(
    snapshot: &'a Snapshot,
    manifest: &Manifest,
    wanted: &Wanted,
) -> Result<&'a Arc<Service>, NoProvider> {
    let serves =
        |service: &Service| service.traffic.versions().any(|version| version.serves(wanted));
    let granted = &manifest.capabilities.calls;
    if granted.is_empty() {
        return Err(NoProvider::NotGranted);
    }
    let interface = unversioned(&wanted.interface);
    if let Some(chosen) = manifest.imports.get(interface) {
        let found = snapshot.services.get(chosen).filter(|service| serves(service));
        return found.ok_or_else(|| not_deployed(snapshot, [chosen]));
    }
    let mut found = granted.iter().filter_map(|name| snapshot.services.get(name));
    let mut found = found.by_ref().filter(|service| serves(service));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (Some(one), Some(other)) => {
            let names = format!("{} and {}", one.name, other.name);
            Err(NoProvider::Several(names, interface.to_owned()))
        }
        (None, _) => Err(not_deployed(snapshot, granted)),
    }
}

fn not_deployed<'a>(
    snapshot: &Snapshot,
    names: impl IntoIterator<Item = &'a ServiceName>,
) -> NoProvider {
    let each = names.into_iter().map(|name| {
        let is_there = snapshot.services.contains_key(name);
        if is_there {
            format!("service {name} does not export it with these types")
        } else {
            format!("service {name} is not deployed")
        }
    });
    NoProvider::NotDeployed(each.collect::<Vec<_>>().join(", "))
}
