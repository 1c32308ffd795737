//! Rows of the log: several at once where there are several, since a statement costs SQLite
//! more than a row (each begins with a search for the table's end, and AUTOINCREMENT has it
//! look its counter up and write it back).

use std::sync::LazyLock;

use rusqlite::Connection;

use super::Position;
use super::encoding::Text;
use crate::event::Written;

/// How many rows the statements have, the largest first.
const ROWS: [usize; 3] = [64, 8, 1];

/// A statement of each size.
static STATEMENTS: LazyLock<[String; ROWS.len()]> = LazyLock::new(|| {
    ROWS.map(|rows| {
        let values = vec!["(?, ?, ?)"; rows].join(", ");
        format!("INSERT INTO event (position, recorded_at, event) VALUES {values}")
    })
});

/// Inserts events at positions from `first` on.
pub(super) fn insert(
    connection: &Connection,
    first: Position,
    recorded_at: u64,
    entries: &[Written],
) -> rusqlite::Result<()> {
    let (mut position, mut rest) = (first, entries);
    for (rows, statement) in ROWS.into_iter().zip(STATEMENTS.iter()) {
        let (all, fewer) = rest.split_at(rest.len() - rest.len() % rows);
        rest = fewer;
        for chunk in all.chunks_exact(rows) {
            let mut statement = connection.prepare_cached(statement)?;
            let mut parameter = 1;
            for entry in chunk {
                statement.raw_bind_parameter(parameter, position)?;
                statement.raw_bind_parameter(parameter + 1, recorded_at)?;
                statement.raw_bind_parameter(parameter + 2, Text(&entry.text))?;
                (parameter, position) = (parameter + 3, position + 1);
            }
            statement.raw_execute()?;
        }
    }
    Ok(())
}
