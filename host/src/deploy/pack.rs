//! `hotdock pack`: a component with its manifest embedded.

use std::borrow::Cow;

use super::inspect::problems;
use super::pair::{Pair, too_large};
use crate::component::Interfaces;
use crate::component::MAX_COMPONENT_BYTES;
use crate::manifest::{embed, embedded};

/// The component with the manifest beside it as its custom section, in place of the
/// one that it has; as it is where no file is beside it. The same input always
/// gives the same bytes.
///
/// # Errors
/// Every reason why a host would refuse it, as far as that can be told without
/// compiling it.
pub fn pack(pair: &Pair) -> Result<Vec<u8>, Vec<String>> {
    let (_, manifest) = pair.manifest.as_ref().map_err(Clone::clone)?;
    let name = &pair.name;
    let interfaces = Interfaces::read(pair.component.as_slice())
        .map_err(|error| vec![format!("{name}: {error}")])?;
    let problems = problems(&interfaces, manifest);
    if !problems.is_empty() {
        return Err(problems);
    }
    let Some(beside) = &pair.beside else { return Ok(pair.component.clone()) };
    let embedded = embedded(name, &pair.component).map_err(|error| vec![error.to_string()])?;
    let service = embedded.and_then(|embedded| service_in(&embedded.text));
    let service = service.as_deref().unwrap_or(manifest.service.as_str());
    let packed = embed(name, &pair.component, &named(&beside.text, service));
    let packed = packed.map_err(|error| vec![error.to_string()])?;
    if packed.len() as u64 > MAX_COMPONENT_BYTES {
        return Err(vec![too_large(name, packed.len() as u64)]);
    }
    Ok(packed)
}

/// The manifest with its service's name: whatever the file is called from here on, and whichever
/// manifest takes this one's place, it is the same service.
fn named<'a>(text: &'a str, service: &str) -> Cow<'a, str> {
    let document: Option<toml::Table> = text.parse().ok();
    if document.is_none_or(|document| document.contains_key("service")) {
        return Cow::Borrowed(text);
    }
    // At the end, where it takes no key of another table's.
    let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    Cow::Owned(format!("{text}{newline}\n[service]\nname = \"{service}\"\n"))
}

/// The service that a manifest names.
fn service_in(text: &str) -> Option<String> {
    let document: toml::Table = text.parse().ok()?;
    Some(document.get("service")?.get("name")?.as_str()?.to_owned())
}
