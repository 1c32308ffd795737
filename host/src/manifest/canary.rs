//! `[deploy] canary`: how a version takes the traffic over step by step.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};
use utoipa::ToSchema;

use super::fields::{Field, Fields};
use super::problem::Problems;
use super::quantity;

/// How many steps there may be.
const MAX_STEPS: usize = 20;
/// `errors`: points that are bearable.
const ERRORS: RangeInclusive<u8> = 0..=100;
/// `slower`: times.
const SLOWER: RangeInclusive<f64> = 1.0..=1000.0;

/// How a version takes the traffic over, and what makes it give it back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// `steps` (`["1%", "10%", "50%", "100%"]`): the version's share, in per cent.
    /// Where the last is not 100 %, it stays there until the operator decides.
    pub steps: Vec<u8>,
    /// `pause` (30 s): how long each step is watched.
    pub pause: Duration,
    /// `requests` (20): how many requests, and how many events, each of the two versions
    /// must have had within a step before they are compared, of each kind that there is.
    pub requests: u64,
    /// `wait` (10 min): how long a step waits for so many; then it is held until
    /// the operator decides.
    pub wait: Duration,
    /// `errors` (`1%`): by how many points the share of those that failed may be
    /// above the old version's; so with failures of the store, conflicts, and clients that left.
    pub errors: u8,
    /// `slower` (1.5): how many times as long as the old version it may take, for
    /// requests and for events, at the median and at the 90th and 99th percentile.
    pub slower: f64,
    /// `sticky`: what keeps a client on one version meanwhile: `cookie` or
    /// `header:NAME`; by default what the service has.
    pub sticky: Option<Sticky>,
}

/// What keeps a client on one version for as long as the weights stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sticky {
    /// A cookie that the host sets.
    Cookie,
    /// The value of this header; requests without it are shared by chance.
    Header(String),
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            steps: vec![1, 10, 50, 100],
            pause: Duration::from_secs(30),
            requests: 20,
            wait: Duration::from_secs(600),
            errors: 1,
            slower: 1.5,
            sticky: None,
        }
    }
}

/// Shares that grow from step to step: `["1%", "10%"]`.
///
/// # Errors
/// What is wrong with them.
pub fn parse_steps<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<u8>, String> {
    let mut steps = Vec::new();
    for text in texts {
        let step = percent(text).filter(|step| *step > 0);
        let step = step.ok_or_else(|| format!("`{text}` is no share from \"1%\" to \"100%\""))?;
        if steps.last().is_some_and(|last| *last >= step) {
            return Err(format!("`{text}` is not more than the step before it"));
        }
        steps.push(step);
    }
    match steps.len() {
        0 => Err("there is no step".to_owned()),
        1..=MAX_STEPS => Ok(steps),
        _ => Err(format!("there may be {MAX_STEPS} steps")),
    }
}

/// `cookie` or `header:NAME`.
///
/// # Errors
/// When it is neither.
pub fn parse_sticky(text: &str) -> Result<Sticky, String> {
    match text.split_once(':') {
        None if text == "cookie" => Ok(Sticky::Cookie),
        Some(("header", name)) if name.parse::<http::HeaderName>().is_ok() => {
            Ok(Sticky::Header(name.to_ascii_lowercase()))
        }
        _ => Err(format!("`{text}` is neither `cookie` nor `header:NAME`")),
    }
}

fn percent(text: &str) -> Option<u8> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    number.parse().ok().filter(|percent| *percent <= 100)
}

/// `true`, `false`, or a table of what differs from the defaults.
pub(super) fn canary(field: &Field<'_, '_>, problems: &mut Problems<'_>) -> Option<Canary> {
    match field.value {
        DeValue::Boolean(wanted) => wanted.then(Canary::default),
        DeValue::Table(table) => Some(settings(table, problems)),
        _ => field.wrong_type(problems, "true, false, or a table such as { pause = \"30s\" }"),
    }
}

