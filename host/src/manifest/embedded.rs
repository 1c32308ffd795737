//! The manifest inside a component: its custom section `hotdock.manifest`.

use std::ops::Range;

use wasm_encoder::{CustomSection, Section as _};
use wasmparser::{Chunk, Parser, Payload};

use super::ManifestText;

/// The section's name (Core Specification, "Custom Section").
pub const SECTION: &str = "hotdock.manifest";

/// Why an embedded manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The bytes end within a section, or a section says what no section says.
    #[error("{file} is cut short or damaged: {error}")]
    Damaged {
        /// The component's file.
        file: String,
        /// Where and why.
        error: wasmparser::BinaryReaderError,
    },
    /// A nested module or component goes on beyond the end.
    #[error(
        "{file} is cut short: it ends within a nested module, {missing} bytes before that module's end"
    )]
    CutShort {
        /// The component's file.
        file: String,
        /// How many bytes are missing at least.
        missing: usize,
    },
    /// Two sections of that name.
    #[error("{0} has more than one custom section `{SECTION}`")]
    Repeated(String),
    /// Not UTF-8.
    #[error("{0}: the custom section `{SECTION}` is not UTF-8 text")]
    NotText(String),
}

/// The text of `wasm`'s custom section `hotdock.manifest`, if it has one.
/// Sections of nested modules and components don't count: what a component was
/// put together from doesn't say how it is deployed.
///
/// Reads every section's head on the way, so it also tells a file that was cut.
///
/// # Errors
/// When the file is cut short, or the section is there twice or is no text.
pub fn embedded(file: &str, wasm: &[u8]) -> Result<Option<ManifestText>, EmbeddedError> {
    let section = find(file, wasm)?;
    Ok(section.map(|section| ManifestText {
        file: format!("{file} ({SECTION})"),
        text: section.text.to_owned(),
    }))
}

/// `wasm` with `manifest` as its custom section `hotdock.manifest`, in place of the
/// one that it has. The section is the last; everything else stays byte for byte,
/// so the same component and manifest always give the same bytes.
///
/// # Errors
/// When the file is cut short, or has the section twice or as no text.
pub fn embed(file: &str, wasm: &[u8], manifest: &str) -> Result<Vec<u8>, EmbeddedError> {
    let replaced = find(file, wasm)?.map_or(wasm.len()..wasm.len(), |section| section.range);
    let mut packed = Vec::with_capacity(wasm.len() + manifest.len() + SECTION.len() + 16);
    packed.extend_from_slice(&wasm[..replaced.start]);
    packed.extend_from_slice(&wasm[replaced.end..]);
    let (name, data) = (SECTION.into(), manifest.as_bytes().into());
    CustomSection { name, data }.append_to(&mut packed);
    Ok(packed)
}

/// The section as it is in the file.
struct Found<'a> {
    /// With its head.
    range: Range<usize>,
    text: &'a str,
}

fn find<'a>(file: &str, wasm: &'a [u8]) -> Result<Option<Found<'a>>, EmbeddedError> {
    let damaged = |error| EmbeddedError::Damaged { file: file.to_owned(), error };
    let mut parser = Parser::new(0);
    let mut found = None;
    let mut offset = 0;
    loop {
        let chunk = parser.parse(&wasm[offset..], true).map_err(damaged)?;
        let Chunk::Parsed { consumed, payload } = chunk else {
            unreachable!("the parser was told that there is no more data");
        };
        let start = offset;
        offset += consumed;
        match payload {
            Payload::ModuleSection { unchecked_range, .. }
            | Payload::ComponentSection { unchecked_range, .. } => {
                let missing = unchecked_range.end.saturating_sub(wasm.len());
                if missing > 0 {
                    return Err(EmbeddedError::CutShort { file: file.to_owned(), missing });
                }
                // The parser already counts the nested module as read.
                offset = unchecked_range.end;
            }
            Payload::CustomSection(section) if section.name() == SECTION => {
                let text = std::str::from_utf8(section.data());
                let text = text.map_err(|_| EmbeddedError::NotText(file.to_owned()))?;
                if found.replace(Found { range: start..offset, text }).is_some() {
                    return Err(EmbeddedError::Repeated(file.to_owned()));
                }
            }
            Payload::End(_) => return Ok(found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"\0asm\x0d\0\x01\0";

    fn custom(name: &str, data: &[u8]) -> Vec<u8> {
        let length = 1 + name.len() + data.len();
        let head = [
            0,
            u8::try_from(length).expect("a short section"),
            u8::try_from(name.len()).expect("short"),
        ];
        [head.as_slice(), name.as_bytes(), data].concat()
    }

    fn nested_module(content: &[u8]) -> Vec<u8> {
        let module = [b"\0asm\x01\0\0\0".as_slice(), content].concat();
        [[1, u8::try_from(module.len()).expect("a short section")].as_slice(), &module].concat()
    }

    fn text_of(wasm: &[u8]) -> Option<String> {
        embedded("cart.wasm", wasm).expect("a whole component").map(|found| found.text)
    }

    #[test]
    fn the_section_is_found_at_the_top_only() {
        let section = custom(SECTION, b"[limits]");
        assert_eq!(text_of(HEAD), None);
        assert_eq!(
            text_of(&[HEAD, &custom("name", b"x"), &section].concat()).as_deref(),
            Some("[limits]")
        );
        let nested = nested_module(&section);
        assert_eq!(text_of(&[HEAD, &nested].concat()), None);
        assert_eq!(text_of(&[HEAD, &nested, &section].concat()).as_deref(), Some("[limits]"));
    }

    #[test]
    fn a_file_that_is_cut_or_ambiguous_is_refused() {
        let whole =
            [HEAD, &nested_module(&custom("name", b"content")), &custom(SECTION, b"[limits]")]
                .concat();
        let whole_sections =
            [HEAD.len(), HEAD.len() + nested_module(&custom("name", b"content")).len()];
        for length in HEAD.len()..whole.len() {
            let cut = embedded("cart.wasm", &whole[..length]);
            assert_eq!(cut.is_ok(), whole_sections.contains(&length), "cut at {length}");
        }
        let twice = [HEAD, &custom(SECTION, b""), &custom(SECTION, b"")].concat();
        assert!(matches!(embedded("cart.wasm", &twice), Err(EmbeddedError::Repeated(_))));
        let bytes = [HEAD, &custom(SECTION, b"\xff")].concat();
        assert!(matches!(embedded("cart.wasm", &bytes), Err(EmbeddedError::NotText(_))));
    }

    #[test]
    fn embedding_replaces_what_is_there_and_touches_nothing_else() {
        let nested = nested_module(&custom(SECTION, b"of the module"));
        let plain = [HEAD, &nested, &custom("name", b"x")].concat();
        let old = [HEAD, &custom(SECTION, b"[instances]"), &nested, &custom("name", b"x")].concat();
        let packed = embed("cart.wasm", &plain, "[limits]").expect("packed");
        assert_eq!(packed, [plain, custom(SECTION, b"[limits]")].concat());
        assert_eq!(embed("cart.wasm", &old, "[limits]").expect("packed"), packed);
        assert_eq!(embed("cart.wasm", &packed, "[limits]").expect("packed"), packed);
        assert_eq!(text_of(&packed).as_deref(), Some("[limits]"));
        assert!(embed("cart.wasm", &old[..old.len() - 1], "[limits]").is_err());
    }
}
