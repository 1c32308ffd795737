//! `hotdock events subscriptions` and `held`

use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Subscription, all, first_line, moment, row};
use crate::cli::console;
use crate::cli::remote::Remote;

/// Show the subscriptions: how far they are, and what waits in them.
///
/// State: running; paused, because deliveries of one source's events to different keys failed
/// in a row (other sources' go on), or nothing can be delivered for now;
/// full, because as many events wait as may; parked, because keys wait for an
/// operator; starting; gap, because the bus no longer has what comes next; gone, because no
/// version wants it any more, and it still holds events on the bus. Age: since when
/// the oldest event that is not finished is on the bus.
#[derive(Debug, clap::Args)]
pub(super) struct Subscriptions {
    #[command(flatten)]
    remote: Remote,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Show the events that wait in a subscription: for another attempt, for one of
/// their key before them, or, parked, for an operator.
#[derive(Debug, clap::Args)]
pub(super) struct Held {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    subscription: Subscription,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// A subscription of a page.
#[derive(Debug, Deserialize)]
struct SubscriptionEntry {
    name: String,
    state: String,
    position: u64,
    lag: u64,
    held: u64,
    dead: u64,
    attempts: u64,
    oldest_age_ms: Option<u64>,
    last_error: Option<String>,
}

/// An event that waits.
#[derive(Debug, Deserialize)]
struct HeldEntry {
    position: u64,
    key: String,
    attempts: u32,
    parked: bool,
    due_at: Option<String>,
    #[serde(default)]
    reason: String,
}

impl Subscriptions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let entries = all(host, "/v1/subscriptions", &[]).await?;
            print(&entries, self.json, subscriptions)
        })
    }
}

impl Held {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let entries = all(host, &self.subscription.path("/held"), &[]).await?;
            print(&entries, self.json, held)
        })
    }
}

/// Prints entries as they came, or in words.
pub(super) fn print(
    entries: &[Box<RawValue>],
    json: bool,
    in_words: impl FnOnce(&[Box<RawValue>]) -> Result<Vec<String>, serde_json::Error>,
) -> anyhow::Result<ExitCode> {
    if json {
        entries.iter().try_for_each(|entry| console::json(entry.get()))?;
    } else {
        console::tabled(&in_words(entries)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn subscriptions(entries: &[Box<RawValue>]) -> Result<Vec<String>, serde_json::Error> {
    if entries.is_empty() {
        return Ok(vec!["nothing subscribes to events".to_owned()]);
    }
    let mut rows =
        vec![row(["SUBSCRIPTION", "STATE", "POSITION", "LAG", "HELD", "DEAD", "ATTEMPTS", "AGE"])];
    let mut notes = Vec::new();
    for entry in entries {
        let entry: SubscriptionEntry = serde_json::from_str(entry.get())?;
        let oldest = entry.oldest_age_ms.map(Duration::from_millis);
        // One that is gone has an error only where its store cannot be read.
        let stands = matches!(entry.state.as_str(), "paused" | "starting" | "gone");
        rows.push(vec![
            entry.name.clone(),
            entry.state,
            entry.position.to_string(),
            entry.lag.to_string(),
            entry.held.to_string(),
            entry.dead.to_string(),
            entry.attempts.to_string(),
            oldest.map(age).unwrap_or_default(),
        ]);
        // Of what is over nobody needs to know.
        let counts = stands || entry.held + entry.dead > 0;
        if let Some(error) = entry.last_error.filter(|_| counts) {
            let error = first_line(&error);
            notes.push(format!("{}: its last failure: {error}", entry.name));
        }
    }
    Ok([console::table(&rows), notes].concat())
}

fn held(entries: &[Box<RawValue>]) -> Result<Vec<String>, serde_json::Error> {
    if entries.is_empty() {
        return Ok(vec!["no event waits".to_owned()]);
    }
    let mut rows = vec![row(["POSITION", "KEY", "ATTEMPTS", "NEXT (UTC)", "LAST FAILURE"])];
    for entry in entries {
        let entry: HeldEntry = serde_json::from_str(entry.get())?;
        let next = match (entry.parked, entry.attempts, &entry.due_at) {
            (true, ..) => "parked".to_owned(),
            (false, _, Some(due)) => moment(due),
            (false, ..) => "in its turn".to_owned(),
        };
        rows.push(vec![
            entry.position.to_string(),
            entry.key,
            entry.attempts.to_string(),
            next,
            first_line(&entry.reason).to_owned(),
        ]);
    }
    Ok(console::table(&rows))
}

/// In the two largest units: `3d 4h`, `12s`.
fn age(age: Duration) -> String {
    let whole = Duration::from_secs(age.as_secs());
    if whole.is_zero() {
        return format!("{}ms", age.as_millis());
    }
    let text = humantime::format_duration(whole).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
