//! `hotdock inspect`: what a component is and asks for, without compiling it.

use std::path::Path;

use serde::Serialize;

use super::description::Description;
use super::pair::Pair;
use super::validate::unserved;
use crate::component::{Interfaces, Sizes};
use crate::manifest::Manifest;
use crate::runtime::functions::is_of_services;
use crate::runtime::{Servable, missing_import, not_servable, provides};
use crate::service::contracts::NoCallee;

/// A component, looked at from all sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// What it is.
    #[serde(flatten)]
    pub description: Description,
    /// Where its manifest is, by the path that was given: `in/cart.toml`, or `in/cart.wasm
    /// (hotdock.manifest)`; none where it is the default.
    pub manifest: Option<String>,
    /// What its manifest asks for.
    pub capabilities: Asked,
    /// How large its parts are.
    pub sizes: Sizes,
    /// What stands against its deployment, as far as that can be told without
    /// compiling it.
    pub problems: Vec<String>,
}

/// What a manifest asks for, by name: values of the configuration are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Origins that it sends requests to.
    pub outbound: Vec<String>,
    /// Keys of its configuration.
    pub config: Vec<String>,
    /// Secrets that the operator supplies.
    pub secrets: Vec<String>,
    /// Services that it calls.
    pub calls: Vec<String>,
}

/// Looks at a component and the manifest beside it, or embedded in it.
///
/// # Errors
/// Every reason why it cannot be looked at.
pub fn inspect(file: &Path) -> Result<Inspection, Vec<String>> {
    let Pair { name, component, manifest, .. } =
        Pair::read(file, None).map_err(|reason| vec![reason])?;
    let (text, manifest) = manifest?;
    let cannot = |error: &dyn std::fmt::Display| vec![format!("{name}: {error}")];
    let interfaces = Interfaces::read(component.as_slice()).map_err(|error| cannot(&error))?;
    let sizes = Sizes::of(&component).map_err(|error| cannot(&error))?;
    let (exports, imports) = (interfaces.exports(), interfaces.imports());
    let problems = problems(&interfaces, &manifest);
    let mut description = Description::of(&component, &manifest, exports, imports);
    let missing = missing(&interfaces);
    let nobody_may_be_called = manifest.capabilities.calls.is_empty();
    for import in &mut description.imports {
        let of_nobody = is_of_services(&import.interface) && nobody_may_be_called;
        import.provided = !missing.contains(&import.interface) && !of_nobody;
    }
    Ok(Inspection {
        description,
        manifest: text.map(|text| text.file),
        capabilities: Asked::by(&manifest),
        sizes,
        problems,
    })
}

/// What stands against the deployment of a component with this manifest, as far as
/// that can be told without compiling it.
pub(super) fn problems(interfaces: &Interfaces, manifest: &Manifest) -> Vec<String> {
    let exports = interfaces.exports();
    let mut problems: Vec<String> =
        missing(interfaces).iter().map(|import| missing_import(import)).collect();
    problems.extend(uncalled(&interfaces.needs(), manifest));
    match Servable::of(&exports) {
        Some(servable) => problems.extend(unserved(servable, &exports, manifest)),
        None => problems.push(not_servable(&exports)),
    }
    problems
}

/// Imports that neither the host nor another service can provide.
fn missing(interfaces: &Interfaces) -> Vec<String> {
    let nobody = |import: &String| !provides(import) && !is_of_services(import);
    interfaces.needs().into_iter().filter(nobody).collect()
}

/// Why imports of other services lead nowhere, whatever is deployed.
pub(super) fn uncalled(imports: &[String], manifest: &Manifest) -> Vec<String> {
    if !manifest.capabilities.calls.is_empty() {
        return Vec::new();
    }
    let of_services = imports.iter().filter(|import| is_of_services(import));
    let no_callee = |import: &String| NoCallee::NotGranted {
        interface: import.clone(),
        exported_by: Vec::new(),
    };
    of_services.map(|import| no_callee(import).to_string()).collect()
}

impl Asked {
    fn by(manifest: &Manifest) -> Self {
        let capabilities = &manifest.capabilities;
        Self {
            outbound: capabilities.outbound.iter().map(ToString::to_string).collect(),
            config: capabilities.config.keys().cloned().collect(),
            secrets: capabilities.secrets.iter().cloned().collect(),
            calls: capabilities.calls.iter().map(ToString::to_string).collect(),
        }
    }
}
