//! The write-ahead log is kept short: readers that overlap keep SQLite from beginning it anew,
//! and it would grow until the disk is full.

use std::time::{Duration, Instant};

use super::Writer;
use crate::state::error::Error;
use crate::state::log::Log;

/// How long after a long log could not be cut it is not tried again: all of it is looked at.
const CUT_PAUSE: Duration = Duration::from_millis(10);

impl Writer {
    pub(super) fn carry_log_over(&mut self) {
        let carried = self.checkpoints.run_if_due(&self.connection);
        let carried = carried.and_then(|()| self.cut_long_log());
        self.tell_carried(carried);
    }

    /// Has a long log begun anew at a moment at which nobody of this host reads. Readers that
    /// are shut out wait for that alone: where it is not to be, they go on.
    pub(in crate::state) fn begin_log_anew(&mut self) {
        let now = Instant::now();
        if self.core.log.is_shut(now) {
            self.cuts_again = None;
        }
        let cut = self.cut_long_log();
        self.tell_carried(cut);
        if self.core.log.is_shut(now) {
            self.core.log.note_held(now);
        }
    }

    fn tell_carried(&self, carried: rusqlite::Result<()>) {
        let Err(error) = carried else { return };
        let error = self.failed(&error);
        let service = &self.core.service;
        match error {
            // Said once for all that fails for it.
            Error::Full if self.core.options.room.is_full() => {
                tracing::debug!(service, %error, "the write-ahead log is carried over later");
            }
            error => {
                tracing::warn!(service, %error, "the write-ahead log is carried over later");
            }
        }
    }

    /// Has a long log begun anew, where nobody reads; else those who would read wait.
    fn cut_long_log(&mut self) -> rusqlite::Result<()> {
        let max = self.core.options.max_log_bytes;
        if !Log::is_long_with(self.checkpoints.pages(), max) {
            self.log_is_short();
            return Ok(());
        }
        let now = Instant::now();
        if self.cuts_again.is_some_and(|again| now < again) {
            return Ok(());
        }
        if self.checkpoints.cut(&self.connection)? {
            self.cuts_again = None;
            self.log_is_short();
        } else {
            self.cuts_again = Some(now + CUT_PAUSE);
            self.core.log.note_long(now, self.checkpoints.pages(), max);
        }
        Ok(())
    }

    /// Refuses to begin where the log has as much as it may: readers hold it.
    pub(super) fn check_log(&mut self) -> Result<(), Error> {
        let max = self.core.options.max_log_bytes;
        if !Log::is_above(self.checkpoints.pages(), max) {
            return Ok(());
        }
        self.cut_long_log().map_err(|error| self.failed(&error))?;
        if Log::is_above(self.checkpoints.pages(), max) {
            let error = Error::LogFull(max);
            if self.core.log.note_full() {
                let service = &self.core.service;
                tracing::warn!(service, "what the service writes is refused: {error}");
            }
            return Err(error);
        }
        Ok(())
    }

    fn log_is_short(&self) {
        if self.core.log.note_short() {
            let service = &self.core.service;
            tracing::info!(service, "what the service writes is taken again: its log is short");
        }
    }
}
