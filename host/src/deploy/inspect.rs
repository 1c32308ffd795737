//! `hotdock inspect`: what a component is and asks for, without compiling it.

use std::path::Path;

use serde::Serialize;

use super::description::Description;
use super::pair::Pair;
use super::validate::unserved;
use crate::component::{Interfaces, Sizes};
use crate::manifest::Manifest;
use crate::runtime::{Servable, missing_import, not_servable, provides};

/// A component, looked at from all sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// What it is.
    #[serde(flatten)]
    pub description: Description,
    /// Where its manifest is: `cart.toml`, or `cart.wasm (hotdock.manifest)`; none
    /// where it is the default.
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
}

/// Looks at a component and the manifest beside it, or embedded in it.
///
/// # Errors
/// Every reason why it cannot be looked at.
pub fn inspect(file: &Path) -> Result<Inspection, Vec<String>> {
    let Pair { component, manifest, .. } = Pair::read(file, None).map_err(|reason| vec![reason])?;
    let (text, manifest) = manifest?;
    let shown = file.display();
    let cannot = |error: &dyn std::fmt::Display| vec![format!("{shown}: {error}")];
    let interfaces = Interfaces::read(component.as_slice()).map_err(|error| cannot(&error))?;
    let sizes = Sizes::of(&component).map_err(|error| cannot(&error))?;
    let (exports, imports) = (interfaces.exports(), interfaces.imports());
    let problems = problems(&interfaces, &manifest);
    let mut description = Description::of(&component, &manifest, exports, imports);
    let missing = missing(&interfaces);
    for import in &mut description.imports {
        import.provided = !missing.contains(&import.interface);
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
    match Servable::of(&exports) {
        Some(servable) => problems.extend(unserved(servable, &exports, manifest)),
        None => problems.push(not_servable(&exports)),
    }
    problems
}

/// Imports that the host does not provide.
fn missing(interfaces: &Interfaces) -> Vec<String> {
    interfaces.needs().into_iter().filter(|import| !provides(import)).collect()
}

impl Asked {
    fn by(manifest: &Manifest) -> Self {
        let capabilities = &manifest.capabilities;
        Self {
            outbound: capabilities.outbound.iter().map(ToString::to_string).collect(),
            config: capabilities.config.keys().cloned().collect(),
            secrets: capabilities.secrets.iter().cloned().collect(),
        }
    }
}
