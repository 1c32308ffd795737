//! Values as bytes, read from their beginning to their end.

use super::Invalid;

/// What is left to be read.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Invalid> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Invalid::Bytes),
        }
    }

    /// A length, or the index of a case.
    pub(super) fn length(&mut self) -> Result<usize, Invalid> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Invalid> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Invalid::Bytes)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Invalid> {
        let (first, rest) = self.0.split_at_checked(length).ok_or(Invalid::Bytes)?;
        self.0 = rest;
        Ok(first)
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Invalid> {
        if self.0.is_empty() { Ok(()) } else { Err(Invalid::Bytes) }
    }
}
