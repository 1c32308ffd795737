//! `[[subscribe]]`: the events that a service wants.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::fields::{Field, Fields};
use super::problem::Problems;
use super::quantity;
use crate::event::TypePattern;

/// How many subscriptions a manifest may have.
const MAX_SUBSCRIPTIONS: usize = 100;
/// How long a subscription's name may be, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Events that a service wants, and what happens to those that it fails at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// `name`, by default its pattern. With the service's name it says whose
    /// cursor it is: a subscription that is renamed is a new one.
    pub name: String,
    /// `type`: patterns, of which one has to match.
    pub patterns: Vec<TypePattern>,
    /// `from` (now).
    pub from: StartPosition,
    /// `attempts` (8): deliveries of one event until it is given up.
    pub attempts: u32,
    /// `backoff`.
    pub backoff: Backoff,
    /// `concurrency` (16): handlers that run at once.
    pub concurrency: usize,
    /// `when-failed` (dead-letter).
    pub when_failed: WhenFailed,
    /// `held` (10 000): events that may wait for another attempt, theirs or one
    /// of their key before them; beyond it the subscription stands still.
    pub held: usize,
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartPosition {
    /// After what was published before it.
    #[default]
    Now,
    /// With the oldest event that the bus still has.
    Beginning,
}

/// How long an event waits for its next attempt: each time twice as long,
/// less a random part of up to a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// `first` (100 ms).
    pub first: Duration,
    /// `max` (30 s).
    pub max: Duration,
}

/// What becomes of an event whose attempts are used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFailed {
    /// `dead-letter`: it is put aside, and its key goes on.
    #[default]
    DeadLetter,
    /// `park`: it waits for an operator, and its key with it.
    Park,
}

impl Backoff {
    /// Of these bounds; one that is not said is its default, or as far as the other has it.
    #[must_use]
    pub fn between(first: Option<Duration>, max: Option<Duration>) -> Self {
        let default = Self::default();
        match (first, max) {
            (Some(first), max) => Self { first, max: max.unwrap_or(default.max).max(first) },
            (None, Some(max)) => Self { first: default.first.min(max), max },
            (None, None) => default,
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(30) }
    }
}

impl Subscription {
    /// Whether it wants events of this type.
    #[must_use]
    pub fn wants(&self, event_type: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(event_type))
    }

    /// Its patterns, parted by commas.
    #[must_use]
    pub fn types(&self) -> String {
        let types: Vec<&str> = self.patterns.iter().map(TypePattern::as_str).collect();
        types.join(",")
    }

    /// A subscription with the defaults, named by its first pattern.
    #[must_use]
    pub fn to(patterns: Vec<TypePattern>) -> Self {
        Self {
            name: patterns.first().map(ToString::to_string).unwrap_or_default(),
            patterns,
            from: StartPosition::default(),
            attempts: 8,
            backoff: Backoff::default(),
            concurrency: 16,
            when_failed: WhenFailed::default(),
            held: 10_000,
        }
    }
}

/// Every subscription that is as it should be; the others are reported.
pub(super) fn subscriptions(
    field: &Field<'_, '_>,
    problems: &mut Problems<'_>,
) -> Vec<Subscription> {
    let tables = field.tables(problems);
    if tables.len() > MAX_SUBSCRIPTIONS {
        let found = tables.len();
        field
            .report(problems, format_args!("may appear {MAX_SUBSCRIPTIONS} times; found: {found}"));
        return Vec::new();
    }
    let mut names = BTreeSet::new();
    let mut subscriptions = Vec::with_capacity(tables.len());
    for (table, span) in tables {
        let Some(subscription) = subscription(table, &span, problems) else { continue };
        if !names.insert(subscription.name.clone()) {
            let name = &subscription.name;
            problems.report(&span, format!("subscription `{name}` is there twice"));
        }
        subscriptions.push(subscription);
    }
    subscriptions
}

