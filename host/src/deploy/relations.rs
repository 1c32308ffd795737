//! Which services call which: what each exports for others and imports from them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::name::ServiceName;
use crate::runtime::functions::Interface;
use crate::service::contracts::{Contract, Contracts};

/// How a service stands to others, by all of its versions that have traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Relations {
    pub(super) provides: Vec<ProvidedInterface>,
    pub(super) uses: Vec<UsedInterface>,
    pub(super) callers: Vec<String>,
    pub(super) callees: Vec<String>,
}

/// An interface that a service exports for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProvidedInterface {
    /// Its name with its version: `shop:cart/carts@1.0.0`.
    pub interface: String,
    /// Its functions, each with its type in WIT's words.
    pub functions: BTreeMap<String, String>,
}

/// An interface that a service imports from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsedInterface {
    /// Its name with its version.
    pub interface: String,
    /// The functions that are imported, each with its type in WIT's words.
    pub functions: BTreeMap<String, String>,
    /// The service that is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Why none is: its calls fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How each service stands to the others.
pub(super) fn relations(contracts: &Contracts<'_>) -> BTreeMap<ServiceName, Relations> {
    let mut all = BTreeMap::new();
    let mut callers: BTreeMap<ServiceName, BTreeSet<String>> = BTreeMap::new();
    for (name, versions) in contracts.services() {
        let (provides, uses) = (provided(versions), used(contracts, versions));
        let callees: BTreeSet<String> = uses.iter().filter_map(|used| used.from.clone()).collect();
        for version in versions {
            for callee in contracts.callees(*version).into_values() {
                callers.entry(callee).or_default().insert(name.to_string());
            }
        }
        let callees = callees.into_iter().collect();
        all.insert(name.clone(), Relations { provides, uses, callees, ..Relations::default() });
    }
    for (callee, callers) in callers {
        if let Some(relations) = all.get_mut(&callee) {
            relations.callers = callers.into_iter().collect();
        }
    }
    all
}

/// The functions of an interface, each with its type in words.
pub(super) fn functions(interface: &Interface) -> BTreeMap<String, String> {
    let functions = interface.functions.iter();
    functions.map(|(name, signature)| (name.clone(), signature.to_string())).collect()
}

fn provided(versions: &[Contract<'_>]) -> Vec<ProvidedInterface> {
    let mut provided: Vec<ProvidedInterface> = Vec::new();
    for interface in versions.iter().flat_map(|version| version.provides) {
        let found = ProvidedInterface {
            interface: interface.name.clone(),
            functions: functions(interface),
        };
        if !provided.contains(&found) {
            provided.push(found);
        }
    }
    provided
}

fn used(contracts: &Contracts<'_>, versions: &[Contract<'_>]) -> Vec<UsedInterface> {
    let mut used: Vec<UsedInterface> = Vec::new();
    for version in versions {
        for wanted in version.uses {
            let callee = contracts.callee(*version, wanted);
            let problem = callee.as_ref().err().map(ToString::to_string);
            let found = UsedInterface {
                interface: wanted.name.clone(),
                functions: functions(wanted),
                from: callee.ok().map(|callee| callee.to_string()),
                problem,
            };
            if !used.contains(&found) {
                used.push(found);
            }
        }
    }
    used
}
