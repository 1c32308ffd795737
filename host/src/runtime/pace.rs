//! Work that takes its time inside one call of a guest's: a step for each of many keys,
//! values or events. No tick comes in between, as there is no guest code; so it gives the
//! thread back by itself, as a guest that computes does. Its time is the guest's, it
//! ends at the guest's deadline, and it goes on in the slow lane where it is long.

use std::time::Instant;

use super::account::{Account, TooMuchHeld};
use super::engine::TICK;
use super::lane::note_yield;

/// What a step costs beside its bytes, in what copying bytes costs.
const STEP_BYTES: usize = 2 << 10;

/// After how much of it the clock is looked at: some ten microseconds.
const LOOK_BYTES: usize = 64 << 10;

/// How far a call's work came since it last gave the thread back.
pub(super) struct Pace {
    since: Instant,
    bytes: usize,
}

impl Pace {
    /// The work begins.
    pub(super) fn start() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }

    /// A step of so many bytes was done.
    ///
    /// # Errors
    /// When the host holds too much for the guest.
    pub(super) async fn step(
        &mut self,
        account: &Account,
        bytes: usize,
    ) -> Result<(), TooMuchHeld> {
        account.check()?;
        self.bytes += STEP_BYTES + bytes;
        if self.bytes < LOOK_BYTES {
            return Ok(());
        }
        self.bytes = 0;
        if self.since.elapsed() >= TICK {
            note_yield();
            tokio::task::yield_now().await;
            self.since = Instant::now();
        }
        Ok(())
    }
}
