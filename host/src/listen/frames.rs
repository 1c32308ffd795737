//! Which HTTP/2 frames come (RFC 9113 §4.1): whether a head is open, and whether there are too
//! many that bring nothing. The library that reads them bounds what a frame makes it keep, but
//! not how often it is asked to answer, to change its settings or to give up what it has begun.

use super::clock::{Ms, now};

/// What HTTP/2 begins with (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long frames are counted together.
const WINDOW_MS: Ms = 10_000;

/// What one that brings nothing counts, and one that brings next to nothing.
const NOTHING: u64 = 4;
const LITTLE: u64 = 1;

/// Data of fewer bytes that aren't the last brings next to nothing.
const LITTLE_BYTES: u32 = 128;

/// For so many bytes that are sent to it a peer may send one more: it says that it took them.
const BYTES_A_FRAME: u64 = 1 << 10;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Follows a connection's frames.
#[derive(Debug)]
pub(super) struct Frames {
    place: Place,
    header: [u8; 9],
    in_block: bool,
    /// Whether the peer has sent its settings, as it has to before all else.
    has_begun: bool,
    last_stream: u32,
    /// What those of this window count.
    count: u64,
    max_count: u64,
    window: Ms,
    /// What was sent to the peer when the window began.
    sent_before: u64,
}

/// Where the next byte is.
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

/// There were too many frames that bring nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flood;

impl Frames {
    /// After so many bytes of the preface.
    pub(super) fn new(of_preface: usize, max_control_frames: u32) -> Self {
        Self {
            place: Place::Preface(of_preface),
            header: [0; 9],
            in_block: false,
            has_begun: false,
            last_stream: 0,
            count: 0,
            max_count: u64::from(max_control_frames) * NOTHING,
            window: now(),
            sent_before: 0,
        }
    }

    /// The last stream that the peer began.
    pub(super) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// Whether it has begun what is of no use until it is complete.
    pub(super) fn is_head_open(&self) -> bool {
        let in_data = self.header[3] == DATA && matches!(self.place, Place::Payload { .. });
        let between = self.place == Place::Header(0);
        !self.has_begun || self.in_block || !(between || in_data)
    }

    /// Follows what came; `sent` is how many bytes the peer was sent until now.
    pub(super) fn follow(&mut self, mut bytes: &[u8], sent: u64) -> Result<(), Flood> {
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
                        self.begin(sent)?;
                    }
                }
                Place::Payload { left, padded: true } => {
                    bytes = &bytes[1..];
                    let length = left - 1;
                    self.brings(length.saturating_sub(first.into()), sent)?;
                    self.go_on(length);
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
    fn begin(&mut self, sent: u64) -> Result<(), Flood> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        let padded = kind == DATA && flags & PADDED != 0 && length > 0;
        match kind {
            DATA if padded => {}
            DATA => self.brings(length, sent)?,
            HEADERS => {
                let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
                self.last_stream = self.last_stream.max(stream);
                self.in_block = flags & END_HEADERS == 0;
            }
            CONTINUATION => {
                self.in_block = flags & END_HEADERS == 0;
                self.counts(NOTHING, sent)?;
            }
            _ => self.counts(NOTHING, sent)?,
        }
        if padded {
            self.place = Place::Payload { left: length, padded };
        } else {
            self.go_on(length);
        }
        Ok(())
    }

    /// So many bytes of a frame are to come.
    fn go_on(&mut self, left: u32) {
        self.has_begun |= left == 0;
        self.place =
            if left == 0 { Place::Header(0) } else { Place::Payload { left, padded: false } };
    }

    /// A frame brings so many bytes of a body.
    fn brings(&mut self, bytes: u32, sent: u64) -> Result<(), Flood> {
        if self.header[4] & END_STREAM != 0 || bytes >= LITTLE_BYTES {
            return Ok(());
        }
        self.counts(if bytes == 0 { NOTHING } else { LITTLE }, sent)
    }

    fn counts(&mut self, count: u64, sent: u64) -> Result<(), Flood> {
        self.count += count;
        // The clock is asked only where it matters.
        let earned = (sent - self.sent_before) / BYTES_A_FRAME * NOTHING;
        if self.count <= self.max_count.saturating_add(earned) {
            return Ok(());
        }
        let now = now();
        if now.saturating_sub(self.window) < WINDOW_MS {
            return Err(Flood);
        }
        (self.window, self.sent_before, self.count) = (now, sent, count);
        Ok(())
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
