//! A component and its manifest: what the bytes of the two say before anything is
//! compiled, whether they are a component at all, and what the manifest is.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::config::LOOKED_AT_BYTES;
use super::opened::Opened;
use super::plugin_file::{Part, Stem};
use super::preamble::{self, NotAComponent};
use crate::component::MAX_COMPONENT_BYTES;
use crate::manifest::{
    EmbeddedError, MAX_TEXT_BYTES, Manifest, ManifestText, embedded, service_name,
};
use crate::name::ServiceName;
use crate::{escape, files};

/// A file's bytes, or how large it is where that is too much.
pub(super) type Content = Result<Vec<u8>, u64>;

/// A component from a file or a registry, with the manifest that counts for it.
#[derive(Debug)]
pub struct Pair {
    /// What the component is called where something is wrong with it: its file as it was given,
    /// or its reference.
    pub(super) name: String,
    /// Whether its bytes cannot be taken apart, as `manifest` says: nobody has to look further.
    pub(super) is_broken: bool,
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
        let stem = file.file_stem().map(|stem| escape::path(Path::new(stem)));
        Self::read_as(&stem.unwrap_or_default(), file, manifest)
    }

    /// The same, known as `stem`.
    ///
    /// # Errors
    /// As [`Pair::read`].
    pub fn read_as(stem: &str, file: &Path, manifest: Option<&Path>) -> Result<Self, String> {
        if file.extension().is_some_and(|extension| extension == "toml") {
            let (file, component) =
                (escape::path(file), escape::path(&file.with_extension("wasm")));
            return Err(format!("{file} is a manifest; name its component, {component}"));
        }
        let name = escape::path(file);
        let component = match read_component(file)? {
            Ok(component) => component,
            Err(error) => return Ok(Self::broken(name, error)),
        };
        let beside = match manifest {
            Some(path) => Some(read_manifest(path)?.ok_or_else(|| absent(path))?),
            None => read_manifest(&file.with_extension("toml"))?,
        };
        Self::of((stem, name), component, beside)
    }

    /// What is known by its first bytes to be no component; the rest of it was not read.
    fn broken(name: String, error: NotAComponent) -> Self {
        let manifest = Err(vec![format!("{name} {error}")]);
        Self { name, is_broken: true, component: Vec::new(), beside: None, manifest }
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
        let read = |path: &Path| read_manifest(path)?.ok_or_else(|| absent(path));
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
        let fault = fault(&name, &component);
        let is_broken = fault.is_some();
        let manifest = match &beside {
            Ok(beside) => count((stem, name.as_str()), &component, beside.clone()),
            Err(reason) => Err([reason.clone()].into_iter().chain(fault).collect()),
        };
        Ok(Self { name, is_broken, component, beside: beside.ok().flatten(), manifest })
    }
}

