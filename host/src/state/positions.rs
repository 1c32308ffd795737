//! How far the bus had come, as the stores know: more than it knows itself where
//! it was lost, or is an older copy.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::error::Error;
use super::store::Store;
use crate::sqlite::{self, Access};

/// Every table that has positions on the bus. What is done or held has a cursor;
/// dead letters outlive theirs.
const LAST: &str = "
    SELECT coalesce(max(position), 0) FROM (
        SELECT max(position, coalesce(until, 0)) AS position FROM _cursor
        UNION ALL SELECT (SELECT max(position) FROM _done WHERE subscription = _cursor.subscription)
            FROM _cursor
        UNION ALL SELECT (SELECT max(position) FROM _held WHERE subscription = _cursor.subscription)
            FROM _cursor
        UNION ALL SELECT max(position) FROM _dead
    )";

/// The highest position that a store in this folder knows; 0 where none knows one.
/// A bus that goes on after it gives none of them out again. Blocks.
///
/// A store that cannot be read is warned of and counts for nothing: it may be of a
/// service that is long gone. Should it be used after all, [`Store::last_position`]
/// tells.
#[must_use]
pub fn last_position(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let stores = paths.filter(|path| path.extension().is_some_and(|extension| extension == "db"));
    let last = |path: PathBuf| {
        last_position_at(&path).unwrap_or_else(|error| {
            tracing::warn!(
                path = %path.display(),
                %error,
                "this store cannot be read: what needs it fails, and how far the bus had come is \
                 not known from it; if its service is still deployed, stop the host and bring the \
                 file back from a copy, or run the newer hotdock that made it"
            );
            0
        })
    };
    stores.map(last).max().unwrap_or(0)
}

fn last_position_at(path: &Path) -> rusqlite::Result<u64> {
    // To write: a log that a crash left is carried over at the first opening.
    let connection = sqlite::open(path, Access::Write)?;
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = '_cursor'";
    // One of an older format, or that was made a moment before a crash.
    let has_tables: bool = connection.query_row(tables, (), |row| row.get(0))?;
    if has_tables { last_position_in(&connection) } else { Ok(0) }
}

fn last_position_in(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row(LAST, (), |row| row.get(0))
}

impl Store {
    /// The highest position on the bus that it knows; 0 where it knows none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last_position(self: &Arc<Self>) -> Result<u64, Error> {
        self.read(last_position_in).await
    }
}
