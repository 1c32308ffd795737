//! Which HTTP/2 frames come (RFC 9113 §4.1): whether a head is open, and whether there are too
//! many that bring nothing. The library that reads them bounds what a frame makes it keep, but
//! not how often it is asked to answer, to change its settings or to give up what it has begun.
//!
//! `walk` finds the frames and `count` counts them, for the outgoing side as well.

mod count;
mod walk;

use self::count::LITTLE;
pub(crate) use self::count::{BYTES_A_FRAME, Count, Flood, NOTHING};
pub(crate) use self::walk::{Frame, Walk};

/// What HTTP/2 begins with (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Data of fewer bytes that aren't the last brings next to nothing.
const LITTLE_BYTES: u32 = 128;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Follows a connection's frames.
#[derive(Debug)]
pub(super) struct Frames {
    walk: Walk,
    in_block: bool,
    last_stream: u32,
    count: Count,
}

impl Frames {
    /// After so many bytes of the preface.
    pub(super) fn new(of_preface: usize, max_control_frames: u32) -> Self {
        Self {
            walk: Walk::new(of_preface),
            in_block: false,
            last_stream: 0,
            count: Count::new(max_control_frames),
        }
    }

    /// The last stream that the peer began.
    pub(super) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// Whether it has begun what is of no use until it is complete. It has to send its settings
    /// before all else.
    pub(super) fn is_head_open(&self) -> bool {
        !self.walk.has_begun() || self.in_block || !self.walk.is_between_or_in_data()
    }

    /// Follows what came; `sent` is how many bytes the peer was sent until now.
    pub(super) fn follow(&mut self, bytes: &[u8], sent: u64) -> Result<(), Flood> {
        let Self { walk, in_block, last_stream, count } = self;
        walk.follow(bytes, |frame| {
            match frame.kind {
                DATA if frame.flags & END_STREAM != 0 || frame.brings >= LITTLE_BYTES => {}
                DATA => count.counts(if frame.brings == 0 { NOTHING } else { LITTLE }, sent)?,
                HEADERS => {
                    *last_stream = frame.stream.max(*last_stream);
                    *in_block = frame.flags & END_HEADERS == 0;
                }
                CONTINUATION => {
                    *in_block = frame.flags & END_HEADERS == 0;
                    count.counts(NOTHING, sent)?;
                }
                _ => count.counts(NOTHING, sent)?,
            }
            Ok(())
        })
    }
}

/// `GOAWAY` (RFC 9113 §6.8) with this code, for a peer whose last stream is this.
pub(super) fn goaway(last_stream: u32, code: u32) -> [u8; 17] {
    let mut frame = [0; 17];
    (frame[2], frame[3]) = (8, 7);
    frame[9..13].copy_from_slice(&last_stream.to_be_bytes());
    frame[13..].copy_from_slice(&code.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests;
