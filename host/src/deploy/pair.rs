//! A component and its manifest: what the bytes of the two say before anything is
//! compiled, whether they are a component at all, and what the manifest is.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::plugin_file::{Part, Stem};
use super::preamble;
use crate::component::MAX_COMPONENT_BYTES;
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
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        Self::read_as(stem, file, manifest)
    }

    /// The same, known as `stem`.
    ///
    /// # Errors
    /// As [`Pair::read`].
    pub fn read_as(stem: &str, file: &Path, manifest: Option<&Path>) -> Result<Self, String> {
        if file.extension().is_some_and(|extension| extension == "toml") {
            let component = file.with_extension("wasm");
            let (file, component) = (file.display(), component.display());
            return Err(format!("{file} is a manifest; name its component, {component}"));
        }
        let component = read_at_most(file, MAX_COMPONENT_BYTES);
        let component = component.map_err(|error| unreadable(file, &error))?;
        let component = component.map_err(|size| too_large(&Stem::new(stem), size))?;
        let beside = match manifest {
            Some(path) => path.to_owned(),
            None => file.with_extension("toml"),
        };
        let beside = match read_at_most(&beside, MAX_TEXT_BYTES as u64) {
            Ok(content) => Some((beside.display().to_string(), content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && manifest.is_none() => None,
            Err(error) => return Err(unreadable(&beside, &error)),
        };
        Self::of(stem, component, beside)
    }

    /// Of a component from elsewhere that is known as `stem`, with `manifest` if there is one.
    ///
    /// # Errors
    /// When the manifest cannot be read, or the component is too large.
    pub fn from_elsewhere(
        stem: &str,
        component: Vec<u8>,
        manifest: Option<&Path>,
    ) -> Result<Self, String> {
        let read = |path: &Path| {
            let content = read_at_most(path, MAX_TEXT_BYTES as u64);
            let content = content.map_err(|error| unreadable(path, &error))?;
            Ok::<_, String>((path.display().to_string(), content))
        };
        Self::of(stem, component, manifest.map(read).transpose()?)
    }

    fn of(
        stem: &str,
        component: Vec<u8>,
        beside: Option<(String, Content)>,
    ) -> Result<Self, String> {
        let stem = Stem::new(stem);
        if component.len() as u64 > MAX_COMPONENT_BYTES {
            return Err(too_large(&stem, component.len() as u64));
        }
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

/// A file's bytes, also where it says nothing of how many there are, as a pipe does.
fn read_at_most(path: &Path, most: u64) -> io::Result<Content> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > most {
        return Ok(Err(length));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() as u64 > most { Err(bytes.len() as u64) } else { Ok(bytes) })
}

fn text(file: String, content: Content) -> Result<ManifestText, String> {
    let bytes = content.map_err(|size| {
        format!("{file} has {size} bytes; a manifest has at most {MAX_TEXT_BYTES}")
    })?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{file} is not UTF-8 text"))?;
    Ok(ManifestText { file, text })
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
