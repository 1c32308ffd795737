//! `hotdock events dead`

use std::process::ExitCode;

use bytes::Bytes;
use clap::Subcommand;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::list::print;
use super::{all, first_line, moment, row};
use crate::cli::console;
use crate::cli::remote::{Host, Remote, segment};
use crate::escape;

/// Show dead letters, deliver them again, or drop them.
///
/// A dead letter is an event that was given up: its handler rejected it, or failed
/// as often as `attempts` says. It is named SERVICE/NUMBER.
#[derive(Debug, clap::Args)]
pub(super) struct Dead {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the dead letters, and why they were given up
    List(List),
    /// Show one with its event
    Show(Show),
    /// Deliver some again, as if for the first time
    Retry(Retry),
    /// Drop some for good
    Drop(Drop),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    remote: Remote,
    /// Only those of this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only those of this subscription
    #[arg(long, short, value_name = "SERVICE/NAME")]
    subscription: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    remote: Remote,
    /// The dead letter
    #[arg(value_name = "SERVICE/NUMBER", value_parser = letter)]
    letter: Letter,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Retry {
    #[command(flatten)]
    remote: Remote,
    /// The dead letters
    #[arg(required = true, value_name = "SERVICE/NUMBER", value_parser = letter)]
    letters: Vec<Letter>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Drop {
    #[command(flatten)]
    remote: Remote,
    /// The dead letters
    #[arg(required = true, value_name = "SERVICE/NUMBER", value_parser = letter)]
    letters: Vec<Letter>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// A dead letter's name.
#[derive(Clone, Debug)]
struct Letter {
    service: String,
    number: String,
}

/// A dead letter of a page.
#[derive(Debug, Deserialize)]
struct Entry<'a> {
    id: String,
    subscription: String,
    position: u64,
    key: String,
    attempts: u32,
    reason: String,
    died_at: String,
    #[serde(default)]
    without_data: bool,
    #[serde(borrow)]
    event: &'a RawValue,
}

impl Dead {
    /// Whether all there is of it is what it prints.
    pub(super) fn only_prints(&self) -> bool {
        matches!(self.command, Command::List(_) | Command::Show(_))
    }

    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Show(show) => show.run(),
            Command::Retry(retry) => retry.run(),
            Command::Drop(drop) => drop.run(),
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let parameters =
                [("service", self.service.clone()), ("subscription", self.subscription.clone())];
            let entries = all(host, "/v1/dead-letters", &parameters).await?;
            print(&entries, self.json, in_rows)
        })
    }
}

impl Show {
    fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let reply = host.get(&self.letter.path("")).await?;
            let letter: &RawValue = serde_json::from_slice(&reply.text)?;
            if self.json {
                console::json(letter.get())?;
                return Ok(ExitCode::SUCCESS);
            }
            let entry: Entry<'_> = serde_json::from_str(letter.get())?;
            let Entry {
                id,
                subscription,
                position,
                key,
                attempts,
                reason,
                died_at,
                without_data,
                ..
            } = entry;
            // Behind the reason, where the guest was when it failed.
            let (reason, place) = reason.split_once('\n').unwrap_or((reason.as_str(), ""));
            let mut lines = vec![
                format!("dead letter   {id}"),
                format!("subscription  {subscription}"),
                format!("position      {position}"),
                format!("key           {key}"),
                format!("attempts      {attempts}"),
                format!("died at       {died_at}"),
                format!("reason        {reason}"),
            ];
            if without_data {
                let why = "not kept: its source has too much here; retry takes it from the bus";
                lines.push(format!("data          {why}"));
            }
            lines.extend(place.lines().map(|line| format!("              {line}")));
            lines.extend(pretty(entry.event).lines().map(|line| escape::json(line).into_owned()));
            console::lines(&lines)?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Retry {
    fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            for letter in &self.letters {
                let reply =
                    host.send(Method::POST, &letter.path("/retry"), &[], Bytes::new()).await?;
                let subscription = reply.body["subscription"].as_str().unwrap_or_default();
                if self.json {
                    letter.tell(json!({ "subscription": subscription }))?;
                    continue;
                }
                console::print(&format!("{letter}: it is delivered to {subscription} again"))?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Drop {
    fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host: &Host| {
            for letter in &self.letters {
                host.send(Method::DELETE, &letter.path(""), &[], Bytes::new()).await?;
                if self.json {
                    letter.tell(json!({}))?;
                } else {
                    console::print(&format!("{letter}: it is gone"))?;
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Letter {
    fn path(&self, rest: &str) -> String {
        format!("/v1/dead-letters/{}/{}{rest}", segment(&self.service), segment(&self.number))
    }

    /// Prints as JSON which it was, with what else is known of it.
    fn tell(&self, mut what: Value) -> std::io::Result<()> {
        what["id"] = Value::String(self.to_string());
        console::json(&what.to_string())
    }
}

impl std::fmt::Display for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.number)
    }
}

/// An event, a member a line; as it came, where it has what JSON allows and few read: very deep data, a number
/// beyond all that computers count, half a character.
fn pretty(event: &RawValue) -> String {
    let read: Result<Value, _> = serde_json::from_str(event.get());
    read.map_or_else(|_| event.get().to_owned(), |event| format!("{event:#}"))
}

fn in_rows(entries: &[Box<RawValue>]) -> Result<Vec<String>, serde_json::Error> {
    if entries.is_empty() {
        return Ok(vec!["there are no dead letters".to_owned()]);
    }
    let mut rows =
        vec![row(["LETTER", "SUBSCRIPTION", "POSITION", "ATTEMPTS", "DIED (UTC)", "REASON"])];
    for entry in entries {
        let entry: Entry<'_> = serde_json::from_str(entry.get())?;
        rows.push(vec![
            entry.id,
            entry.subscription,
            entry.position.to_string(),
            entry.attempts.to_string(),
            moment(&entry.died_at),
            match entry.without_data {
                true => format!("{} (its data was not kept)", first_line(&entry.reason)),
                false => first_line(&entry.reason).to_owned(),
            },
        ]);
    }
    Ok(console::table(&rows))
}

fn letter(text: &str) -> Result<Letter, String> {
    let (service, number) = text.split_once('/').ok_or("SERVICE/NUMBER expected")?;
    Ok(Letter { service: service.to_owned(), number: number.to_owned() })
}
