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
}

impl Origin {
    /// The plugin file, if it is one.
    pub(super) fn file(&self) -> Option<&Stem> {
        match self {
            Self::File(file) => Some(file),
            Self::Upload => None,
        }
    }

    /// The plugin file's name, if it is one.
    pub(super) fn file_name(&self) -> Option<String> {
        self.file().map(|file| file.file(Part::Component))
    }
}

/// `cart.wasm`, or `an upload`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file_name() {
            Some(name) => f.write_str(&name),
            None => f.write_str("an upload"),
        }
    }
}
