//! Contracts: which interfaces versions provide to one another, and which service an imported
//! interface leads to. A deployment and each call ask the same question here, so what was
//! accepted is what is called.

use std::collections::{BTreeMap, BTreeSet};

use super::{Snapshot, Version};
use crate::manifest::Manifest;
use crate::name::ServiceName;
use crate::runtime::functions::{Interface, semver_key, unversioned};

/// What a version calls, and what it lets others call.
#[derive(Clone, Copy, Debug)]
pub struct Contract<'a> {
    /// Its `[capabilities] calls` and `[imports]` say where its imports may lead.
    pub manifest: &'a Manifest,
    /// What others may import from it.
    pub provides: &'a [Interface],
    /// What it imports from others.
    pub uses: &'a [Interface],
}

/// The contracts of services, as they are or would be deployed: one for each version that has
/// traffic.
#[derive(Clone, Debug, Default)]
pub struct Contracts<'a>(BTreeMap<ServiceName, Vec<Contract<'a>>>);

/// Why an import leads to no service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCallee {
    /// None that may be called exports it; one may be deployed later.
    #[error("waits for a service that exports {}: {}", any_version(.interface), .missing.join(", "))]
    Missing {
        /// What is imported.
        interface: String,
        /// Of each service that may be called, why it is not the one.
        missing: Vec<String>,
    },
    /// Nobody may be called for it.
    #[error("{}", not_granted(.interface, .exported_by))]
    NotGranted {
        /// What is imported.
        interface: String,
        /// The services that export it.
        exported_by: Vec<ServiceName>,
    },
    /// Several services that may be called export it.
    #[error(
        "import {interface} is exported by {}: say which of them is called, as in `[imports] \
         \"{}\" = \"{}\"`",
        listed(.exported_by), unversioned(.interface), .exported_by[0]
    )]
    Ambiguous {
        /// What is imported.
        interface: String,
        /// The services that export it; two at least.
        exported_by: Vec<ServiceName>,
    },
    /// A service exports it with other types.
    #[error("import {interface} is not what {service} exports: {}", .misfits.join("; "))]
    Misfits {
        /// What is imported.
        interface: String,
        /// The service that exports it otherwise.
        service: ServiceName,
        /// What differs.
        misfits: Vec<String>,
    },
}

/// A service that would lose what it imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub dependent: ServiceName,
    /// What it imports.
    pub interface: String,
    /// The service that it has it from.
    pub callee: ServiceName,
    /// Why its import would lead nowhere.
    pub why: NoCallee,
}

/// How a service stands to an interface.
enum Fit {
    /// No version of it exports it.
    Absent,
    /// No version exports it with the types that are wanted.
    Misfits(Vec<String>),
    /// Only some of the versions that have traffic export it so.
    Partly,
    /// Every version does.
    Fits,
}

impl NoCallee {
    /// Whether that may change by what others deploy, and the import with its manifest is as it
    /// should be.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

impl<'a> From<&'a Version> for Contract<'a> {
    fn from(version: &'a Version) -> Self {
        Self { manifest: &version.manifest, provides: version.provides(), uses: version.uses() }
    }
}

impl<'a> Contracts<'a> {
    /// Those of everything that is deployed.
    #[must_use]
    pub fn of(snapshot: &'a Snapshot) -> Self {
        let services = snapshot.services.iter().map(|(name, service)| {
            let versions = service.traffic.versions();
            (name.clone(), versions.map(|version| Contract::from(&**version)).collect())
        });
        Self(services.collect())
    }

    /// The versions that have traffic of a service, if it is deployed.
    #[must_use]
    pub fn versions(&self, service: &ServiceName) -> &[Contract<'a>] {
        self.0.get(service).map_or(&[], Vec::as_slice)
    }

