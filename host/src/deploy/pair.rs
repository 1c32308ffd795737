//! A component and its manifest: what the bytes of the two say before anything is
//! compiled, whether they are a component at all, and what the manifest is.

use std::path::Path;

use super::config::MAX_COMPONENT_BYTES;
use super::plugin_file::{Part, Stem};
use super::preamble;
use crate::manifest::{MAX_TEXT_BYTES, Manifest, ManifestText, embedded};

/// A file's bytes, or how large it is where that is too much.
pub(super) type Content = Result<Vec<u8>, u64>;

/// A component from a file or a registry, with the manifest that counts for it.
#[derive(Debug)]
pub struct Pair {
    pub(super) stem: Stem,
    /// The component.
    pub component: Vec<u8>,
    /// The text of a manifest that is not embedded.
    pub beside: Option<ManifestText>,
    /// The manifest that counts, and its text if it has any; or every reason why
    /// there is none.
    pub manifest: Result<(Option<ManifestText>, Manifest), Vec<String>>,
}

impl Pair {
    /// Reads `NAME.wasm` with `NAME.toml` beside it, or with `manifest` instead.
    ///
    /// # Errors
    /// When a file cannot be read, or the component is too large.
    pub fn read(file: &Path, manifest: Option<&Path>) -> Result<Self, String> {
        let component = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let beside = match manifest {
            Some(path) => path.to_owned(),
            None => file.with_extension("toml"),
        };
        let beside = match std::fs::read(&beside) {
            Ok(bytes) => Some((beside.display().to_string(), bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && manifest.is_none() => {
                None
            }
            Err(error) => return Err(unreadable(&beside, &error)),
        };
        Self::of(stem, component, beside)
    }

    /// Of a component that was known as `stem`, and a manifest that messages call
    /// by its file's name.
    ///
    /// # Errors
    /// When the component is too large.
    pub fn of(
        stem: &str,
        component: Vec<u8>,
        beside: Option<(String, Vec<u8>)>,
    ) -> Result<Self, String> {
        let stem = Stem::new(stem);
        if component.len() as u64 > MAX_COMPONENT_BYTES {
            return Err(too_large(&stem, component.len() as u64));
        }
        let beside = beside.map(|(file, bytes)| (file, within_limit(bytes)));
        let beside = beside.map(|(file, content)| text(file, content)).transpose();
        let manifest = match &beside {
            Ok(beside) => count(&stem, &component, beside.clone()),
            Err(reason) => Err(vec![reason.clone()]),
        };
        Ok(Self { stem, component, beside: beside.ok().flatten(), manifest })
    }
}

/// The manifest that counts for this component, and its text if it has any; or
/// every reason why there is none.
pub(super) fn manifest_of(
    file: &Stem,
    component: &[u8],
    beside: Option<Content>,
) -> Result<(Option<ManifestText>, Manifest), Vec<String>> {
    let beside = beside.map(|content| text(file.file(Part::Manifest), content));
    count(file, component, beside.transpose().map_err(|reason| vec![reason])?)
}

/// Says that a component is too large.
pub(super) fn too_large(file: &Stem, size: u64) -> String {
    let name = file.file(Part::Component);
    format!("{name} has {size} bytes; a component has at most {MAX_COMPONENT_BYTES}")
}

/// The file beside the component wins over what is embedded in it.
fn count(
    file: &Stem,
    component: &[u8],
    beside: Option<ManifestText>,
) -> Result<(Option<ManifestText>, Manifest), Vec<String>> {
    let name = file.file(Part::Component);
    preamble::check(component).map_err(|error| vec![format!("{name} {error}")])?;
    let embedded = embedded(&name, component).map_err(|error| vec![error.to_string()])?;
    let text = beside.or(embedded);
    let manifest = Manifest::read(file.as_str(), text.as_ref());
    let reasons = |error: crate::manifest::ManifestError| {
        error.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    manifest.map_err(reasons).map(|manifest| (text, manifest))
}

fn within_limit(bytes: Vec<u8>) -> Content {
    if bytes.len() > MAX_TEXT_BYTES { Err(bytes.len() as u64) } else { Ok(bytes) }
}

fn text(file: String, content: Content) -> Result<ManifestText, String> {
    let bytes = content.map_err(|size| {
        format!("{file} has {size} bytes; a manifest has at most {MAX_TEXT_BYTES}")
    })?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{file} is not UTF-8 text"))?;
    Ok(ManifestText { file, text })
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
