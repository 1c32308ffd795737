//! A component's exports and imports, with all types that they name.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wit_parser::decoding::{DecodedWasm, decode_reader};
use wit_parser::{Resolve, WorldItem, WorldKey};

/// What a component exports and imports.
pub struct Interfaces {
    pub(super) resolve: Resolve,
    pub(super) exports: Items,
    pub(super) imports: Items,
}

/// Items by what semantic versioning takes for the same: `shop:stock/stock@1` for
/// every 1.x, `wasi:io/poll@0.2` for every 0.2.x, pre-releases each for itself.
pub(super) type Items = BTreeMap<String, Named>;

/// An export or import under its own name.
pub(super) struct Named {
    /// With its whole version: `shop:stock/stock@1.2.0`.
    pub(super) name: String,
    pub(super) item: WorldItem,
}

/// Why a component's interfaces cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NotReadable {
    /// It is damaged, or has what WIT has no words for.
    #[error("its interfaces cannot be read: {0}")]
    Unknown(String),
    /// It is a package of WIT, in a component's format.
    #[error("it is a WIT package, which has interfaces but no code")]
    WitPackage,
}

impl Interfaces {
    /// Reads a component. Nested code is skipped, not looked at.
    ///
    /// # Errors
    /// When it is no component, or one that WIT cannot describe.
    pub fn read(component: impl Read) -> Result<Self, NotReadable> {
        // The decoder is made for what tools write, and panics at some of what
        // none does; that must not end more than this comparison.
        let read = catch_unwind(AssertUnwindSafe(|| Self::decode(component)));
        read.unwrap_or_else(|_| Err(NotReadable::Unknown("WIT cannot express them".to_owned())))
    }

    fn decode(component: impl Read) -> Result<Self, NotReadable> {
        let decoded = decode_reader(component);
        let decoded = decoded.map_err(|error| NotReadable::Unknown(format!("{error:#}")))?;
        let DecodedWasm::Component(resolve, world) = decoded else {
            return Err(NotReadable::WitPackage);
        };
        let named = |(key, item): (&WorldKey, &WorldItem)| {
            let name = resolve.name_world_key(key);
            (resolve.name_canonicalized_world_key(key), Named { name, item: item.clone() })
        };
        let exports = resolve.worlds[world].exports.iter().map(named).collect();
        let imports = resolve.worlds[world].imports.iter().map(named).collect();
        Ok(Self { resolve, exports, imports })
    }

    /// The types that its items name.
    #[must_use]
    pub fn resolve(&self) -> &Resolve {
        &self.resolve
    }

    /// What it exports, by its name with its version.
    pub fn exported(&self) -> impl Iterator<Item = (&str, &WorldItem)> {
        self.exports.values().map(|named| (named.name.as_str(), &named.item))
    }

    /// The names of what it exports, with versions.
    #[must_use]
    pub fn exports(&self) -> Vec<String> {
        self.exports.values().map(|named| named.name.clone()).collect()
    }

    /// The names of what it imports, with versions.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        self.imports.values().map(|named| named.name.clone()).collect()
    }

    /// The names of imports that somebody has to provide: those that are or have
    /// functions. Types alone need nobody.
    #[must_use]
    pub fn needs(&self) -> Vec<String> {
        let needs = |named: &&Named| match &named.item {
            WorldItem::Interface { id, .. } => !self.resolve.interfaces[*id].functions.is_empty(),
            WorldItem::Function(_) => true,
            WorldItem::Type { .. } => false,
        };
        self.imports.values().filter(needs).map(|named| named.name.clone()).collect()
    }
}

impl fmt::Debug for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (exports, imports) = (self.exports(), self.imports());
        f.debug_struct("Interfaces").field("exports", &exports).field("imports", &imports).finish()
    }
}