    /// The services, each with its versions.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &[Contract<'a>])> {
        self.0.iter().map(|(name, versions)| (name, versions.as_slice()))
    }

    /// The service is, or would be, served by these versions.
    pub fn serve(&mut self, service: ServiceName, versions: Vec<Contract<'a>>) {
        self.0.insert(service, versions);
    }

    /// The service is, or would be, gone.
    pub fn remove(&mut self, service: &ServiceName) {
        self.0.remove(service);
    }

    /// The service to which an import of a version leads: the one that `[imports]` names, else
    /// the only one among those that it may call that exports it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn callee(
        &self,
        caller: Contract<'_>,
        wanted: &Interface,
    ) -> Result<ServiceName, NoCallee> {
        let interface = || wanted.name.clone();
        let named = caller.manifest.imports.get(unversioned(&wanted.name));
        let asked: Vec<&ServiceName> = match named {
            Some(service) => vec![service],
            None => caller.manifest.capabilities.calls.iter().collect(),
        };
        let fits = asked.iter().map(|service| (*service, self.fit(service, wanted)));
        let (mut offers, mut rivals) = (Vec::new(), Vec::new());
        let (mut misfits, mut missing) = (None, Vec::new());
        for (service, fit) in fits {
            match fit {
                Fit::Fits => offers.push((service, true)),
                Fit::Partly => offers.push((service, false)),
                Fit::Misfits(found) => {
                    // A call of one of the others could lead there.
                    if found.len() < wanted.functions.len() {
                        rivals.push(service.clone());
                    }
                    misfits = misfits.or(Some((service.clone(), found)));
                }
                Fit::Absent if self.0.contains_key(service) => {
                    missing.push(format!("{service} does not export it"));
                }
                Fit::Absent => missing.push(format!("{service} is not deployed")),
            }
        }
        match (offers.as_slice(), misfits) {
            ([(service, true)], _) if rivals.is_empty() => Ok((*service).clone()),
            ([(service, false)], _) if rivals.is_empty() => {
                let missing = vec![format!("not every version of {service} with traffic does")];
                Err(NoCallee::Missing { interface: interface(), missing })
            }
            ([], Some((service, misfits))) => {
                Err(NoCallee::Misfits { interface: interface(), service, misfits })
            }
            ([], None) => Err(self.nobody(&asked, wanted, missing)),
            (several, _) => {
                let several = several.iter().map(|(service, _)| (*service).clone());
                let exported_by = several.chain(rivals).collect();
                Err(NoCallee::Ambiguous { interface: interface(), exported_by })
            }
        }
    }

    /// Why a version's imports lead to no service, each that does not.
    #[must_use]
    pub fn unmet(&self, caller: Contract<'_>) -> Vec<NoCallee> {
        let uses = caller.uses.iter().filter(|wanted| !wanted.functions.is_empty());
        uses.filter_map(|wanted| self.callee(caller, wanted).err()).collect()
    }

    /// The services that a version calls, by the names of what it imports.
    #[must_use]
    pub fn callees(&self, caller: Contract<'_>) -> BTreeMap<String, ServiceName> {
        let found = caller
            .uses
            .iter()
            .filter_map(|wanted| Some((wanted.name.clone(), self.callee(caller, wanted).ok()?)));
        found.collect()
    }

    /// The services whose imports lead somewhere as things are, and nowhere `afterwards`; not
    /// those that are gone then, nor a service by what only a version imports that loses its
    /// traffic.
    #[must_use]
    pub fn broken_by(&self, afterwards: &Contracts<'_>) -> Vec<Broken> {
        let mut broken: Vec<Broken> = Vec::new();
        for (dependent, versions) in &self.0 {
            for caller in versions {
                let stays = |after: &&Contract<'_>| std::ptr::eq(after.uses, caller.uses);
                let Some(after) = afterwards.versions(dependent).iter().find(stays) else {
                    continue;
                };
                for wanted in caller.uses {
                    let Ok(callee) = self.callee(*caller, wanted) else { continue };
                    let Err(why) = afterwards.callee(*after, wanted) else { continue };
                    let (dependent, interface) = (dependent.clone(), wanted.name.clone());
                    let found = Broken { dependent, interface, callee, why };
                    if !broken.contains(&found) {
                        broken.push(found);
                    }
                }
            }
        }
        broken
    }

    /// The most of the `waiting` services that could go live together: each has all that it
    /// imports from what is deployed and from the others. Beside them, everything as it is then.
    #[must_use]
    pub fn with_most(
        &self,
        waiting: &BTreeMap<ServiceName, Vec<Contract<'a>>>,
    ) -> (BTreeSet<ServiceName>, Self) {
        let mut together: BTreeSet<ServiceName> = waiting.keys().cloned().collect();
        loop {
            let mut then = self.clone();
            let joining = waiting.iter().filter(|(name, _)| together.contains(*name));
            then.0.extend(joining.map(|(name, versions)| (name.clone(), versions.clone())));
            let lacks = |name: &ServiceName| {
                then.versions(name).iter().any(|version| !then.unmet(*version).is_empty())
            };
            let lacking: Vec<_> = together.iter().filter(|name| lacks(name)).cloned().collect();
            if lacking.is_empty() {
                return (together, then);
            }
            together.retain(|name| !lacking.contains(name));
        }
    }

    fn fit(&self, service: &ServiceName, wanted: &Interface) -> Fit {
        let versions = self.versions(service);
        let found = versions.iter().map(|version| fit(version.provides, wanted));
        let (mut fitting, mut misfits) = (0, None);
        for found in found {
            match found {
                Some(found) if found.is_empty() => fitting += 1,
                Some(found) => misfits = misfits.or(Some(found)),
                None => {}
            }
        }
        match misfits {
            _ if fitting > 0 && fitting == versions.len() => Fit::Fits,
            _ if fitting > 0 => Fit::Partly,
            Some(misfits) => Fit::Misfits(misfits),
            None => Fit::Absent,
        }
    }

    /// None of those that are `asked` exports it in any form.
    fn nobody(&self, asked: &[&ServiceName], wanted: &Interface, missing: Vec<String>) -> NoCallee {
        let interface = wanted.name.clone();
        let may_come = asked.iter().any(|service| !self.0.contains_key(*service));
        let exports = |service: &&ServiceName| {
            !asked.contains(service) && matches!(self.fit(service, wanted), Fit::Fits | Fit::Partly)
        };
        let exported_by: Vec<_> = self.0.keys().filter(exports).cloned().collect();
        if asked.is_empty() || !may_come && !exported_by.is_empty() {
            return NoCallee::NotGranted { interface, exported_by };
        }
        NoCallee::Missing { interface, missing }
    }
}

