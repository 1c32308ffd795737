//! `hotdock events retry`, `skip`, `resume`, `replay` and `drop`

use std::process::ExitCode;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::Subscription;
use crate::cli::remote::{Host, Remote};
use crate::cli::{argument, console};

/// Deliver a held or parked event now, as if for the first time
#[derive(Debug, clap::Args)]
pub(super) struct Retry {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    subscription: Subscription,
    /// The event's position on the bus, as `hotdock events held` shows it
    #[arg(value_parser = argument::position)]
    position: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Count an event that waits as finished; its key goes on
#[derive(Debug, clap::Args)]
pub(super) struct Skip {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    subscription: Subscription,
    /// The event's position on the bus, as `hotdock events held` shows it
    #[arg(value_parser = argument::position)]
    position: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// End the pauses of the sources of a subscription whose events failed in a row, or that of
/// a webhook which did not consent or answered 410
#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    subscription: Subscription,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Deliver events to a subscription again.
///
/// From a position or a time up to the newest event there is now, beside what is
/// new. It is a subscription of its own while it lasts: what was done before is
/// done again.
#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    subscription: Subscription,
    /// Where it begins: a position on the bus, or a time as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "POSITION|TIME", value_parser = begin)]
    from: Value,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Drop a subscription that no version wants any more, with the events that it holds, or end a
/// replay
#[derive(Debug, clap::Args)]
pub(super) struct Drop {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    subscription: Subscription,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Retry {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let body = json!({ "position": self.position });
            post(host, &self.subscription, "/retry", &body).await?;
            if self.json {
                return told(&self.subscription, body);
            }
            said(&format!("{}: {} is delivered again", self.subscription.name(), self.position))
        })
    }
}

impl Skip {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let body = json!({ "position": self.position });
            post(host, &self.subscription, "/skip", &body).await?;
            if self.json {
                return told(&self.subscription, body);
            }
            said(&format!("{}: {} counts as finished", self.subscription.name(), self.position))
        })
    }
}

impl Resume {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let resumed = post(host, &self.subscription, "/resume", &json!({})).await?;
            if self.json {
                return told(&self.subscription, resumed);
            }
            let what = match resumed["was_paused"].as_bool() {
                Some(false) => "it was not paused; what waits for another attempt has it now",
                _ => "it delivers again",
            };
            said(&format!("{}: {what}", self.subscription.name()))
        })
    }
}

impl Replay {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let body = json!({ "from": self.from });
            let replay = post(host, &self.subscription, "/replay", &body).await?;
            if self.json {
                console::json(&replay.to_string())?;
                return Ok(ExitCode::SUCCESS);
            }
            let name = replay["subscription"].as_str().unwrap_or_default();
            said(&format!("{name}: from {} to {}", replay["from"], replay["until"]))
        })
    }
}

impl Drop {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let path = self.subscription.path("");
            let dropped = host.send(Method::DELETE, &path, &[], Bytes::new()).await?.body;
            if self.json {
                return told(&self.subscription, dropped);
            }
            let with = match dropped["held"].as_u64() {
                Some(0) => String::new(),
                Some(held) => format!(", and with it the {held} it held"),
                None => "; its store cannot be read, and what it held goes with it".to_owned(),
            };
            said(&format!("{}: it is gone{with}", self.subscription.name()))
        })
    }
}

async fn post(
    host: &Host,
    subscription: &Subscription,
    what: &str,
    body: &Value,
) -> anyhow::Result<Value> {
    let path = subscription.path(what);
    Ok(host.send_json(Method::POST, &path, &[], body).await?.body)
}

/// Prints as JSON of which subscription it was, with what else is known of it: what was asked for,
/// where the host answers nothing but that it is done.
fn told(subscription: &Subscription, mut what: Value) -> anyhow::Result<ExitCode> {
    if let Value::Object(fields) = &mut what {
        fields.insert("subscription".to_owned(), Value::String(subscription.name()));
    }
    console::json(&what.to_string())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn said(text: &str) -> anyhow::Result<ExitCode> {
    console::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// The host reads times; what is all digits is a position.
fn begin(text: &str) -> Result<Value, String> {
    if let Ok(position) = text.parse::<u64>() {
        return Ok(json!(position));
    }
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(_) => Ok(json!(text)),
        Err(error) => Err(format!(
            "a position on the bus, or a time such as 2026-01-31T08:00:00Z, expected: {error}"
        )),
    }
}
