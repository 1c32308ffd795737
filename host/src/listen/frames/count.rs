//! How many frames came that bring nothing, of those that may.

use super::super::clock::{Ms, now};

/// How long frames are counted together.
const WINDOW_MS: Ms = 10_000;

/// What one that brings nothing counts, and one that brings next to nothing.
pub(crate) const NOTHING: u64 = 4;
pub(super) const LITTLE: u64 = 1;

/// For so many bytes that are sent to it a peer may send one more: it says that it took them.
pub(crate) const BYTES_A_FRAME: u64 = 1 << 10;

/// There were too many frames that bring nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flood;

/// What the frames of a while count.
#[derive(Debug)]
pub(crate) struct Count {
    /// What those of this window count.
    pub(super) count: u64,
    max: u64,
    window: Ms,
    /// What was sent to the peer when the window began.
    sent_before: u64,
}

impl Count {
    pub(crate) fn new(max_control_frames: u32) -> Self {
        let max = u64::from(max_control_frames) * NOTHING;
        Self { count: 0, max, window: now(), sent_before: 0 }
    }

    /// Counts a frame; `sent` is how many bytes the peer was sent until now.
    pub(crate) fn counts(&mut self, count: u64, sent: u64) -> Result<(), Flood> {
        self.count += count;
        // The clock is asked only where it matters.
        let earned = (sent - self.sent_before) / BYTES_A_FRAME * NOTHING;
        if self.count <= self.max.saturating_add(earned) {
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
