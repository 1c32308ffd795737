//! `hotdock pack`: a component with its manifest embedded.

use super::config::MAX_COMPONENT_BYTES;
use super::inspect::problems;
use super::pair::{Pair, too_large};
use super::plugin_file::Part;
use crate::component::Interfaces;
use crate::manifest::embed;

/// The component with the manifest beside it as its custom section, in place of the
/// one that it has; as it is where no file is beside it. The same input always
/// gives the same bytes.
///
/// # Errors
/// Every reason why a host would refuse it, as far as that can be told without
/// compiling it.
pub fn pack(pair: &Pair) -> Result<Vec<u8>, Vec<String>> {
    let (_, manifest) = pair.manifest.as_ref().map_err(Clone::clone)?;
    let name = pair.stem.file(Part::Component);
    let interfaces = Interfaces::read(pair.component.as_slice())
        .map_err(|error| vec![format!("{name}: {error}")])?;
    let problems = problems(&interfaces, manifest);
    if !problems.is_empty() {
        return Err(problems);
    }
    let Some(beside) = &pair.beside else { return Ok(pair.component.clone()) };
    let packed = embed(&name, &pair.component, &beside.text);
    let packed = packed.map_err(|error| vec![error.to_string()])?;
    if packed.len() as u64 > MAX_COMPONENT_BYTES {
        return Err(vec![too_large(&pair.stem, packed.len() as u64)]);
    }
    Ok(packed)
}
