//! Which events are no longer needed.

use rusqlite::Connection;

use super::error::JobError;
use super::group::Group;
use super::options::BusOptions;
use super::{Position, Trimmed};

/// Events that one job looks at, so that appends in between wait for a few
/// milliseconds at the most.
const BATCH: usize = 2_000;

/// Takes a batch of the oldest events out that nobody needs at `now`. Returns
/// what, and whether there may be more.
pub(super) fn trim(
    group: &mut Group<'_>,
    now: u64,
    options: &BusOptions,
) -> Result<(Trimmed, bool), JobError> {
    let rule = Rule::at(now, group.connection, options)?;
    let mut statement = group.connection.prepare_cached(
        "SELECT position, recorded_at, octet_length(event) FROM event ORDER BY position LIMIT ?1",
    )?;
    let mut rows = statement.query([BATCH])?;
    let (mut seen, mut gone) = (Trimmed::default(), Trimmed::default());
    let mut last_gone = None;
    while let Some(row) = rows.next()? {
        let (position, recorded_at): (Position, u64) = (row.get(0)?, row.get(1)?);
        seen.events += 1;
        seen.bytes += row.get::<_, u64>(2)?;
        if rule.lets_go(position, recorded_at) {
            (gone, last_gone) = (seen, Some(position));
        } else if recorded_at <= now {
            break;
        }
        // The clock was ahead when it came: it is as old as what follows it.
    }
    let Some(last_gone) = last_gone else { return Ok((gone, false)) };
    group.trim(last_gone, gone.bytes)?;
    Ok((gone, seen.events == BATCH as u64))
}

struct Rule {
    /// What was recorded until here is old enough.
    old: u64,
    /// What was recorded until here is too old, whoever needs it.
    too_old: Option<u64>,
    /// All subscriptions that count are past it.
    passed: Option<Position>,
}

impl Rule {
    fn at(now: u64, connection: &Connection, options: &BusOptions) -> rusqlite::Result<Self> {
        let before = |duration: std::time::Duration| {
            now.checked_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
        };
        // By a clock that was ahead and was set back: it would hold for so much longer.
        connection
            .prepare_cached("UPDATE cursor SET changed_at = ?1 WHERE changed_at > ?1")?
            .execute([now])?;
        // A service that is gone holds for some time.
        let gone_since = before(options.retain_gone).map_or(-1, |ms| ms as i64);
        let passed = connection
            .prepare_cached("SELECT min(position) FROM cursor WHERE active OR changed_at > ?1")?
            .query_row([gone_since], |row| row.get(0))?;
        Ok(Self {
            old: before(options.retain).unwrap_or(0),
            too_old: options.retain_at_most.and_then(before),
            passed,
        })
    }

    fn lets_go(&self, position: Position, recorded_at: u64) -> bool {
        let needed = self.passed.is_some_and(|passed| position > passed);
        let too_old = self.too_old.is_some_and(|too_old| recorded_at <= too_old);
        too_old || (recorded_at <= self.old && !needed)
    }
}