fn subscription(
    table: &DeTable<'_>,
    span: &Range<usize>,
    problems: &mut Problems<'_>,
) -> Option<Subscription> {
    let mut fields = Fields::of("[[subscribe]] ", table);
    let wanted = fields.take("type");
    if wanted.is_none() {
        problems.report(span, "`[[subscribe]]` has no `type`");
    }
    let pattern = wanted.and_then(|field| pattern(&field, problems));
    // The other keys are read even then, so that each is reported.
    let mut read = Subscription::to(pattern.iter().cloned().collect());
    match fields.take("name") {
        Some(field) => name(&field, &mut read, problems),
        None if pattern.is_some() && !is_name(&read.name) => problems.report(
            span,
            format!("`[[subscribe]]` needs a `name`: its type `{}` is none", read.name),
        ),
        None => {}
    }
    if let Some(field) = fields.take("from") {
        let choices = [("now", StartPosition::Now), ("beginning", StartPosition::Beginning)];
        read.from = field.choice(&choices, problems).unwrap_or_default();
    }
    if let Some(field) = fields.take("when-failed") {
        let choices = [("dead-letter", WhenFailed::DeadLetter), ("park", WhenFailed::Park)];
        read.when_failed = field.choice(&choices, problems).unwrap_or_default();
    }
    counts(&mut fields, &mut read, problems);
    if let Some(field) = fields.take("backoff") {
        read.backoff = backoff(&field, problems);
    }
    fields.finish(problems);
    pattern.map(|_| read)
}

fn pattern(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> Option<TypePattern> {
    let text = field.text(problems)?;
    text.parse()
        .map_err(|error| {
            field.report(
                problems,
                format_args!("has `{text}`, which is no pattern such as \"shop.order.*\": {error}"),
            );
        })
        .ok()
}

fn name(field: &Field<'_, '_>, into: &mut Subscription, problems: &mut Problems<'_>) {
    let Some(text) = field.text(problems) else { return };
    if !is_name(text) {
        field.report(
            problems,
            format_args!("has 1 to {MAX_NAME_BYTES} letters, digits, `.`, `-` and `_`"),
        );
        return;
    }
    text.clone_into(&mut into.name);
}

/// `/` parts it from its service, and `@` a replay from it.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '>');
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && text.chars().all(allowed)
}

fn counts(fields: &mut Fields<'_, '_>, into: &mut Subscription, problems: &mut Problems<'_>) {
    let mut count = |key, bounds| fields.take(key).and_then(|field| field.count(bounds, problems));
    let fits = "the bounds fit the type";
    if let Some(attempts) = count("attempts", &quantity::ATTEMPTS) {
        into.attempts = attempts.try_into().expect(fits);
    }
    if let Some(concurrency) = count("concurrency", &quantity::DELIVERY_CONCURRENCY) {
        into.concurrency = concurrency.try_into().expect(fits);
    }
    if let Some(held) = count("held", &quantity::HELD) {
        into.held = held.try_into().expect(fits);
    }
}

fn backoff(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> Backoff {
    let defaults = Backoff::default();
    let DeValue::Table(table) = field.value else {
        let like = "a table such as { first = \"100ms\", max = \"30s\" }";
        field.wrong_type::<()>(problems, like);
        return defaults;
    };
    let mut fields = Fields::of("[[subscribe]] backoff.", table);
    let (field, longest) = (fields.take("first"), fields.take("max"));
    let first = field.as_ref().and_then(|field| field.duration(&quantity::BACKOFF, problems));
    let max = longest.and_then(|field| field.duration(&quantity::BACKOFF, problems));
    if let (Some(field), Some(first), Some(max)) = (field, first, max)
        && first > max
    {
        let (first, max) = (humantime::format_duration(first), humantime::format_duration(max));
        field.report(
            problems,
            format_args!("is {first}, longer than `max`, {max}, which no wait is"),
        );
    }
    fields.finish(problems);
    Backoff::between(first, max)
}

#[cfg(test)]
mod tests;
