//! The parts that a component is made of, and how large they are.

use std::collections::BTreeMap;

use serde::Serialize;
use wasmparser::{BinaryReaderError, Parser, Payload};

/// The sizes of a component's parts, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// The whole file.
    pub bytes: usize,
    /// Each core module, in their order, nested ones included.
    pub modules: Vec<usize>,
    /// Custom sections by their name, wherever they are.
    pub custom_sections: BTreeMap<String, CustomSections>,
}

/// All custom sections of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CustomSections {
    /// How many.
    pub sections: usize,
    /// Their content together.
    pub bytes: usize,
}

/// The component is damaged.
#[derive(Debug, thiserror::Error)]
#[error("it is damaged: {0}")]
pub struct SizesError(#[from] BinaryReaderError);

impl Sizes {
    /// Takes a component apart.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn of(component: &[u8]) -> Result<Self, SizesError> {
        let mut sizes = Self { bytes: component.len(), ..Self::default() };
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::ModuleSection { unchecked_range, .. } => {
                    sizes.modules.push(unchecked_range.len());
                }
                Payload::CustomSection(section) => {
                    let name = section.name().to_owned();
                    let sections = sizes.custom_sections.entry(name).or_default();
                    sections.sections += 1;
                    sections.bytes += section.data().len();
                }
                _ => {}
            }
        }
        Ok(sizes)
    }
}