/// Why the bytes cannot be taken apart, if they can't.
fn fault(name: &str, component: &[u8]) -> Option<String> {
    if let Err(error) = preamble::check(component) {
        return Some(format!("{name} {error}"));
    }
    match embedded(name, component) {
        Err(error @ (EmbeddedError::Damaged { .. } | EmbeddedError::CutShort { .. })) => {
            Some(error.to_string())
        }
        _ => None,
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

/// The component that a file has, judged as one in the plugin folder is: a large one that is none
/// is known by its first bytes. A pipe, or what standard input is, is read as well: whoever names
/// one has something write to it.
fn read_component(path: &Path) -> Result<Result<Vec<u8>, NotAComponent>, String> {
    let piped = std::fs::metadata(path).is_ok_and(|found| {
        let kind = found.file_type();
        kind.is_fifo() || kind.is_char_device()
    });
    if piped {
        let content = File::open(path).and_then(|file| read_at_most(file, MAX_COMPONENT_BYTES));
        let content = content.map_err(|error| unreadable(path, &error))?;
        return content.map(Ok).map_err(|size| too_large(&escape::path(path), size));
    }
    let opened = Opened::open(path).map_err(|error| unreadable(path, &error))?;
    let opened = opened.ok_or_else(|| absent(path))?;
    let size = opened.signature.bytes;
    if size > LOOKED_AT_BYTES {
        let looked = opened.look().map_err(|error| unreadable(path, &error))?;
        if let Err(error) = looked {
            return Ok(Err(error));
        }
    }
    if size > MAX_COMPONENT_BYTES {
        return Err(too_large(&escape::path(path), size));
    }
    let read = opened.read(&CancellationToken::new());
    read.map(Ok).map_err(|error| unreadable(path, &error))
}

/// A manifest with what it is called, if there is one. What is no file is not taken for none.
fn read_manifest(path: &Path) -> Result<Option<(String, Content)>, String> {
    let file = files::open(path).map_err(|error| unreadable(path, &error))?;
    let content = file.map(|file| read_at_most(file, MAX_TEXT_BYTES as u64)).transpose();
    let content = content.map_err(|error| unreadable(path, &error))?;
    Ok(content.map(|content| (escape::path(path), content)))
}

/// A file's bytes, also where it says nothing of how many there are, as a pipe does.
fn read_at_most(file: File, most: u64) -> io::Result<Content> {
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

/// As it is said of a plugin file.
fn unreadable(path: &Path, error: &impl Display) -> String {
    format!("{} could not be read: {error}", escape::path(path))
}

fn absent(path: &Path) -> String {
    format!("there is no file {}", escape::path(path))
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
        let given = |name: &str| folder.path().join(name).display().to_string();
        let said = reasons(read("log1", b"garbage"));
        let expected = format!("{} is not WebAssembly", given("log1"));
        assert!(said[0].starts_with(&expected), "{said:?}");
        // Where no text is, there is no line.
        let said = reasons(read("Bad_Name.bin", COMPONENT));
        let expected = format!("{}: `Bad_Name` cannot name a service", given("Bad_Name.bin"));
        assert!(said[0].starts_with(&expected), "{said:?}");
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
    fn what_is_no_file_is_refused_as_in_the_folder_and_never_taken_for_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let pipe = |name: &str| {
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mkfifoat(rustix::fs::CWD, at(name), mode).expect("a pipe");
        };
        let refused = |name: &str, manifest: Option<&str>| {
            let manifest = manifest.map(at);
            Pair::read(&at(name), manifest.as_deref()).map(drop).expect_err(name)
        };
        let link = |name: &str| std::os::unix::fs::symlink("nowhere", at(name)).expect("a link");
        for name in ["linked.wasm", "piped.wasm", "plain.wasm"] {
            std::fs::write(at(name), COMPONENT).expect("a file");
        }
        link("linked.toml");
        link("link.wasm");
        pipe("piped.toml");
        std::fs::create_dir(at("folder.wasm")).expect("a folder");
        for (name, manifest, wrong, why) in [
            ("linked.wasm", None, "linked.toml", "a link that leads nowhere"),
            ("piped.wasm", None, "piped.toml", "a pipe, no file"),
            ("plain.wasm", Some("piped.toml"), "piped.toml", "a pipe, no file"),
            ("link.wasm", None, "link.wasm", "a link that leads nowhere"),
            ("folder.wasm", None, "folder.wasm", "a folder, no file"),
        ] {
            let expected = format!("{} could not be read: it is {why}", at(wrong).display());
            assert_eq!(refused(name, manifest), expected);
        }
        for (name, manifest, wrong) in
            [("none.wasm", None, "none.wasm"), ("plain.wasm", Some("none.toml"), "none.toml")]
        {
            let expected = format!("there is no file {}", at(wrong).display());
            assert_eq!(refused(name, manifest), expected);
        }
    }

    #[test]
    fn what_is_large_and_none_is_known_by_its_first_bytes() {
        let vast = tempfile::NamedTempFile::new().expect("a file");
        vast.as_file().set_len(MAX_COMPONENT_BYTES + 1).expect("longer");
        let pair = Pair::read(vast.path(), None).expect("a pair");
        assert!(pair.is_broken && pair.component.is_empty());
        let said = reasons(pair);
        assert!(said[0].contains(" is not WebAssembly: it does not begin with"), "{said:?}");
    }

    #[test]
    fn a_component_may_come_by_a_pipe() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("cart");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("a pipe");
        let writes = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::write(pipe, COMPONENT)
        });
        let pair = Pair::read(&pipe, None).expect("a pair");
        writes.join().expect("no panic").expect("written");
        assert_eq!((pair.component.as_slice(), pair.is_broken), (COMPONENT, false));
    }

    #[test]
    fn what_cannot_be_taken_apart_is_broken_and_said_once() {
        let file = tempfile::NamedTempFile::with_suffix(".wasm").expect("a file");
        std::fs::write(file.path(), [COMPONENT, &[1, 100, 0]].concat()).expect("written");
        let pair = Pair::read(file.path(), None).expect("a pair");
        assert!(pair.is_broken);
        assert_eq!(reasons(pair).len(), 1);
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
