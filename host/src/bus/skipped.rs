//! Positions that were never given out here, though somebody knows them: the file
//! is an older copy of the log, and they were given out after it was made.

use rusqlite::{Connection, OptionalExtension as _};

use super::Position;

/// Has the next event come after `last`.
pub(super) fn set_last(connection: &Connection, last: Position) -> rusqlite::Result<()> {
    let changed =
        connection.execute("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'event'", [last])?;
    if changed == 0 {
        let begin = "INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?1)";
        connection.execute(begin, [last])?;
    }
    Ok(())
}

/// Notes that these are not here.
pub(super) fn add(
    connection: &Connection,
    first: Position,
    last: Position,
) -> rusqlite::Result<()> {
    connection.execute("INSERT INTO skipped (first, last) VALUES (?1, ?2)", (first, last))?;
    Ok(())
}

/// How many there are from `first` on.
pub(super) fn after(connection: &Connection, first: Position) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(
            "SELECT coalesce(sum(last - max(first, ?1) + 1), 0) FROM skipped WHERE last >= ?1",
        )?
        .query_row([first], |row| row.get(0))
}

/// Forgets those before `first`. Returns the first position from there on that may
/// be here.
pub(super) fn trim(connection: &Connection, first: Position) -> rusqlite::Result<Position> {
    let mut find =
        connection.prepare_cached("SELECT last FROM skipped WHERE first <= ?1 AND last >= ?1")?;
    let last: Option<Position> = find.query_row([first], |row| row.get(0)).optional()?;
    let first = last.map_or(first, |last| last + 1);
    connection.prepare_cached("DELETE FROM skipped WHERE last < ?1")?.execute([first])?;
    Ok(first)
}
