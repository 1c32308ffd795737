//! Late copies of the consumers' cursors. They say what may be trimmed; what was
//! delivered, the consumers' own files say.

use rusqlite::Connection;

use super::{Mirror, MirrorRow};

/// Writes the copies over what was there.
pub(super) fn mirror(
    connection: &Connection,
    cursors: &[Mirror],
    now: u64,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO cursor (subscription, position, active, changed_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (subscription) DO UPDATE SET
             position = excluded.position,
             active = excluded.active,
             changed_at = iif(active = excluded.active, changed_at, excluded.changed_at)
         -- A commit without a change costs no sync.
         WHERE position <> excluded.position OR active <> excluded.active",
    )?;
    for cursor in cursors {
        statement.execute((&cursor.subscription, cursor.position, cursor.active, now))?;
    }
    Ok(())
}

/// Takes a subscription's copy out.
pub(super) fn forget(connection: &Connection, subscription: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM cursor WHERE subscription = ?1")?
        .execute([subscription])?;
    Ok(())
}

/// The same of one whose own rows cannot be reached, which is noted.
pub(super) fn drop_gone(connection: &Connection, subscription: &str) -> rusqlite::Result<()> {
    forget(connection, subscription)?;
    connection
        .prepare_cached("INSERT OR IGNORE INTO dropped VALUES (?1)")?
        .execute([subscription])?;
    Ok(())
}

/// Those that were noted.
pub(super) fn dropped(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        connection.prepare_cached("SELECT subscription FROM dropped ORDER BY subscription")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Takes such a note out: its own rows are gone, too.
pub(super) fn end_dropped(connection: &Connection, subscription: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM dropped WHERE subscription = ?1")?
        .execute([subscription])?;
    Ok(())
}

/// All copies, by subscription.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<MirrorRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT subscription, position, active, changed_at FROM cursor ORDER BY subscription",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(MirrorRow {
            subscription: row.get(0)?,
            position: row.get(1)?,
            active: row.get(2)?,
            changed_at: row.get(3)?,
        })
    })?;
    rows.collect()
}
