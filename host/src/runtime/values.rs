//! Values on their way from one service to another: out of one store, through the host as
//! bytes, and into the other.
//!
//! The bytes follow the types of the function, which both sides have: nothing in them says what
//! they are. Numbers are little-endian; what has a length comes after it, as 32 bits; a case is
//! its index; a list of bytes is its bytes.

pub(super) mod flat;
mod reader;

use super::functions::{Shape, Signature};

/// The name of the case by which a variant or an enum of errors says that the callee could not
/// be reached, or gave no result.
const UNAVAILABLE: &str = "unavailable";

/// A value is not of its type, or bytes are not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    /// A guest cannot bring it about: its engine checks types.
    #[error("a value is not of the type that its function has")]
    Type,
    /// They were damaged where they were kept.
    #[error("the bytes of a value are damaged")]
    Bytes,
    /// A length is said in 32 bits.
    #[error("a value is longer than 4 GiB")]
    TooLong,
    /// A guest said that it is there.
    #[error("a value is beyond the end of its guest's memory")]
    Beyond,
    /// The same, and no value of this type is at such an address.
    #[error("a value is not aligned in its guest's memory")]
    Unaligned,
    /// A guest's variant has no case of this index.
    #[error("a value is a case that its type does not have")]
    Case,
    /// A guest's `char` is none.
    #[error("a value is no character of Unicode")]
    Char,
    /// A guest's string is none.
    #[error("a string is not UTF-8")]
    Text,
}

/// Whether a function's result, as it is written, is a `result<_, _>` that is `err`: that it
/// failed, in its own words.
pub(super) fn is_err(signature: &Signature, result: &[u8]) -> bool {
    matches!(signature.result, Some(Shape::Result(..))) && result.first() == Some(&1)
}

/// The result by which a function says that it could not be called, and why, where its type has
/// one: `result<_, string>`, or a `result` whose error is a variant or an enum with the case
/// `unavailable`, with a string or without.
pub(super) fn unavailable(signature: &Signature, words: &str) -> Option<Vec<u8>> {
    let Some(Shape::Result(_, Some(error))) = &signature.result else { return None };
    let mut bytes = vec![1];
    match &**error {
        Shape::String => write_text(&mut bytes, words)?,
        Shape::Enum(names) => {
            write_length(&mut bytes, names.iter().position(|name| name == UNAVAILABLE)?)?;
        }
        Shape::Variant(cases) => {
            let index = cases.iter().position(|(name, _)| name == UNAVAILABLE)?;
            write_length(&mut bytes, index)?;
            match &cases[index].1 {
                None => {}
                Some(Shape::String) => write_text(&mut bytes, words)?,
                Some(_) => return None,
            }
        }
        _ => return None,
    }
    Some(bytes)
}

fn write_text(bytes: &mut Vec<u8>, text: &str) -> Option<()> {
    write_length(bytes, text.len())?;
    bytes.extend_from_slice(text.as_bytes());
    Some(())
}

fn write_length(bytes: &mut Vec<u8>, length: usize) -> Option<()> {
    bytes.extend(u32::try_from(length).ok()?.to_le_bytes());
    Some(())
}

#[cfg(test)]
mod codec;
#[cfg(test)]
mod tests;
