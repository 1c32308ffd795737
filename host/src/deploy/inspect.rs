//! What the bytes of a pair say before anything is compiled: whether they are a
//! component at all, and what their manifest is.

use super::plugin_file::{Part, Stem};
use super::preamble;
use crate::manifest::{MAX_TEXT_BYTES, Manifest, ManifestText, embedded};

/// A file's bytes, or how large it is where that is too much.
pub(super) type Content = Result<Vec<u8>, u64>;

/// The manifest that counts for this component, and its text if it has any; or
/// every reason why there is none.
pub(super) fn inspect(
    file: &Stem,
    component: &[u8],
    beside: Option<Content>,
) -> Result<(Option<ManifestText>, Manifest), Vec<String>> {
    let name = file.file(Part::Component);
    preamble::check(component).map_err(|error| vec![format!("{name} {error}")])?;
    let embedded = embedded(&name, component).map_err(|error| vec![error.to_string()])?;
    // The file beside the component wins over what is embedded in it.
    let text = match beside {
        Some(content) => Some(text(file, content).map_err(|reason| vec![reason])?),
        None => embedded,
    };
    let manifest = Manifest::read(file.as_str(), text.as_ref());
    let reasons = |error: crate::manifest::ManifestError| {
        error.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    manifest.map_err(reasons).map(|manifest| (text, manifest))
}

fn text(file: &Stem, content: Content) -> Result<ManifestText, String> {
    let file = file.file(Part::Manifest);
    let bytes = content.map_err(|size| {
        format!("{file} has {size} bytes; a manifest has at most {MAX_TEXT_BYTES}")
    })?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{file} is not UTF-8 text"))?;
    Ok(ManifestText { file, text })
}
