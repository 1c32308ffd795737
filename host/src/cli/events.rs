//! `hotdock events`: what becomes of events on a running host.

mod change;
mod dead;
mod list;
mod tail;

use std::process::ExitCode;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use url::form_urlencoded::Serializer;

use super::remote::{Host, segment};
use super::{console, exit};

/// Show what becomes of events on a running host, and decide about those that wait
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub(super) struct Events {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the newest events, and go on with what comes
    Tail(tail::Tail),
    /// Show the subscriptions: how far they are, and what waits in them
    Subscriptions(list::Subscriptions),
    /// Show the events that wait in a subscription
    Held(list::Held),
    /// Deliver a held or parked event now, as if for the first time
    Retry(change::Retry),
    /// Count an event that waits as finished; its key goes on
    Skip(change::Skip),
    /// End the pauses of sources in a subscription: their events failed in a row
    Resume(change::Resume),
    /// Deliver events to a subscription again
    Replay(change::Replay),
    /// Drop a subscription that no version wants any more, or end a replay
    Drop(change::Drop),
    /// Show dead letters, deliver them again, or drop them
    Dead(dead::Dead),
}

/// Which subscription.
#[derive(Debug, clap::Args)]
struct Subscription {
    /// The subscription, as `hotdock events subscriptions` shows it
    #[arg(long, short, value_name = "SERVICE/NAME", value_parser = subscription)]
    subscription: (String, String),
}

/// A page of a list: its entries as they came.
#[derive(Debug, Deserialize)]
struct Page {
    #[serde(alias = "subscriptions", alias = "held", alias = "dead_letters", alias = "events")]
    entries: Vec<Box<RawValue>>,
    /// The services of which there may be more, in a page of dead letters.
    #[serde(default)]
    unread: Vec<Unread>,
    /// The `after` of the next page.
    next: Option<Value>,
    /// The newest event on the bus, in a page of events.
    last: Option<u64>,
}

/// A service whose entries could not be read.
#[derive(Debug, Deserialize)]
struct Unread {
    service: String,
    reason: String,
}

impl Events {
    /// Whether all there is of it is what it prints.
    pub(super) fn only_prints(&self) -> bool {
        match &self.command {
            Command::Tail(_) | Command::Subscriptions(_) | Command::Held(_) => true,
            Command::Dead(dead) => dead.only_prints(),
            _ => false,
        }
    }

    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Tail(tail) => tail.run(),
            Command::Subscriptions(subscriptions) => subscriptions.run(),
            Command::Held(held) => held.run(),
            Command::Retry(retry) => retry.run(),
            Command::Skip(skip) => skip.run(),
            Command::Resume(resume) => resume.run(),
            Command::Replay(replay) => replay.run(),
            Command::Drop(drop) => drop.run(),
            Command::Dead(dead) => dead.run(),
        }
    }
}

impl Subscription {
    fn name(&self) -> String {
        let (service, name) = &self.subscription;
        format!("{service}/{name}")
    }

    /// Its path, with `rest` behind it.
    fn path(&self, rest: &str) -> String {
        let (service, name) = &self.subscription;
        format!("/v1/subscriptions/{}/{}{rest}", segment(service), segment(name))
    }
}

impl Page {
    async fn of(
        host: &Host,
        path: &str,
        parameters: &[(&str, Option<String>)],
    ) -> anyhow::Result<Self> {
        let mut query = Serializer::new(String::new());
        for (name, value) in parameters {
            query.extend_pairs(value.iter().map(|value| (name, value)));
        }
        let reply = host.get(&format!("{path}?{}", query.finish())).await?;
        Ok(serde_json::from_slice(&reply.text)?)
    }
}

/// All entries of a list, page by page.
async fn all(
    host: &Host,
    path: &str,
    parameters: &[(&str, Option<String>)],
) -> anyhow::Result<Vec<Box<RawValue>>> {
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let mut parameters = parameters.to_vec();
        parameters.extend([("after", after), ("limit", Some(PAGE.to_string()))]);
        let page = Page::of(host, path, &parameters).await?;
        entries.extend(page.entries);
        for Unread { service, reason } in page.unread {
            console::notes(&[format!("hotdock: those of {service} cannot be read: {reason}")]);
        }
        after = match page.next {
            Some(Value::String(next)) => Some(next),
            Some(next) => Some(next.to_string()),
            None => return Ok(entries),
        };
    }
}

/// Entries that are asked for at once.
const PAGE: usize = 500;

/// `2026-01-31T08:00:00.123Z` as `01-31 08:00:00`.
fn moment(rfc3339: &str) -> String {
    rfc3339.get(5..19).unwrap_or(rfc3339).replace('T', " ")
}

/// Why something failed, for a table; what follows says where.
fn first_line(reason: &str) -> &str {
    reason.split('\n').next().unwrap_or_default()
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn subscription(text: &str) -> Result<(String, String), String> {
    let (service, name) = text.split_once('/').ok_or("SERVICE/NAME expected")?;
    Ok((service.to_owned(), name.to_owned()))
}
