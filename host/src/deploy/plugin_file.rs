//! Plugin files: `cart.wasm` and `cart.toml`, a pair by their stem.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::manifest::service_name;
use crate::name::ServiceName;

/// What a pair of plugin files has in common: `cart`. Any text, not yet a
/// service's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Stem(Arc<str>);

/// Which file of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Component,
    Manifest,
}

/// What tells that a pair of files changed without reading them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PairSignature {
    pub(super) component: Option<Signature>,
    pub(super) manifest: Option<Signature>,
}

/// What tells that a file changed. Symbolic links are followed, so a link that
/// is pointed elsewhere counts as a change; one that leads nowhere counts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    device: u64,
    inode: u64,
    pub(super) bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stem {
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The service that is called so where no manifest names one.
    pub(super) fn service(&self) -> Option<ServiceName> {
        service_name(self.as_str()).ok()
    }

    /// The file's name, `cart.wasm`.
    pub(super) fn file(&self, part: Part) -> String {
        match part {
            Part::Component => format!("{self}.wasm"),
            Part::Manifest => format!("{self}.toml"),
        }
    }

    pub(super) fn path(&self, folder: &Path, part: Part) -> PathBuf {
        folder.join(self.file(part))
    }

    /// The pair's signature as of now.
    ///
    /// # Errors
    /// When a file is there but cannot be looked at.
    pub(super) fn signature(&self, folder: &Path) -> io::Result<PairSignature> {
        Ok(PairSignature {
            component: Signature::of(&self.path(folder, Part::Component))?,
            manifest: Signature::of(&self.path(folder, Part::Manifest))?,
        })
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PairSignature {
    /// Whether a file of the pair was changed less than `age` ago.
    pub(super) fn is_younger_than(&self, age: Duration) -> bool {
        let young = |signature: Signature| {
            let (seconds, nanoseconds) = signature.modified;
            let since_epoch = Duration::new(
                u64::try_from(seconds).unwrap_or_default(),
                u32::try_from(nanoseconds).unwrap_or_default(),
            );
            // A time in the future says nothing about how old the file is.
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH + since_epoch)
                .is_ok_and(|elapsed| elapsed < age)
        };
        self.component.is_some_and(young) || self.manifest.is_some_and(young)
    }
}

impl Signature {
    /// The signature of what is at `path`, also where it is no regular file.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        let found = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::symlink_metadata(path)
            }
            found => found,
        };
        match found {
            Ok(metadata) => Ok(Some(Self::from(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl From<&std::fs::Metadata> for Signature {
    fn from(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The stem and part that a file's name says, or `None` for a file that is none
/// of ours: hidden, an editor's, of another kind.
pub(super) fn named(path: &Path) -> Option<(Stem, Part)> {
    let name = path.file_name()?.to_str()?;
    let (stem, part) = match name.rsplit_once('.')? {
        (stem, "wasm") => (stem, Part::Component),
        (stem, "toml") => (stem, Part::Manifest),
        _ => return None,
    };
    let ours = !stem.is_empty() && !stem.starts_with(['.', '#', '~']);
    ours.then(|| (Stem::new(stem), part))
}

/// The components in the folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) stems: BTreeSet<Stem>,
    /// Those whose names are no UTF-8, which no service can have.
    pub(super) unnamed: BTreeSet<PathBuf>,
}

/// Finds the components in the folder.
///
/// # Errors
/// When the folder cannot be read.
pub(super) fn scan(folder: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some((stem, Part::Component)) = named(&path) {
            found.stems.insert(stem);
        } else if path.to_str().is_none() && path.extension().is_some_and(|it| it == "wasm") {
            found.unnamed.insert(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn only_components_and_manifests_are_ours() {
        let named =
            |name: &str| named(Path::new(name)).map(|(stem, part)| (stem.to_string(), part));
        assert_eq!(named("/p/cart.wasm"), Some(("cart".to_owned(), Part::Component)));
        assert_eq!(named("/p/cart.v2.toml"), Some(("cart.v2".to_owned(), Part::Manifest)));
        for other in [
            ".cart.wasm",
            ".wasm",
            "cart.wasm~",
            "cart.wasm.swp",
            "#cart.wasm",
            "cart",
            "4913",
            "cart.wat",
            "..data",
        ] {
            assert_eq!(named(other), None, "{other}");
        }
    }

    #[test]
    fn a_pair_has_another_signature_after_a_change_behind_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let stem = Stem::new("cart");
        assert_eq!(stem.signature(folder.path()).expect("a signature"), PairSignature::default());
        for (name, content) in [("one", "1"), ("two", "2")] {
            std::fs::write(folder.path().join(name), content).expect("a file");
        }
        let link = stem.path(folder.path(), Part::Component);
        std::os::unix::fs::symlink("one", &link).expect("a link");
        let before = stem.signature(folder.path()).expect("a signature");
        assert!(before.component.is_some() && before.is_younger_than(Duration::from_secs(3600)));
        std::fs::remove_file(&link).expect("removed");
        std::os::unix::fs::symlink("two", &link).expect("a link");
        assert_ne!(stem.signature(folder.path()).expect("a signature"), before);
        let unnamed = folder.path().join(OsStr::from_bytes(b"caf\xe9.wasm"));
        std::fs::write(&unnamed, "").expect("a file");
        std::fs::write(folder.path().join(OsStr::from_bytes(b"caf\xe9.toml")), "").expect("a file");
        let found = scan(folder.path()).expect("a scan");
        assert_eq!(
            (found.stems, found.unnamed),
            (BTreeSet::from([stem]), BTreeSet::from([unnamed]))
        );
    }
}
