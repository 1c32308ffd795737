//! What a file is, by its first bytes: a clear word to whoever dropped
//! something that is no component.

/// `\0asm`, the first four bytes of every WebAssembly binary.
const MAGIC: &[u8] = b"\0asm";
/// Version 1, layer 0: a core module (Core Specification, "Binary Modules").
const MODULE: [u8; 4] = [1, 0, 0, 0];
/// Version 13, layer 1: a component (Component Model, "Binary Format").
const COMPONENT: [u8; 4] = [13, 0, 1, 0];

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
        let unknown = NotAComponent::UnknownVersion { version: 10, layer: 1 };
        assert_eq!(check(b"\0asm\x0a\0\x01\0"), Err(unknown));
    }
}
