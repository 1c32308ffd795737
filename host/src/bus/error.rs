//! What can go wrong with the bus.

use rusqlite::ErrorCode;

/// Why nothing was appended or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// There is no room; nothing is lost, and there is room again once events
    /// are trimmed or the disk has some.
    #[error("the bus is full: {0}")]
    Full(String),
    /// The same, where it is the disk that has none.
    #[error("the disk has no room left for bus.db")]
    DiskFull,
    /// The publisher has as much of the log as one may; the same as full, for it alone.
    #[error("{0}")]
    ShareFull(String),
    /// The file itself failed: nothing more is acknowledged, and the host has to
    /// end.
    #[error("{0}")]
    Failed(String),
    /// An outbox has given out this sequence, or a higher one, before: what it gives out now
    /// would be taken for what is here. Nothing was appended.
    #[error("sequence {sequence} of the outbox is not above {last}, the last that is here")]
    NotAbove {
        /// What was to be appended.
        sequence: u64,
        /// The last that is here of this outbox.
        last: u64,
    },
    /// It did not work this time, and the file is as it was.
    #[error("{0}")]
    Unavailable(String),
}

impl BusError {
    /// Says that something did not go through, unless it is for a full disk: that was said once,
    /// when it was found to be so, and is not said of each thing that fails for it.
    pub(crate) fn warn(&self, what: &str) {
        match self {
            Self::DiskFull => tracing::debug!(error = %self, "{what}"),
            error => tracing::warn!(%error, "{what}"),
        }
    }
}

/// Why a job of the writer's did not go through.
#[derive(Debug)]
pub(super) enum JobError {
    /// It was refused before it wrote anything; the group goes on.
    Refused(BusError),
    /// SQLite refused a statement: the group is given up as a whole.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for JobError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Whether the file itself failed: nothing that this process believes of it is
/// certain any more (a failed sync may have dropped pages that look written).
pub(super) fn is_io_failure(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

pub(super) fn is_disk_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}
