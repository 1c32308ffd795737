//! `[[schedule]]`: events that the host publishes for a service at given times.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use compact_str::format_compact;
use serde::de::IgnoredAny;
use toml::de::DeTable;

use super::Cron;
use super::cron::rfc3339;
use super::fields::{Field, Fields};
use super::problem::Problems;
use crate::event::{Event, Extensions, PARTITION_KEY, TypePattern, Value};
use crate::name::ServiceName;

/// How many schedules a manifest may have.
const MAX_SCHEDULES: usize = 100;
/// How long a schedule's name may be, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// What `cron` and `time-zone` are taken for where they are wrong, to look at the rest.
const DAILY: &str = "0 0 * * *";
const UTC: &str = "UTC";

/// An event at given times.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// `name`, unique in the service.
    pub name: String,
    /// `cron`, on the clocks of `time-zone` (UTC).
    pub cron: Cron,
    /// `type` of its events.
    pub event_type: String,
    /// `missed` (once).
    pub missed: Missed,
    /// `data` of its events, a JSON text.
    pub data: Option<String>,
    /// `key` of its events: their `partitionkey`. By default all events of one
    /// schedule have their schedule's name, so that they are in order.
    pub key: Option<String>,
}

/// What becomes of ticks while the host was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// `once`: the last of them comes, late.
    #[default]
    Once,
    /// `skip`: they don't come.
    Skip,
}

impl Schedule {
    /// The event of a tick; `tick` in ms since 1970. The same tick is the same
    /// event.
    #[must_use]
    pub fn event(&self, service: &ServiceName, tick: u64) -> Event {
        let time = rfc3339(tick);
        let key = self.key.as_ref().unwrap_or(&self.name).as_str();
        Event {
            id: format_compact!("{}-{time}", self.name),
            source: format_compact!("/services/{service}"),
            event_type: self.event_type.as_str().into(),
            subject: None,
            time: Some(time.into()),
            data_content_type: self.data.as_ref().map(|_| "application/json".into()),
            data_schema: None,
            extensions: Extensions::from_iter([(PARTITION_KEY.into(), Value::Text(key.into()))]),
            data: self.data.clone().map(Into::into),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.cron)
    }
}

/// Every schedule that is as it should be; the others are reported.
pub(super) fn schedules(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> Vec<Schedule> {
    let tables = field.tables(problems);
    if tables.len() > MAX_SCHEDULES {
        let found = tables.len();
        field.report(problems, format_args!("may appear {MAX_SCHEDULES} times; found: {found}"));
        return Vec::new();
    }
    let mut names = BTreeSet::new();
    let mut schedules = Vec::with_capacity(tables.len());
    for (table, span) in tables {
        let Some(schedule) = schedule(table, &span, problems) else { continue };
        if !names.insert(schedule.name.clone()) {
            problems.report(&span, format!("schedule `{}` is there twice", schedule.name));
        }
        schedules.push(schedule);
    }
    schedules
}

fn schedule(
    table: &DeTable<'_>,
    span: &Range<usize>,
    problems: &mut Problems<'_>,
) -> Option<Schedule> {
    let mut fields = Fields::of("[[schedule]] ", table);
    let mut needed = |key: &'static str, problems: &mut Problems<'_>| {
        let field = fields.take(key);
        if field.is_none() {
            problems.report(span, format!("`[[schedule]]` has no `{key}`"));
        }
        field
    };
    let name = needed("name", problems).and_then(|field| name(&field, problems));
    let (cron_field, type_field) = (needed("cron", problems), needed("type", problems));
    let event_type = type_field.as_ref().and_then(|field| event_type(field, problems));
    let zone = fields.take("time-zone");
    let cron = cron_field.and_then(|field| cron(&field, zone.as_ref(), problems));
    let words = [("once", Missed::Once), ("skip", Missed::Skip)];
    let missed = fields.take("missed").and_then(|field| field.choice(&words, problems));
    let data = fields.take("data").and_then(|field| data(&field, problems));
    let key = fields.take("key").and_then(|field| field.text(problems)).map(str::to_owned);
    fields.finish(problems);
    // Its event is looked at also where the rest of it is wrong.
    let is_whole = name.is_some() && cron.is_some();
    let schedule = Schedule {
        name: name.unwrap_or_else(|| "any".to_owned()),
        cron: cron.unwrap_or_else(|| Cron::parse(DAILY, UTC).expect("it ticks every day")),
        event_type: event_type?.to_owned(),
        missed: missed.unwrap_or_default(),
        data,
        key,
    };
    let service = "any".parse().expect("a service's name");
    if let Err(error) = schedule.event(&service, 0).check() {
        let message = format!("no event of `[[schedule]]` can be published: {error}");
        problems.report(type_field.as_ref().map_or(span, |field| &field.span), message);
    }
    is_whole.then_some(schedule)
}

fn name(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> Option<String> {
    let text = field.text(problems)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.chars().all(allowed) {
        let rule = format_args!("has 1 to {MAX_NAME_BYTES} letters, digits, `.`, `-` and `_`");
        field.report(problems, rule);
        return None;
    }
    Some(text.to_owned())
}

/// One type, and not a pattern: no subscription could want it and not others.
fn event_type<'t>(field: &Field<'t, '_>, problems: &mut Problems<'_>) -> Option<&'t str> {
    let text = field.text(problems)?;
    if text.parse().is_ok_and(|pattern: TypePattern| pattern.has_wildcard()) {
        field.report(
            problems,
            format_args!("has `{text}`, which is a pattern: an event has one type"),
        );
        return None;
    }
    Some(text)
}

fn cron(
    field: &Field<'_, '_>,
    zone: Option<&Field<'_, '_>>,
    problems: &mut Problems<'_>,
) -> Option<Cron> {
    let text = field.text(problems);
    let zone_text = zone.map_or(Some(UTC), |zone| zone.text(problems));
    // Each is looked at also where the other one is wrong.
    let zone_error = zone_text.and_then(|zone| Cron::parse(DAILY, zone).err());
    if let (Some(error), Some(zone)) = (&zone_error, zone) {
        let name = zone_text.unwrap_or_default();
        zone.report(problems, format_args!("has `{name}`: {error}"));
    }
    let text = text?;
    let known_zone = zone_text.filter(|_| zone_error.is_none());
    match Cron::parse(text, known_zone.unwrap_or(UTC)) {
        Ok(cron) => known_zone.map(|_| cron),
        Err(error) => {
            let rule = "which is no schedule such as \"30 3 * * *\"";
            field.report(problems, format_args!("has `{text}`, {rule}: {error}"));
            None
        }
    }
}

fn data(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> Option<String> {
    let text = field.text(problems)?;
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Some(text.to_owned()),
        Err(error) => {
            field.report(problems, format_args!("is no JSON: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests;
