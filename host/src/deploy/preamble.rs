//! What a file is, by its first bytes: a clear word to whoever dropped
//! something that is no component.

/// `\0asm`, the first four bytes of every WebAssembly binary.
const MAGIC: &[u8] = b"\0asm";
/// Version 1, layer 0: a core module (Core Specification, "Binary Modules").
const MODULE: [u8; 4] = [1, 0, 0, 0];
/// Version 13, layer 1: a component (Component Model, "Binary Format").
const COMPONENT: [u8; 4] = [13, 0, 1, 0];

/// How many of the first bytes tell what it is.
pub(super) const BYTES: usize = 8;

/// The number of sections with a name and anything in them.
const CUSTOM_SECTION: u8 = 0;
/// The highest number of a section: values.
const LAST_SECTION: u8 = 12;
/// How many sections are looked at: real components have a few hundred.
const MAX_SECTIONS: usize = 10_000;

/// Why the bytes cannot be a component.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum NotAComponent {
    #[error("is empty")]
    Empty,
    #[error("is cut short: it has {0} bytes, and a component begins with 8")]
    Truncated(usize),
    #[error(
        "is a core module, not a component: build it for the target `wasm32-wasip2`, \
         or turn it into a component with `wasm-tools component new`"
    )]
    CoreModule,
    #[error("is WebAssembly text, not a binary: turn it into one with `wasm-tools parse`")]
    Text,
    #[error("is not WebAssembly: it does not begin with the bytes `\\0asm`")]
    NotWasm,
    #[error("is WebAssembly of version {version} and layer {layer}, which this host does not know")]
    UnknownVersion { version: u16, layer: u16 },
    #[error("is cut short: its section at byte {at} has {bytes} bytes, and {left} are there")]
    CutShort { at: u64, bytes: u64, left: u64 },
    #[error(
        "is broken: a section of the number {id} is at byte {at}, and components have none such"
    )]
    NoSection { at: u64, id: u8 },
    #[error("is broken: its section at byte {at} has no length")]
    NoLength { at: u64 },
    #[error("is broken: its section at byte {at} has no name")]
    NoName { at: u64 },
}

/// A component's sections one after the other, by their first bytes (Component Model, "Binary
/// Format"): what no component has shows without reading all of it.
#[derive(Debug)]
pub(super) struct Sections {
    at: u64,
    bytes: u64,
    looked_at: usize,
}

impl Sections {
    /// How much of a section tells where the next one is: its number and its length.
    pub(super) const HEAD: usize = 6;

    /// Of a file that begins as a component does and has so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self { at: 8, bytes, looked_at: 0 }
    }

    /// Where the next one is; none at the end, or where the rest is left to the compiler.
    pub(super) fn next(&self) -> Option<u64> {
        (self.at < self.bytes && self.looked_at < MAX_SECTIONS).then_some(self.at)
    }

    /// The next one begins with these bytes.
    pub(super) fn is(&mut self, head: &[u8]) -> Result<(), NotAComponent> {
        let at = self.at;
        let id = *head.first().ok_or(NotAComponent::NoLength { at })?;
        if id > LAST_SECTION {
            return Err(NotAComponent::NoSection { at, id });
        }
        let (mut bytes, mut digits) = (0, 0);
        for digit in &head[1..] {
            bytes |= u64::from(digit & 0x7f) << (7 * digits);
            digits += 1;
            if digit & 0x80 == 0 {
                break;
            }
        }
        let is_whole = digits > 0 && head[digits] & 0x80 == 0 && bytes <= u64::from(u32::MAX);
        if !is_whole {
            return Err(NotAComponent::NoLength { at });
        }
        if id == CUSTOM_SECTION && bytes == 0 {
            return Err(NotAComponent::NoName { at });
        }
        let left = (self.bytes - at).saturating_sub(1 + digits as u64);
        if bytes > left {
            return Err(NotAComponent::CutShort { at, bytes, left });
        }
        self.at += 1 + digits as u64 + bytes;
        self.looked_at += 1;
        Ok(())
    }
}

/// Looks at the first bytes.
pub(super) fn check(bytes: &[u8]) -> Result<(), NotAComponent> {
    if bytes.is_empty() {
        return Err(NotAComponent::Empty);
    }
    let start = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(start) {
        let text = bytes.trim_ascii_start();
        let is_text =
            [b"(module".as_slice(), b"(component", b";;"].iter().any(|head| text.starts_with(head));
        return Err(if is_text { NotAComponent::Text } else { NotAComponent::NotWasm });
    }
    match bytes.get(MAGIC.len()..MAGIC.len() + 4) {
        None => Err(NotAComponent::Truncated(bytes.len())),
        Some(version) if version == COMPONENT => Ok(()),
        Some(version) if version == MODULE => Err(NotAComponent::CoreModule),
        Some(other) => Err(NotAComponent::UnknownVersion {
            version: u16::from_le_bytes([other[0], other[1]]),
            layer: u16::from_le_bytes([other[2], other[3]]),
        }),
    }
}

/// Why what begins so will be no component, whatever follows.
pub(super) fn never(head: &[u8]) -> Option<NotAComponent> {
    match check(head) {
        Ok(()) | Err(NotAComponent::Empty | NotAComponent::Truncated(_)) => None,
        // Text may begin with spaces.
        Err(NotAComponent::NotWasm) if head.len() < BYTES => None,
        Err(error) => Some(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_file_gets_its_own_sentence() {
        assert_eq!(check(b"\0asm\x0d\0\x01\0"), Ok(()));
        assert_eq!(check(b""), Err(NotAComponent::Empty));
        assert_eq!(check(b"\0as"), Err(NotAComponent::Truncated(3)));
        assert_eq!(check(b"\0asm\x0d\0"), Err(NotAComponent::Truncated(6)));
        assert_eq!(check(b"\0asm\x01\0\0\0rest"), Err(NotAComponent::CoreModule));
        assert_eq!(check(b"#!/bin/sh"), Err(NotAComponent::NotWasm));
        assert_eq!(check(b"\n(component)"), Err(NotAComponent::Text));
        assert_eq!(never(b"\0as"), None);
        assert_eq!(never(b"#!/bin/sh"), Some(NotAComponent::NotWasm));
        let unknown = NotAComponent::UnknownVersion { version: 10, layer: 1 };
        assert_eq!(check(b"\0asm\x0a\0\x01\0"), Err(unknown));
    }
}
