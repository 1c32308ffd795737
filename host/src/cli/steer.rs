//! `hotdock promote`, `rollback`, `traffic` and `undeploy`

use std::process::ExitCode;

use http::Method;
use http::header::{ETAG, HeaderName, IF_MATCH};
use serde_json::{Value, json};

use super::remote::{Host, Remote, Reply, segment};
use super::{argument, console, exit};
use crate::manifest::Sticky;
use crate::manifest::parse_sticky;
use crate::name::ServiceName;
use crate::service::{Rule, Share, TrafficPlan};

/// Give a version all of its service's traffic
#[derive(Debug, clap::Args)]
#[command(after_help = exit::STEER_HELP)]
pub(super) struct Promote {
    #[command(flatten)]
    remote: Remote,
    /// The service
    #[arg(value_parser = argument::service)]
    service: ServiceName,
    /// The version, as 3 or v3 [default: the one on trial]
    #[arg(value_parser = version)]
    version: Option<u64>,
    /// Print the service as JSON
    #[arg(long)]
    json: bool,
}

/// Call off a deployment on its way, or else give an earlier version all of the traffic back.
///
/// A deployment that has no traffic yet is called off, and the traffic stays where it is; a second
/// rollback moves it. Where a version is named or one is on trial, the traffic moves at once.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::STEER_HELP)]
pub(super) struct Rollback {
    #[command(flatten)]
    remote: Remote,
    /// The service
    #[arg(value_parser = argument::service)]
    service: ServiceName,
    /// The version, as 3 or v3 [default: the one that served before]
    #[arg(value_parser = version)]
    version: Option<u64>,
    /// Why; kept with the version that loses the traffic
    #[arg(long)]
    reason: Option<String>,
    /// Print the service as JSON, with what was called off and whether the traffic moved
    #[arg(long)]
    json: bool,
}