fn settings(table: &DeTable<'_>, problems: &mut Problems<'_>) -> Canary {
    let mut fields = Fields::of("[deploy] canary.", table);
    let mut canary = Canary::default();
    if let Some(field) = fields.take("steps") {
        let texts = field.elements(problems).unwrap_or_default();
        let texts: Vec<&str> = texts.iter().filter_map(|each| each.text(problems)).collect();
        match parse_steps(texts) {
            Ok(steps) => canary.steps = steps,
            Err(reason) => field.report(problems, format_args!("is wrong: {reason}")),
        }
    }
    let mut duration =
        |key, bounds| fields.take(key).and_then(|field| field.duration(bounds, problems));
    canary.pause = duration("pause", &quantity::CANARY_PAUSE).unwrap_or(canary.pause);
    canary.wait = duration("wait", &quantity::CANARY_WAIT).unwrap_or(canary.wait);
    let requests = fields.take("requests");
    let requests = requests.and_then(|field| field.count(&quantity::CANARY_REQUESTS, problems));
    canary.requests = requests.unwrap_or(canary.requests);
    if let Some(field) = fields.take("errors") {
        match field.text(problems).map(percent) {
            Some(Some(points)) if ERRORS.contains(&points) => canary.errors = points,
            Some(_) => field.report(problems, "must be a share such as \"1%\""),
            None => {}
        }
    }
    if let Some(field) = fields.take("slower") {
        match field.number().filter(|times| SLOWER.contains(times)) {
            Some(times) => canary.slower = times,
            None => field.report(problems, "must be a number from 1.0 to 1000.0"),
        }
    }
    if let Some(field) = fields.take("sticky") {
        match field.text(problems).map(parse_sticky) {
            Some(Ok(sticky)) => canary.sticky = Some(sticky),
            Some(Err(reason)) => field.report(problems, format_args!("is wrong: {reason}")),
            None => {}
        }
    }
    fields.finish(problems);
    canary
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Manifest, ManifestText};

    fn read(deploy: &str) -> Result<Option<Canary>, String> {
        let text =
            ManifestText { file: "cart.toml".to_owned(), text: format!("[deploy]\n{deploy}\n") };
        let manifest = Manifest::read("cart", Some(&text)).map_err(|error| error.to_string())?;
        Ok(manifest.deploy.canary)
    }

    #[test]
    fn a_canary_is_asked_for_with_or_without_settings() {
        assert_eq!(read("drain = \"1s\""), Ok(None));
        assert_eq!(read("canary = false"), Ok(None));
        assert_eq!(read("canary = true"), Ok(Some(Canary::default())));
        let said = "canary = { steps = [\"5%\", \"100%\"], pause = \"2s\", requests = 7, wait = \"1m\", \
                    errors = \"3%\", slower = 1.5, sticky = \"header:X-User\" }";
        let expected = Canary {
            steps: vec![5, 100],
            pause: Duration::from_secs(2),
            requests: 7,
            wait: Duration::from_secs(60),
            errors: 3,
            slower: 1.5,
            sticky: Some(Sticky::Header("x-user".to_owned())),
        };
        assert_eq!(read(said), Ok(Some(expected)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (said, reason) in [
            ("canary = 1", "must be true, false, or a table"),
            ("canary = { steps = [] }", "canary.steps` is wrong: there is no step"),
            (
                "canary = { steps = [\"50%\", \"10%\"] }",
                "`10%` is not more than the step before it",
            ),
            ("canary = { steps = [\"0%\"] }", "`0%` is no share"),
            ("canary = { errors = \"lots\" }", "must be a share"),
            ("canary = { slower = 0.5 }", "must be a number from 1.0"),
            ("canary = { sticky = \"ip\" }", "neither `cookie` nor `header:NAME`"),
            ("canary = { pauze = \"1s\" }", "did you mean `pause`?"),
        ] {
            let refused = read(said).expect_err(said);
            assert!(refused.contains(reason) && refused.contains("cart.toml:2:"), "{refused}");
        }
    }
}
