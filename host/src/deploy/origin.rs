//! Where a version comes from, and who may deploy its service next.

use std::fmt;

use super::plugin_file::{Part, Stem};

/// Where a version comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A pair of plugin files.
    File(Stem),
    /// An upload to the admin listener.
    Upload,
    /// An upload of what its sender had from a registry: `oci://…@sha256:…`.
    Oci(String),
}

impl Origin {
    /// The plugin file, if it is one.
    pub(super) fn file(&self) -> Option<&Stem> {
        match self {
            Self::File(file) => Some(file),
            Self::Upload | Self::Oci(_) => None,
        }
    }

    /// The reference in a registry, if it was had from one.
    pub(super) fn reference(&self) -> Option<&str> {
        match self {
            Self::Oci(reference) => Some(reference),
            Self::File(_) | Self::Upload => None,
        }
    }

    /// The plugin file's name, if it is one.
    pub(super) fn file_name(&self) -> Option<String> {
        self.file().map(|file| file.file(Part::Component))
    }
}

/// `cart.wasm`, `an upload` or `oci://…`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.write_str(&file.file(Part::Component)),
            Self::Upload => f.write_str("an upload"),
            Self::Oci(reference) => f.write_str(reference),
        }
    }
}
