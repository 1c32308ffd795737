//! A component and its manifest: what the bytes of the two say before anything is
//! compiled, whether they are a component at all, and what the manifest is.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::plugin_file::{Part, Stem};
use super::preamble;
use crate::component::MAX_COMPONENT_BYTES;
use crate::manifest::{MAX_TEXT_BYTES, Manifest, ManifestText, embedded, service_name};
use crate::name::ServiceName;

/// A file's bytes, or how large it is where that is too much.
pub(super) type Content = Result<Vec<u8>, u64>;

/// A component from a file or a registry, with the manifest that counts for it.
#[derive(Debug)]
pub struct Pair {
    /// What the component is called where something is wrong with it: as its file is, or its
    /// reference.
    pub(super) name: String,
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
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| file.display().to_string());
        let component = component.map_err(|size| too_large(&name, size))?;
        let beside = match manifest {
            Some(path) => path.to_owned(),
            None => file.with_extension("toml"),
        };
        let beside = match read_at_most(&beside, MAX_TEXT_BYTES as u64) {
            Ok(content) => Some((beside.display().to_string(), content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && manifest.is_none() => None,
            Err(error) => return Err(unreadable(&beside, &error)),
        };
        Self::of((stem, name), component, beside)
    }

    /// Of a component from elsewhere, called `name`, that is known as `stem`, with `manifest` if
    /// there is one.
    ///
    /// # Errors
    /// When the manifest cannot be read, or the component is too large.
    pub fn from_elsewhere(
        (stem, name): (&str, String),
        component: Vec<u8>,
        manifest: Option<&Path>,
    ) -> Result<Self, String> {
        let read = |path: &Path| {
            let content = read_at_most(path, MAX_TEXT_BYTES as u64);
            let content = content.map_err(|error| unreadable(path, &error))?;
            Ok::<_, String>((path.display().to_string(), content))
        };
        Self::of((stem, name), component, manifest.map(read).transpose()?)
    }

    fn of(
        (stem, name): (&str, String),
        component: Vec<u8>,
        beside: Option<(String, Content)>,
    ) -> Result<Self, String> {
        if component.len() as u64 > MAX_COMPONENT_BYTES {
            return Err(too_large(&name, component.len() as u64));
        }
        let beside = beside.map(|(file, content)| text(file, content)).transpose();
        let manifest = match &beside {
            Ok(beside) => count((stem, name.as_str()), &component, beside.clone()),
            Err(reason) => Err(vec![reason.clone()]),
        };
        Ok(Self { name, component, beside: beside.ok().flatten(), manifest })
    }
}

/// The manifest that counts for the component of a pair of plugin files, and its text if it has
/// any; or every reason why there is none.
pub(super) fn manifest_of(
    file: &Stem,
    component: &[u8],
    beside: Option<Content>,
) -> Result<(Option<ManifestText>, Manifest), Vec<String>> {
    let (name, manifest) = (file.file(Part::Component), file.file(Part::Manifest));
    found((file.as_str(), name.as_str()), component, beside.map(|content| (manifest, content)))
}

/// The same of what is uploaded for a service: the names of its files are the sender's, and not
/// known here.
pub(super) fn manifest_of_upload(
    service: &ServiceName,
    component: &[u8],
    beside: Option<Content>,
) -> Result<(Option<ManifestText>, Manifest), Vec<String>> {
    let beside = beside.map(|content| (UPLOADED_MANIFEST.to_owned(), content));
    found((service.as_str(), UPLOADED), component, beside)
}

/// What the parts of an upload are called.
const UPLOADED: &str = "what is uploaded";
const UPLOADED_MANIFEST: &str = "the uploaded manifest";

fn found(
    names: (&str, &str),
    component: &[u8],
    beside: Option<(String, Content)>,
) -> Result<(Option<ManifestText>, Manifest), Vec<String>> {
    let beside = beside.map(|(file, content)| text(file, content));
    count(names, component, beside.transpose().map_err(|reason| vec![reason])?)
}

/// Says that a component is too large.
pub(super) fn too_large(name: &str, size: u64) -> String {
    format!("{name} has {size} bytes; a component has at most {MAX_COMPONENT_BYTES}")
}

/// The file beside the component, which is called `name`, wins over what is embedded in it.
fn count(
    (stem, name): (&str, &str),
    component: &[u8],
    beside: Option<ManifestText>,
) -> Result<(Option<ManifestText>, Manifest), Vec<String>> {
    preamble::check(component).map_err(|error| vec![format!("{name} {error}")])?;
    let embedded = embedded(name, component).map_err(|error| vec![error.to_string()])?;
    let Some(text) = beside.or(embedded) else {
        return by_default(stem, name)
            .map(|manifest| (None, manifest))
            .map_err(|error| vec![error]);
    };
    let manifest = Manifest::read(stem, Some(&text));
    let reasons = |error: crate::manifest::ManifestError| {
        error.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    manifest.map_err(reasons).map(|manifest| (Some(text), manifest))
}

/// The manifest where there is none, which has no line that could be wrong: only the file's name.
fn by_default(stem: &str, name: &str) -> Result<Manifest, String> {
    // Where it is wrong, it is told as it is written.
    let service = service_name(stem).or_else(|_| stem.parse::<ServiceName>());
    service.map(Manifest::default_for).map_err(|error| {
        format!(
            "{name}: {error}; rename it, or name the service in its manifest (`[service] name`)"
        )
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn reasons(pair: Pair) -> Vec<String> {
        pair.manifest.expect_err("it is no service's")
    }

    #[test]
    fn what_is_wrong_is_said_of_the_file_as_it_is_called() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |name: &str, bytes: &[u8]| {
            let file = folder.path().join(name);
            std::fs::write(&file, bytes).expect("a file");
            Pair::read(&file, None).expect("a pair")
        };
        assert!(reasons(read("log1", b"garbage"))[0].starts_with("log1 is not WebAssembly"));
        // Where no text is, there is no line.
        let said = reasons(read("Bad_Name.bin", COMPONENT));
        assert!(said[0].starts_with("Bad_Name.bin: `Bad_Name` cannot name a service"), "{said:?}");
        assert!(said[0].contains("; rename it, or name the service"), "{said:?}");
        std::fs::write(folder.path().join("Bad_Name.toml"), "\nx = 1\n").expect("written");
        let said = reasons(read("Bad_Name.bin", COMPONENT));
        assert!(
            said.iter().any(|reason| reason.contains("Bad_Name.toml:2:1: unknown")),
            "{said:?}"
        );
        let elsewhere = ("cart", "oci://r.example/cart:1".to_owned());
        let pulled = Pair::from_elsewhere(elsewhere, b"garbage".to_vec(), None).expect("a pair");
        assert!(reasons(pulled)[0].starts_with("oci://r.example/cart:1 is not WebAssembly"));
    }

    #[test]
    fn an_upload_has_no_names_of_files() {
        let cart = "cart".parse().expect("a name");
        let said = |component: &[u8], manifest: Option<&str>| {
            let manifest = manifest.map(|text| Ok(text.as_bytes().to_vec()));
            manifest_of_upload(&cart, component, manifest).expect_err("reasons").remove(0)
        };
        assert!(said(b"", None).starts_with("what is uploaded is empty"));
        let wrong = said(COMPONENT, Some("\nx = 1\n"));
        assert!(wrong.starts_with("the uploaded manifest:2:1: unknown key"), "{wrong}");
    }
}