/// Show how a service's traffic is shared, or share it anew
#[derive(Debug, clap::Args)]
#[command(after_help = exit::STEER_HELP)]
pub(super) struct Traffic {
    #[command(flatten)]
    remote: Remote,
    /// The service
    #[arg(value_parser = argument::service)]
    service: ServiceName,
    /// Shares that sum up to 100, as 1=90 2=10; without any they stay
    #[arg(value_name = "VERSION=PERCENT", value_parser = share)]
    shares: Vec<Share>,
    /// What keeps a client on one version: cookie, header:NAME or none [default: as it was]
    #[arg(long, value_parser = sticky)]
    sticky: Option<Stickiness>,
    /// Requests with this header go to this version; replaces the rules that there were
    #[arg(long = "rule", value_name = "HEADER:VALUE=VERSION", value_parser = rule)]
    rules: Vec<Rule>,
    /// Forget the rules that there were
    #[arg(long, conflicts_with = "rules")]
    no_rules: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--sticky` says.
#[derive(Clone, Debug)]
enum Stickiness {
    None,
    By(Sticky),
}

/// Undeploy a service; its state, its versions and its file are kept.
///
/// A newer deployment brings it back, also of a component that it had before; promote and
/// rollback share the traffic of what is deployed.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::STEER_HELP)]
pub(super) struct Undeploy {
    #[command(flatten)]
    remote: Remote,
    /// The service
    #[arg(value_parser = argument::service)]
    service: ServiceName,
    /// Also where other services import from it: their calls fail from then on
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Promote {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let body = json!({ "version": self.version });
            let path = path(&self.service, "/promote");
            let promoted = host.send_json(Method::POST, &path, &[], &body).await?.body;
            if self.json {
                console::json(&promoted.to_string())?;
            } else {
                say(&promoted)?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Rollback {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let body = json!({ "version": self.version, "reason": self.reason });
            let path = path(&self.service, "/rollback");
            let rolled_back = host.send_json(Method::POST, &path, &[], &body).await?.body;
            if self.json {
                console::json(&rolled_back.to_string())?;
                return Ok(ExitCode::SUCCESS);
            }
            if let Some(line) = called_off(&rolled_back) {
                console::print(&line)?;
            }
            if rolled_back["traffic_moved"] != false {
                say(&rolled_back)?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Traffic {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let now = host.get(&path(&self.service, "")).await?;
            let changes = !self.shares.is_empty()
                || self.sticky.is_some()
                || !self.rules.is_empty()
                || self.no_rules;
            let service = if changes { self.change(host, &now).await? } else { now.body };
            if self.json {
                console::json(&service["traffic"].to_string())?;
            } else {
                say(&service)?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    /// Changes what was asked for of what there is, if nobody else did meanwhile.
    async fn change(&self, host: &Host, now: &Reply) -> anyhow::Result<Value> {
        let mut plan: TrafficPlan = serde_json::from_value(now.body["traffic"].clone())?;
        if !self.shares.is_empty() {
            plan.versions = self.shares.clone();
            plan.rules.retain(|rule| self.shares.iter().any(|share| share.version == rule.version));
        }
        if !self.rules.is_empty() || self.no_rules {
            plan.rules = self.rules.clone();
        }
        if let Some(sticky) = &self.sticky {
            plan.sticky = match sticky {
                Stickiness::None => None,
                Stickiness::By(sticky) => Some(sticky.clone()),
            };
        }
        let tag = now.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or("*");
        let headers: [(HeaderName, String); 1] = [(IF_MATCH, tag.to_owned())];
        let body = serde_json::to_value(&plan)?;
        let path = path(&self.service, "/traffic");
        Ok(host.send_json(Method::PUT, &path, &headers, &body).await?.body)
    }
}

impl Undeploy {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let path = path(&self.service, if self.force { "?force=true" } else { "" });
            host.send(Method::DELETE, &path, &[], bytes::Bytes::new()).await?;
            if self.json {
                console::json(&json!({ "name": self.service.as_str() }).to_string())?;
            } else {
                console::print(&format!("{}: undeployed; its state is kept", self.service))?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn path(service: &ServiceName, rest: &str) -> String {
    format!("/v1/services/{}{rest}", segment(service.as_str()))
}

/// What a rollback called off, if it did, and who has the traffic then.
fn called_off(rolled_back: &Value) -> Option<String> {
    let ids: Vec<&str> =
        rolled_back["called_off"].as_array()?.iter().filter_map(Value::as_str).collect();
    let name = rolled_back["name"].as_str().unwrap_or_default();
    let kept = match (rolled_back["traffic_moved"] == false, &rolled_back["serving"]["version"]) {
        (true, Value::Number(version)) => format!("; version {version} keeps the traffic"),
        _ => String::new(),
    };
    Some(format!("{name}: called off {}{kept}", ids.join(", ")))
}

/// How the service's traffic is shared now.
fn say(service: &Value) -> std::io::Result<()> {
    let name = service["name"].as_str().unwrap_or_default();
    let Ok(plan) = serde_json::from_value::<TrafficPlan>(service["traffic"].clone()) else {
        return console::print(&format!("{name}: it has no traffic"));
    };
    let shares = plan.versions.iter().map(|share| format!("v{} {} %", share.version, share.weight));
    let mut lines = vec![format!("{name}: {}", shares.collect::<Vec<_>>().join(", "))];
    lines.extend(besides_weights(&plan).iter().map(|line| format!("  {line}")));
    console::lines(&lines)
}

/// What decides before the weights do.
pub(super) fn besides_weights(plan: &TrafficPlan) -> Vec<String> {
    let rule =
        |Rule { header, value, version }: &Rule| format!("{header}: {value} goes to v{version}");
    let sticky = plan.sticky.as_ref().map(|sticky| match sticky {
        Sticky::Cookie => "a client stays by cookie".to_owned(),
        Sticky::Header(name) => format!("a client stays by the header {name}"),
    });
    plan.rules.iter().map(rule).chain(sticky).collect()
}

pub(super) fn version(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix('v').unwrap_or(text).parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "a version is a number such as 3 or v3".to_owned())
}

fn share(text: &str) -> Result<Share, String> {
    let parsed = text.split_once('=').and_then(|(number, weight)| {
        let weight = weight.strip_suffix('%').unwrap_or(weight).parse().ok()?;
        Some(Share { version: version(number).ok()?, weight })
    });
    let parsed = parsed.filter(|share| share.weight <= 100);
    parsed.ok_or_else(|| "a share is VERSION=PERCENT such as 2=10".to_owned())
}

fn rule(text: &str) -> Result<Rule, String> {
    let parsed = text.rsplit_once('=').and_then(|(matched, number)| {
        let (header, value) = matched.split_once(':')?;
        let (header, value) = (header.trim().to_owned(), value.trim().to_owned());
        Some(Rule { header, value, version: version(number).ok()? })
    });
    parsed.ok_or_else(|| "a rule is HEADER:VALUE=VERSION such as x-beta:yes=2".to_owned())
}

fn sticky(text: &str) -> Result<Stickiness, String> {
    if text == "none" { Ok(Stickiness::None) } else { parse_sticky(text).map(Stickiness::By) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_says_what_it_called_off_and_who_keeps_the_traffic() {
        let told = |moved: bool| {
            json!({ "name": "cart", "serving": { "version": 2 }, "called_off": ["a1"],
                    "traffic_moved": moved })
        };
        let kept = "cart: called off a1; version 2 keeps the traffic";
        assert_eq!(called_off(&told(false)).as_deref(), Some(kept));
        assert_eq!(called_off(&told(true)).as_deref(), Some("cart: called off a1"));
        assert_eq!(called_off(&json!({ "name": "cart", "traffic_moved": true })), None);
    }

    #[test]
    fn shares_and_rules_are_read_as_they_are_written() {
        assert_eq!(share("2=10%"), Ok(Share { version: 2, weight: 10 }));
        assert_eq!(share("v2=10"), Ok(Share { version: 2, weight: 10 }));
        for wrong in ["2", "2=x", "0=1", "2=101"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
        let expected = Rule { header: "x-q".to_owned(), value: "a=b".to_owned(), version: 3 };
        assert_eq!(rule("x-q: a=b=3"), Ok(expected));
        assert!(rule("x-q=3").is_err());
    }
}
