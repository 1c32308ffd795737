//! When a schedule ticks: cron in a time zone.
//!
//! Five fields (minute, hour, day of the month, month, day of the week), or six
//! with seconds before them. Where a clock is put forward, a tick at a time that
//! is left out comes right after the gap; where it is put back, a tick at a
//! fixed time comes once.

use std::fmt;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};

/// When something ticks. All times are in ms since 1970; ticks are whole seconds.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
}

/// Why a text is no schedule.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// It is no cron expression.
    #[error("`{0}` is no cron expression such as `0 */5 * * * *`: {1}")]
    Cron(String, CronError),
    /// There is no such time zone.
    #[error("`{0}` is no time zone of the IANA database such as Europe/Berlin")]
    TimeZone(String),
    /// No day is ever like that.
    #[error("`{0}` never ticks")]
    Never(String),
}

impl Schedule {
    /// Reads a cron expression and the name of a time zone.
    ///
    /// # Errors
    /// With what is wrong of the two.
    pub fn parse(cron: &str, time_zone: &str) -> Result<Self, ScheduleError> {
        let zone = time_zone.parse().map_err(|_| ScheduleError::TimeZone(time_zone.to_owned()))?;
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let parsed =
            parser.parse(cron).map_err(|error| ScheduleError::Cron(cron.to_owned(), error))?;
        let schedule = Self { cron: parsed, zone };
        // Without years, what ticks at all ticks again whenever it is asked.
        match schedule.next_after(0) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never(cron.to_owned())),
        }
    }

    /// The first tick after `time`.
    #[must_use]
    pub fn next_after(&self, time: u64) -> Option<u64> {
        let next = self.cron.find_next_occurrence(&self.at(time)?, false).ok()?;
        u64::try_from(next.timestamp_millis()).ok()
    }

    /// The last tick after `after`, up to and at `until`: that some were missed
    /// while nobody looked, and when the newest of them was.
    #[must_use]
    pub fn last_between(&self, after: u64, until: u64) -> Option<u64> {
        let last = self.cron.find_previous_occurrence(&self.at(until)?, true).ok()?;
        u64::try_from(last.timestamp_millis()).ok().filter(|&last| last > after)
    }

    fn at(&self, time: u64) -> Option<DateTime<Tz>> {
        // Of a second that has begun, only its beginning is a tick.
        let seconds = i64::try_from(time / 1_000).ok()?;
        Some(DateTime::<Utc>::from_timestamp(seconds, 0)?.with_timezone(&self.zone))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.cron.as_str(), self.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str, zone: &str) -> Schedule {
        Schedule::parse(cron, zone).expect("a schedule")
    }

    fn ms(time: &str) -> u64 {
        let time = DateTime::parse_from_rfc3339(time).expect("a time");
        u64::try_from(time.timestamp_millis()).expect("after 1970")
    }

    fn ticks(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
        let next = |&time: &u64| schedule.next_after(time);
        std::iter::successors(Some(ms(after)), next)
            .skip(1)
            .take(count)
            .map(|time| {
                let time = i64::try_from(time).ok().and_then(DateTime::from_timestamp_millis);
                time.expect("a time").format("%FT%TZ").to_string()
            })
            .collect()
    }

    #[test]
    fn it_ticks_at_its_seconds() {
        let seconds = schedule("*/20 * * * * *", "UTC");
        assert_eq!(
            ticks(&seconds, "2026-01-01T00:00:00Z", 3),
            ["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z", "2026-01-01T00:01:00Z"]
        );
        assert_eq!(
            seconds.next_after(ms("2026-01-01T00:00:19.999Z")),
            Some(ms("2026-01-01T00:00:20Z"))
        );
        assert_eq!(
            seconds.next_after(ms("2026-01-01T00:00:20.001Z")),
            Some(ms("2026-01-01T00:00:40Z"))
        );
        let minutes = schedule("30 9 * * MON-FRI", "UTC");
        assert_eq!(
            ticks(&minutes, "2026-01-02T09:30:00Z", 2),
            ["2026-01-05T09:30:00Z", "2026-01-06T09:30:00Z"]
        );
    }

    #[test]
    fn it_keeps_to_the_clock_of_its_zone() {
        let daily = schedule("0 30 2 * * *", "Europe/Berlin");
        assert_eq!(
            ticks(&daily, "2026-03-28T00:00:00Z", 3),
            // 02:30 is left out on the 29th: 03:00 follows 02:00.
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            ticks(&daily, "2026-10-24T00:00:00Z", 3),
            // 02:30 is there twice on the 25th.
            ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn the_newest_of_the_missed_ticks_is_known() {
        let hourly = schedule("0 0 * * * *", "UTC");
        let between = |after, until| hourly.last_between(ms(after), ms(until));
        assert_eq!(between("2026-01-01T00:00:00Z", "2026-01-01T00:59:59.999Z"), None);
        assert_eq!(
            between("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
            Some(ms("2026-01-01T01:00:00Z"))
        );
        assert_eq!(
            between("2026-01-01T00:00:00Z", "2026-01-03T12:34:56.789Z"),
            Some(ms("2026-01-03T12:00:00Z"))
        );
        assert_eq!(between("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for (cron, zone, reason) in [
            ("", "UTC", "`` is no cron expression"),
            ("* * * *", "UTC", "is no cron expression"),
            ("61 * * * * *", "UTC", "is no cron expression"),
            ("0 0 0 1 1 * 2030", "UTC", "is no cron expression"),
            ("@reboot", "UTC", "is no cron expression"),
            ("0 0 30 2 *", "UTC", "`0 0 30 2 *` never ticks"),
            ("* * * * *", "Berlin", "`Berlin` is no time zone"),
            ("* * * * *", "", "`` is no time zone"),
        ] {
            let error = Schedule::parse(cron, zone).expect_err(cron).to_string();
            assert!(error.contains(reason), "{cron} {zone}: {error}");
        }
        let error = Schedule::parse("* * * *", "UTC").expect_err("four fields").to_string();
        assert!(error.starts_with("`* * * *` is no cron expression such as `0 */5 * * * *`: "));
    }
}
