//! When each schedule ticked last. A tick's event and its time are one commit,
//! so no tick is twice in the log.

use rusqlite::{Connection, OptionalExtension as _};

use super::Publisher;
use super::error::JobError;
use super::group::Group;
use crate::event::Written;

/// Notes a schedule that ticks by `rule`; one that is new, or had another rule,
/// begins at `now`. Returns its last tick.
pub(super) fn begin(
    connection: &Connection,
    service: &str,
    name: &str,
    rule: &str,
    now: u64,
) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(
            "INSERT INTO schedule (service, name, rule, last_tick) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (service, name) DO UPDATE
                 SET rule = excluded.rule, last_tick = excluded.last_tick
                 WHERE rule <> excluded.rule",
        )?
        .execute((service, name, rule, now))?;
    Ok(last_tick(connection, service, name)?.unwrap_or(now))
}

/// A tick that is later than `now` counts as one at `now`.
pub(super) fn set_back(
    connection: &Connection,
    service: &str,
    name: &str,
    now: u64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE schedule SET last_tick = ?3
             WHERE service = ?1 AND name = ?2 AND last_tick > ?3",
        )?
        .execute((service, name, now))?;
    Ok(())
}

/// Appends a tick's event, unless the schedule has ticked so late before.
pub(super) fn append_tick(
    group: &mut Group<'_>,
    service: &str,
    name: &str,
    tick: u64,
    entry: Option<Written>,
) -> Result<bool, JobError> {
    let publisher = Publisher::Service(service.into());
    group.room_for(&publisher, entry.iter())?;
    let ticked = group
        .connection
        .prepare_cached(
            "UPDATE schedule SET last_tick = ?3
             WHERE service = ?1 AND name = ?2 AND last_tick < ?3",
        )?
        .execute((service, name, tick))?;
    if ticked == 0 {
        return Ok(false);
    }
    group.insert(&publisher, entry.into_iter().collect())?;
    Ok(true)
}

/// The schedule is no longer: should it come again, it begins anew.
pub(super) fn end(connection: &Connection, service: &str, name: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM schedule WHERE service = ?1 AND name = ?2")?
        .execute((service, name))?;
    Ok(())
}

/// The schedules that have begun, by service and name.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement =
        connection.prepare_cached("SELECT service, name FROM schedule ORDER BY service, name")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// When a schedule ticked last, or began.
pub(super) fn last_tick(
    connection: &Connection,
    service: &str,
    name: &str,
) -> rusqlite::Result<Option<u64>> {
    let mut statement = connection
        .prepare_cached("SELECT last_tick FROM schedule WHERE service = ?1 AND name = ?2")?;
    statement.query_row((service, name), |row| row.get(0)).optional()
}
