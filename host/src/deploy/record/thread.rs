//! `host.db` for everybody but the thread that has it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{RecordError, RecordFile};
use crate::keeper::{Keeper, Unanswered};
use crate::room::Room;

/// The host's own record. Its file is with a thread of its own.
#[derive(Debug)]
pub(in crate::deploy) struct Record {
    keeper: Keeper<RecordFile>,
    /// It was waited for in vain.
    is_behind: AtomicBool,
    /// The room on its disk.
    room: Room,
}

impl Record {
    /// Gives the file its thread.
    pub(in crate::deploy) fn start(
        file: RecordFile,
        patience: Duration,
        room: Room,
    ) -> io::Result<Self> {
        let keeper = Keeper::start("host.db", file, patience)?;
        Ok(Self { keeper, is_behind: AtomicBool::new(false), room })
    }

    /// Reads what is wanted.
    ///
    /// # Errors
    /// As `read` has them, and when it takes too long.
    pub(in crate::deploy) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&RecordFile) -> Result<T, RecordError> + Send + 'static,
    ) -> Result<T, RecordError> {
        self.answered(self.keeper.read(read).await)
    }

    /// Makes a change. It is begun in time or not at all; that one which was begun comes to its
    /// end is waited for however long it takes: who cannot has it carried through (`carried`).
    ///
    /// # Errors
    /// As `change` has them, and when it was not begun in time.
    pub(in crate::deploy) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&RecordFile) -> Result<T, RecordError> + Send + 'static,
    ) -> Result<T, RecordError> {
        self.answered(self.keeper.change(change).await)
    }

    /// Whether it was waited for in vain since this was asked last.
    pub(in crate::deploy) fn was_behind(&self) -> bool {
        self.is_behind.swap(false, Ordering::Relaxed)
    }

    /// Closes the file when all that was asked for is done. Nothing more is.
    pub(in crate::deploy) async fn close(&self) {
        self.keeper.close().await;
    }

    /// Whether the file is open.
    pub(in crate::deploy) fn is_open(&self) -> bool {
        self.keeper.is_open()
    }

    fn answered<T>(
        &self,
        answer: Result<Result<T, RecordError>, Unanswered>,
    ) -> Result<T, RecordError> {
        let answer = answer.unwrap_or_else(|unanswered| match unanswered {
            Unanswered::Late(_) | Unanswered::Full => {
                Err(RecordError::Busy(unanswered.to_string()))
            }
            Unanswered::Gone => Err(RecordError::Gone),
        });
        if matches!(answer, Err(RecordError::Busy(_))) {
            self.is_behind.store(true, Ordering::Relaxed);
        }
        // Which says so itself, once until there is room again.
        if matches!(answer, Err(RecordError::NoRoom)) && !self.room.is_full() {
            tracing::warn!("the disk has no room left for host.db");
        }
        answer
    }
}
