//! When a schedule ticks.
//!
//! Clocks that go forward: a tick at one fixed time of the day that is skipped
//! comes with the first moment after the gap; ticks at intervals leave the gap
//! out. Clocks that go back: a tick at a fixed time comes once, the first time;
//! ticks at intervals come in both passes. (That is how most crons do it; the
//! crate `croner` decides.)

use std::fmt;

use chrono::{DateTime, SecondsFormat};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Cron {
    text: String,
    pattern: croner::Cron,
    zone: Tz,
}

/// The fields of an expression, in order, with what they have.
const FIELDS: [&str; 6] = [
    "seconds (0 to 59)",
    "minutes (0 to 59)",
    "hours (0 to 23)",
    "days of the month (1 to 31)",
    "months (1 to 12, or JAN to DEC)",
    "days of the week (0 to 7, or SUN to SAT)",
];

/// Why a schedule cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// The expression.
    #[error("{0}")]
    Pattern(String),
    /// No day is such a day.
    #[error("it never ticks")]
    Never,
    /// The time zone.
    #[error(
        "there is no such time zone; the names are those of the IANA, such as \"Europe/Berlin\""
    )]
    Zone,
}

impl Cron {
    /// `text` has five fields, or six with the seconds first; `zone` is a name
    /// of the IANA's.
    ///
    /// # Errors
    /// When one of them is none, or no time is such a time.
    pub fn parse(text: &str, zone: &str) -> Result<Self, CronError> {
        let zone = zone.parse().map_err(|_| CronError::Zone)?;
        // Without years, what ticks once ticks again.
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let pattern = parser.parse(text).map_err(|error| {
            let said = error.to_string();
            CronError::Pattern(reason(&parser, text, said.trim_end_matches('.')))
        })?;
        let cron = Self { text: text.to_owned(), pattern, zone };
        cron.next_after(0).ok_or(CronError::Never)?;
        Ok(cron)
    }

    /// The first tick after `time`, both in ms since 1970; `None` beyond the
    /// years that have dates.
    #[must_use]
    pub fn next_after(&self, time: u64) -> Option<u64> {
        let tick = self.pattern.find_next_occurrence(&self.second(time)?, false).ok()?;
        millis(&tick).filter(|tick| *tick > time)
    }

    /// The last tick until `time`, both in ms since 1970.
    #[must_use]
    pub fn last_until(&self, time: u64) -> Option<u64> {
        let tick = self.pattern.find_previous_occurrence(&self.second(time)?, true).ok()?;
        millis(&tick).filter(|tick| *tick <= time)
    }

    /// The second that a time is in, on the zone's clocks.
    fn second(&self, time: u64) -> Option<DateTime<Tz>> {
        let seconds = i64::try_from(time / 1_000).ok()?;
        Some(DateTime::from_timestamp_secs(seconds)?.with_timezone(&self.zone))
    }
}

/// Why an expression is none, naming its field; what the crate says where no field is wrong alone.
fn reason(parser: &CronParser, text: &str, said: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let count = words.len();
    let Some(first) = FIELDS.len().checked_sub(count).filter(|first| *first <= 1) else {
        return format!("five fields are expected, or six with the seconds first; found: {count}");
    };
    let is_wrong = |at: usize| {
        let mut alone = vec!["*"; count];
        alone[at] = words[at];
        parser.parse(&alone.join(" ")).is_err()
    };
    match (0..count).find(|at| is_wrong(*at)) {
        Some(at) => format!("its {} cannot be `{}`", FIELDS[first + at], words[at]),
        None => said.to_owned(),
    }
}

/// What two schedules that tick alike have in common.
impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.zone)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.zone) == (&other.text, other.zone)
    }
}

/// A time in ms since 1970 as RFC 3339 writes it.
#[must_use]
pub fn rfc3339(time: u64) -> String {
    let time = i64::try_from(time).ok().and_then(DateTime::from_timestamp_millis);
    time.unwrap_or(DateTime::UNIX_EPOCH).to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn millis(time: &DateTime<Tz>) -> Option<u64> {
    u64::try_from(time.timestamp_millis()).ok()
}

#[cfg(test)]
mod tests;
