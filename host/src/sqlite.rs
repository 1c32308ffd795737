//! SQLite files: where all of them are opened, and brought to the newest of their formats.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

/// How long to wait for another process that has the file open (an operator's
/// shell, a backup).
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// To write; it is made where there is none.
    Make,
    /// To write; there is one.
    Write,
    /// To read only.
    Read,
}

/// Opens the file for the thread that has it: one connection is not used by two at once.
pub(crate) fn open(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    let access = match access {
        Access::Make => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// The formats of a kind of file. A host upgrades older files when it opens them, and refuses
/// a file that a newer one made.
#[derive(Debug)]
pub(crate) struct Formats {
    /// Whose file it is (SQLite, `PRAGMA application_id`), where it says so.
    pub(crate) application: Option<i64>,
    /// Each takes a file from the one before it to its own, and the first a new file.
    pub(crate) steps: &'static [&'static str],
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    /// SQLite's word.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// Made by a newer host.
    #[error("it has format {0}, which is newer than this host's")]
    Newer(i64),
    /// Some other program's database.
    #[error("it was not made by hotdock")]
    Foreign,
}

impl Formats {
    /// The file's, 0 where it has no tables yet. Changes nothing.
    pub(crate) fn of(&self, file: &Connection) -> Result<usize, FormatError> {
        let number = |pragma| file.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let found = number("user_version")?;
        if let Some(application) = self.application {
            let is_empty = "SELECT count(*) = 0 FROM sqlite_schema";
            match (number("application_id")?, found) {
                (0, 0) if file.query_row(is_empty, (), |row| row.get(0))? => {}
                (theirs, 1..) if theirs == application => {}
                (theirs, other) if theirs == application => return Err(FormatError::Newer(other)),
                _ => return Err(FormatError::Foreign),
            }
        }
        usize::try_from(found)
            .ok()
            .filter(|format| *format <= self.steps.len())
            .ok_or(FormatError::Newer(found))
    }

    /// Makes the file's tables what they are in the newest format, all or nothing. `more` does
    /// what no text can: it is told which format the file had, after the step to which.
    pub(crate) fn upgrade(
        &self,
        file: &mut Connection,
        more: impl Fn(&Transaction<'_>, usize, usize) -> rusqlite::Result<()>,
    ) -> Result<(), FormatError> {
        if self.of(file)? == self.steps.len() {
            return Ok(());
        }
        let upgrade = file.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Again: two may have come here at once.
        let had = self.of(&upgrade)?;
        for (at, step) in self.steps.iter().enumerate().skip(had) {
            upgrade.execute_batch(step)?;
            more(&upgrade, had, at + 1)?;
        }
        if let Some(application) = self.application {
            upgrade.pragma_update(None, "application_id", application)?;
        }
        upgrade.pragma_update(None, "user_version", self.steps.len())?;
        Ok(upgrade.commit()?)
    }
}
