//! `host.db`: which services there are, their versions, how these share the
//! traffic, and per plugin file what was last done about it.
//!
//! Every change is one transaction with `synchronous=FULL`: it is there after a
//! crash or it never was. A thread of its own has the file: see [`Record`].

mod file;
mod rows;
mod schema;
mod thread;

use rusqlite::ErrorCode;
use serde::{Deserialize, Serialize};

pub(super) use file::RecordFile;
pub use schema::check_record;
pub(super) use thread::Record;

use super::origin::Origin;
use super::plugin_file::Stem;
use crate::digest::Digest;
use crate::journal::JournalError;
use crate::manifest::{Canary, ManifestText};
use crate::name::{ServiceName, VersionId};
use crate::service::TrafficPlan;
use crate::sqlite::FormatError;

/// A version as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VersionRecord {
    pub(super) id: VersionId,
    pub(super) component: Digest,
    /// The manifest's text; none where it is the default.
    pub(super) manifest: Option<ManifestText>,
    pub(super) origin: Origin,
    /// Who brought it, as far as that is known.
    pub(super) who: Option<String>,
    /// RFC 3339.
    pub(super) deployed_at: String,
    /// Why its traffic was taken from it, if it was.
    pub(super) rolled_back: Option<String>,
}

/// A service that is deployed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DeployedRecord {
    pub(super) service: ServiceName,
    /// The plugin file that it was last deployed from.
    pub(super) file: Option<Stem>,
    /// Counts the changes of its traffic.
    pub(super) revision: u64,
    pub(super) plan: TrafficPlan,
    pub(super) canary: Option<CanaryRecord>,
}

/// A canary under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CanaryRecord {
    /// The deployment that it belongs to.
    pub(super) deployment: String,
    /// The version that serves.
    pub(super) old: u64,
    /// The version on trial.
    pub(super) new: u64,
    /// How it goes on.
    pub(super) settings: Canary,
    /// Which of the steps it is at.
    pub(super) step: usize,
    /// Whether it waits for the operator.
    pub(super) held: bool,
    /// Why it does.
    #[serde(default)]
    pub(super) reason: Option<String>,
}

/// What was last refused of a plugin file, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusalRecord {
    pub(super) seen: Seen,
    pub(super) service: Option<ServiceName>,
    pub(super) reasons: Vec<String>,
    /// Whether what other services have is among the reasons.
    pub(super) blocked: bool,
    /// Whether all that it lacks is what other services may come to export.
    pub(super) waits: bool,
    /// The host that refused it; another may accept it.
    pub(super) host: String,
    /// RFC 3339.
    pub(super) at: String,
}

/// The content of a pair of plugin files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// None where it could not be read.
    pub(super) component: Option<Digest>,
    /// Of the manifest beside it, or embedded; of nothing where there is none.
    pub(super) manifest: Option<Digest>,
}

/// Why `host.db` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// SQLite's word.
    #[error("host.db: {0}")]
    Sqlite(rusqlite::Error),
    /// The same, where the file is no database any more.
    #[error(
        "host.db is damaged ({0}): bring the data folder back from a copy, or name another one \
         (--data)"
    )]
    Damaged(rusqlite::Error),
    /// The disk has no room for the change. None of it was made.
    #[error(
        "the host's disk is full, and nothing was changed: make room on the disk of its data \
         folder (--data), and ask again"
    )]
    NoRoom,
    /// It did not come to what was asked for in time. None of that was done.
    #[error(
        "the host's own record, host.db, is busy: {0}; nothing was changed. Check the disk that \
         the data folder is on, and ask again"
    )]
    Busy(String),
    /// What was asked for panicked, or the host is being stopped.
    #[error("the host's own record, host.db, gave no answer: see the log")]
    Gone,
    /// It has no write-ahead log that can be relied on.
    #[error("host.db: {0}")]
    Journal(String),
    /// Made by a newer Hotdock.
    #[error(
        "host.db has format {found}, and this hotdock knows {known}: run the newer hotdock that made it"
    )]
    Newer {
        /// The file's.
        found: i64,
        /// The newest that this build reads.
        known: i64,
    },
    /// Some other program's database.
    #[error(
        "host.db was not made by hotdock: bring the data folder back from a copy, or name another \
         one (--data)"
    )]
    Foreign,
}

impl From<FormatError> for RecordError {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Sqlite(error) => error.into(),
            FormatError::Newer(found) => Self::Newer { found, known: schema::FORMAT },
            FormatError::Foreign => Self::Foreign,
        }
    }
}

impl From<JournalError> for RecordError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error.to_string())
    }
}

impl From<rusqlite::Error> for RecordError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Busy("another process has it locked".to_owned())
            }
            Some(ErrorCode::DiskFull) => Self::NoRoom,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
            _ => Self::Sqlite(error),
        }
    }
}

impl RecordError {
    /// Says that something was not recorded, unless it is for a full disk: that was said once,
    /// when it was found to be so.
    pub(super) fn log(&self, file: Option<&str>, what: &str) {
        match self {
            Self::NoRoom => tracing::debug!(file, error = %self, "{what}"),
            error => tracing::error!(file, %error, "{what}"),
        }
    }
}

#[cfg(test)]
mod tests;
