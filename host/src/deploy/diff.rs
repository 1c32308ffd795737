//! `hotdock diff`: what differs between two components and their manifests.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::compatibility::{Side, offered};
use super::description::Description;
use super::pair::Pair;
use crate::component::{self, Interfaces};
use crate::manifest::Sticky;
use crate::manifest::{Canary, Deploy, Manifest};
use crate::runtime::functions::is_of_services;
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
    // Another service may provide it: a candidate waits for that.
    let provided = |import: &str| provides(import) || is_of_services(import);
    let imports = component::imports(&old.interfaces, &new.interfaces, provided);
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
        let Pair { name, component, manifest, .. } =
            Pair::read(file, None).map_err(|reason| vec![reason])?;
        let (_, manifest) = manifest?;
        let interfaces = Interfaces::read(component.as_slice())
            .map_err(|error| vec![format!("{name}: {error}")])?;
        let (exports, imports) = (interfaces.exports(), interfaces.imports());
        let description = Description::of(&component, &manifest, exports, imports);
        Ok(Self { interfaces, manifest, description })
    }

    fn side(&self) -> Side<'_> {
        Side { interfaces: &self.interfaces, manifest: &self.manifest }
    }
}

/// A store that has a migration refuses another of its name, and to be without it or to have
/// it after others.
fn changed_migrations(old: &Manifest, new: &Manifest) -> Vec<String> {
    let moved = old.migrations.iter().enumerate().find(|(index, before)| {
        new.migrations.get(*index).is_none_or(|after| after.name != before.name)
    });
    let moved = moved.map(|(_, before)| {
        let is_there = new.migrations.iter().any(|after| after.name == before.name);
        let now = if is_there { "comes after others" } else { "is gone" };
        let name = &before.name;
        format!("migration {name} {now}: a store that has it refuses that; add new ones at the end")
    });
    let changed = old.migrations.iter().filter(|before| {
        new.migrations.iter().any(|after| after.name == before.name && after.sql != before.sql)
    });
    let words = |name: &str| {
        format!("migration {name} was changed: a store that has it refuses it; add a new one")
    };
    moved.into_iter().chain(changed.map(|migration| words(&migration.name))).collect()
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
    let calls = |version: &Version| -> Vec<String> {
        version.manifest.capabilities.calls.iter().map(ToString::to_string).collect()
    };
    list("called service", &calls(old), &calls(new));
    let imports = |version: &Version| -> Vec<String> {
        let imports = version.manifest.imports.iter();
        imports.map(|(interface, service)| format!("{interface} from {service}")).collect()
    };
    list("import", &imports(old), &imports(new));
    let differ = |word: &str, before: Vec<(String, String)>, after: Vec<(String, String)>| {
        let pairs = before.into_iter().zip(after);
        let changed = pairs.filter(|((_, before), (_, after))| before != after);
        let words = |((key, before), (_, after))| format!("{word} {key} was {before}, is {after}");
        changed.map(words).collect::<Vec<_>>()
    };
    let (before, after) = (&old.manifest, &new.manifest);
    declared.extend(differ("limit", fields(&before.limits), fields(&after.limits)));
    declared.extend(differ("instances", fields(&before.instances), fields(&after.instances)));
    declared.extend(differ("deploy", deploy(&before.deploy), deploy(&after.deploy)));
    let (before, after) = (&before.capabilities, &after.capabilities);
    declared.extend(texts("config", &before.config, &after.config));
    declared.extend(texts("environment", &before.environment, &after.environment));
    declared
}

type Texts = BTreeMap<String, String>;

fn texts(word: &str, before: &Texts, after: &Texts) -> Vec<String> {
    let lost = before.keys().filter(|key| !after.contains_key(*key));
    let lost = lost.map(|key| format!("{word} {key} is gone"));
    let other = after.iter().filter_map(|(key, value)| match before.get(key) {
        None => Some(format!("{word} {key} is new")),
        Some(before) => {
            (before != value).then(|| format!("{word} {key} was {before:?}, is {value:?}"))
        }
    });
    lost.chain(other).collect()
}

/// The fields of a flat struct as the manifest calls them, each in a line of its own where it
/// is shown whole: one that is new to it is compared, too.
fn fields(whole: &impl std::fmt::Debug) -> Vec<(String, String)> {
    let shown = format!("{whole:#?}");
    let lines = shown.lines().filter_map(|line| {
        let (key, value) = line.trim().split_once(": ")?;
        Some((key.replace('_', "-"), value.trim_end_matches(',').to_owned()))
    });
    lines.collect()
}

fn deploy(deploy: &Deploy) -> Vec<(String, String)> {
    let Deploy { health, drain, canary, allow_breaking } = deploy;
    let or_none = |shown: Option<String>| shown.unwrap_or_else(|| "none".to_owned());
    let canary = canary.as_ref().map(|canary| {
        let settings = fields_in_line(canary);
        format!("{{ {settings} }}")
    });
    let shown = [
        ("health", or_none(health.clone())),
        ("drain", format!("{drain:?}")),
        ("canary", or_none(canary)),
        ("allow-breaking", allow_breaking.to_string()),
    ];
    shown.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn fields_in_line(canary: &Canary) -> String {
    let Canary { steps, pause, requests, wait, errors, slower, sticky } = canary;
    let steps: Vec<_> = steps.iter().map(|step| format!("{step}%")).collect();
    let sticky = match sticky {
        None => String::new(),
        Some(Sticky::Cookie) => ", sticky = cookie".to_owned(),
        Some(Sticky::Header(name)) => format!(", sticky = header:{name}"),
    };
    format!(
        "steps = {}, pause = {pause:?}, requests = {requests}, wait = {wait:?}, errors = {errors}%, \
         slower = {slower}{sticky}",
        steps.join(" ")
    )
}