/// What differs from what is wanted, in the one of these that is a version of it and differs
/// least; none where there is no version of it.
fn fit(provides: &[Interface], wanted: &Interface) -> Option<Vec<String>> {
    provider(provides, wanted).map(|interface| interface.misfits(wanted))
}

/// The interface that is called where `wanted` is imported: of several compatible versions the
/// first that has all its functions.
#[must_use]
pub fn provider<'a>(provides: &'a [Interface], wanted: &Interface) -> Option<&'a Interface> {
    let key = semver_key(&wanted.name);
    let versions = provides.iter().filter(|interface| semver_key(&interface.name) == key);
    versions.min_by_key(|interface| interface.misfits(wanted).len())
}

/// `shop:cart/carts@1.x`: every version that is as good.
#[must_use]
pub fn any_version(name: &str) -> String {
    match semver_key(name) {
        key if key == name => name.to_owned(),
        key => format!("{key}.x"),
    }
}

fn not_granted(interface: &str, exported_by: &[ServiceName]) -> String {
    match exported_by {
        [] => format!(
            "import {interface} is not provided by the host, and no service may be called for it: \
             name the one that exports it under `[capabilities] calls`, or build the component \
             without it"
        ),
        [only] => format!(
            "import {interface} is exported by {only}, which may not be called: add `{only}` to \
             `[capabilities] calls`"
        ),
        several => format!(
            "import {interface} is exported by {}, none of which may be called: add one of them \
             to `[capabilities] calls`",
            listed(several)
        ),
    }
}

fn listed(services: &[ServiceName]) -> String {
    let names: Vec<_> = services.iter().map(ServiceName::as_str).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// `order imports shop:cart/carts@1.0.0 from cart: …`
impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dependent, interface, callee, why } = self;
        write!(f, "{dependent} imports {interface} from {callee}, and ")?;
        match why {
            NoCallee::Misfits { misfits, .. } => f.write_str(&misfits.join("; "))?,
            NoCallee::Ambiguous { exported_by, .. } => {
                return write!(
                    f,
                    "{} would export it: deploy a version of {dependent} first whose `[imports]` \
                     says which",
                    listed(exported_by)
                );
            }
            NoCallee::Missing { .. } | NoCallee::NotGranted { .. } => {
                f.write_str("no service that it may call would export it")?;
            }
        }
        write!(f, "; deploy a version of {dependent} that does without that first, or undeploy it")
    }
}

#[cfg(test)]
mod tests;
