//! How far a bus had come that is lost, as the stores know.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

/// Every table that has positions on the bus.
const LAST: &str = "
    SELECT coalesce(max(position), 0) FROM (
        SELECT position FROM _cursor UNION ALL SELECT position FROM _done
        UNION ALL SELECT position FROM _held UNION ALL SELECT position FROM _dead
    )";

/// The highest position that a store in this folder knows; 0 where none knows one.
/// A bus that begins after it gives none of them out again. Blocks.
///
/// A store that cannot be read is warned of and counts for nothing: it may be of a
/// service that is long gone.
#[must_use]
pub fn last_position(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let stores = paths.filter(|path| path.extension().is_some_and(|extension| extension == "db"));
    let last = |path: PathBuf| {
        last_position_of(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "its positions cannot be read");
            0
        })
    };
    stores.map(last).max().unwrap_or(0)
}

fn last_position_of(path: &Path) -> rusqlite::Result<u64> {
    // To write: a log that a crash left is carried over at the first opening.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = '_cursor'";
    let has_tables: bool = connection.query_row(tables, (), |row| row.get(0))?;
    if has_tables { connection.query_row(LAST, (), |row| row.get(0)) } else { Ok(0) }
}
