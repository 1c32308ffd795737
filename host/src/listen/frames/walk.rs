//! Frame by frame through the bytes of an HTTP/2 connection (RFC 9113 §4.1), in one direction.

use super::{DATA, PADDED, PREFACE};

/// Where in a connection's bytes the next one is.
#[derive(Debug)]
pub(crate) struct Walk {
    place: Place,
    header: [u8; 9],
    /// Whether a frame has ended.
    has_begun: bool,
}

/// A frame that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) length: u32,
    /// Its length without what is only padding, where it is data.
    pub(crate) brings: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Preface(usize),
    /// In a frame's header, after so many of its bytes.
    Header(usize),
    /// In a frame, with so many bytes to come. `padded`: the next says how many are padding.
    Payload {
        left: u32,
        padded: bool,
    },
}

impl Walk {
    /// After so many bytes of the preface.
    pub(crate) fn new(of_preface: usize) -> Self {
        Self { place: Place::Preface(of_preface), header: [0; 9], has_begun: false }
    }

    /// Whether a frame has ended already.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the next byte is a frame's first, or of data.
    pub(super) fn is_between_or_in_data(&self) -> bool {
        let in_data = self.header[3] == DATA && matches!(self.place, Place::Payload { .. });
        in_data || self.place == Place::Header(0)
    }

    /// Goes through what came; each frame is shown as soon as it is known what it brings.
    pub(crate) fn follow<E>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(&first) = bytes.first() {
            match self.place {
                Place::Preface(at) => {
                    let taken = bytes.len().min(PREFACE.len() - at);
                    bytes = &bytes[taken..];
                    let at = at + taken;
                    self.place =
                        if at == PREFACE.len() { Place::Header(0) } else { Place::Preface(at) };
                }
                Place::Header(at) => {
                    let taken = bytes.len().min(self.header.len() - at);
                    self.header[at..at + taken].copy_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    self.place = Place::Header(at + taken);
                    if at + taken == self.header.len() {
                        self.begin(&mut each)?;
                    }
                }
                Place::Payload { left, padded: true } => {
                    bytes = &bytes[1..];
                    let frame = self.frame();
                    self.go_on(left - 1);
                    each(Frame { brings: (left - 1).saturating_sub(first.into()), ..frame })?;
                }
                Place::Payload { left, padded: false } => {
                    let taken = bytes.len().min(left as usize);
                    bytes = &bytes[taken..];
                    self.go_on(left - u32::try_from(taken).unwrap_or(left));
                }
            }
        }
        Ok(())
    }

    /// A frame's header is complete.
    fn begin<E>(&mut self, each: &mut impl FnMut(Frame) -> Result<(), E>) -> Result<(), E> {
        let frame = self.frame();
        if frame.kind == DATA && frame.flags & PADDED != 0 && frame.length > 0 {
            self.place = Place::Payload { left: frame.length, padded: true };
            return Ok(());
        }
        self.go_on(frame.length);
        each(frame)
    }

    /// The one whose header was read last.
    fn frame(&self) -> Frame {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        Frame { kind, flags, stream, length, brings: length }
    }

    /// So many bytes of a frame are to come.
    fn go_on(&mut self, left: u32) {
        self.has_begun |= left == 0;
        self.place =
            if left == 0 { Place::Header(0) } else { Place::Payload { left, padded: false } };
    }
}
