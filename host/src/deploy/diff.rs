//! `hotdock diff`: what differs between two components and their manifests.

use std::path::Path;

use serde::Serialize;

use super::compatibility::{Side, offered};
use super::description::Description;
use super::pair::Pair;
use crate::component::{self, Interfaces};
use crate::manifest::Manifest;
use crate::runtime::provides;

/// What differs between two components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// What a host refuses of the newer one over the older one.
    pub breaking: Vec<String>,
    /// What else differs between the components.
    pub compatible: Vec<String>,
    /// What else differs between their manifests: as their author declares it, and
    /// never refused.
    pub declared: Vec<String>,
}

/// Compares a newer component with an older one, each with the manifest beside it
/// or embedded in it.
///
/// # Errors
/// Every reason why they cannot be compared.
pub fn diff(old: &Path, new: &Path) -> Result<Diff, Vec<String>> {
    let (old, new) = (Version::read(old)?, Version::read(new)?);
    let mut found = offered(&old.side(), &new.side());
    let imports = component::imports(&old.interfaces, &new.interfaces, provides);
    found.breaking.extend(imports.breaking);
    found.compatible.extend(imports.compatible);
    found.breaking.extend(changed_migrations(&old.manifest, &new.manifest));
    let declared = declared(&old, &new);
    Ok(Diff { breaking: found.breaking, compatible: found.compatible, declared })
}

impl Diff {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.breaking.is_empty() && self.compatible.is_empty() && self.declared.is_empty()
    }
}

/// One of the two.
struct Version {
    interfaces: Interfaces,
    manifest: Manifest,
    description: Description,
}

impl Version {
    fn read(file: &Path) -> Result<Self, Vec<String>> {
        let Pair { component, manifest, .. } =
            Pair::read(file, None).map_err(|reason| vec![reason])?;
        let (_, manifest) = manifest?;
        let interfaces = Interfaces::read(component.as_slice())
            .map_err(|error| vec![format!("{}: {error}", file.display())])?;
        let (exports, imports) = (interfaces.exports(), interfaces.imports());
        let description = Description::of(&component, &manifest, exports, imports);
        Ok(Self { interfaces, manifest, description })
    }

    fn side(&self) -> Side<'_> {
        Side { interfaces: &self.interfaces, manifest: &self.manifest }
    }
}

/// A store that has a migration refuses another of its name.
fn changed_migrations(old: &Manifest, new: &Manifest) -> Vec<String> {
    let changed = old.migrations.iter().filter(|before| {
        new.migrations.iter().any(|after| after.name == before.name && after.sql != before.sql)
    });
    let words = |name: &str| {
        format!("migration {name} was changed: a store that has it refuses it; add a new one")
    };
    changed.map(|migration| words(&migration.name)).collect()
}

fn declared(old: &Version, new: &Version) -> Vec<String> {
    let (before, after) = (&old.description, &new.description);
    let mut declared = Vec::new();
    if before.service != after.service {
        declared.push(format!("service {} is {} now", before.service, after.service));
    }
    let mut list = |word: &str, before: &[String], after: &[String]| {
        let lost = before.iter().filter(|each| !after.contains(each));
        declared.extend(lost.map(|each| format!("{word} {each} is gone")));
        let new = after.iter().filter(|each| !before.contains(each));
        declared.extend(new.map(|each| format!("{word} {each} is new")));
    };
    list("route", &before.routes, &after.routes);
    list("subscription", &before.subscriptions, &after.subscriptions);
    list("schedule", &before.schedules, &after.schedules);
    list("migration", &before.migrations, &after.migrations);
    let origins = |version: &Version| -> Vec<String> {
        let origins = version.manifest.capabilities.outbound.iter();
        origins.map(ToString::to_string).collect()
    };
    list("outbound origin", &origins(old), &origins(new));
    let secrets = |version: &Version| -> Vec<String> {
        version.manifest.capabilities.secrets.iter().cloned().collect()
    };
    list("secret", &secrets(old), &secrets(new));
    declared
}
