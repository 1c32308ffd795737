//! `hotdock deployments`

use std::process::ExitCode;

use serde_json::Value;

use super::console::{self, table_sparing};
use super::remote::{Host, Remote, segment};
use super::status::{list, moment, origin, row, text};

/// Show the deployments since a host's start, or one with its steps
///
/// The newest is the first. One of them is shown with the times of its steps (UTC) and
/// with the reasons why it is held, was refused, rolled back or ended; those of refused
/// plugin files and uploads, too.
#[derive(Debug, clap::Args)]
pub(super) struct Deployments {
    #[command(flatten)]
    remote: Remote,
    /// Only this service's, or the one deployment of this id
    #[arg(value_name = "SERVICE|ID")]
    which: Option<String>,
    /// Print JSON, as /v1/deployments has it
    #[arg(long)]
    json: bool,
}

impl Deployments {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let found = match &self.which {
                Some(id) if uuid::Uuid::try_parse(id).is_ok() => {
                    host.get(&format!("/v1/deployments/{}", segment(id))).await?.body
                }
                Some(service) => of_service(host, service).await?,
                None => host.get("/v1/deployments").await?.body,
            };
            if self.json {
                console::json(&found.to_string())?;
            } else {
                console::tabled(&in_words(found))?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn of_service(host: &Host, service: &str) -> anyhow::Result<Value> {
    let found = host.get(&format!("/v1/deployments?service={}", segment(service))).await?.body;
    if found.as_array().is_some_and(Vec::is_empty) {
        host.knows(service).await?;
    }
    Ok(found)
}

fn in_words(mut found: Value) -> Vec<String> {
    if found.is_object() {
        return one(&found);
    }
    let all = list(&mut found);
    if all.is_empty() {
        return vec!["nothing was deployed since the host's start".to_owned()];
    }
    let mut rows = vec![row(["DEPLOYMENT", "SERVICE", "VERSION", "STATE", "BEGAN (UTC)", "FROM"])];
    for deployment in all {
        rows.push(vec![
            text(&deployment["id"]),
            text(&deployment["service"]),
            version(&deployment),
            text(&deployment["state"]),
            moment(&deployment["steps"][0]["at"]),
            origin(&deployment),
        ]);
    }
    table_sparing(&rows, &["FROM", "BEGAN (UTC)", "VERSION"])
}

/// What it is, then what happened when, and at its end why.
fn one(deployment: &Value) -> Vec<String> {
    let service = format!("{} {}", text(&deployment["service"]), version(deployment));
    let mut lines = vec![
        format!("deployment  {}", text(&deployment["id"])),
        format!("service     {}", service.trim_end()),
        format!("from        {}", origin(deployment)),
        format!("component   {}", text(&deployment["digest"])),
    ];
    for step in deployment["steps"].as_array().into_iter().flatten() {
        let what = match step["weight"].as_u64() {
            Some(weight) => format!("{weight} % of the traffic"),
            None => text(&step["step"]),
        };
        let note = step["note"].as_str().map(|note| format!("; {note}")).unwrap_or_default();
        lines.push(format!("{:<23}  {what}{note}", time(&step["at"])));
    }
    let state = text(&deployment["state"]);
    lines.push(format!("{:<23}  {state}", time(&deployment["ended_at"])));
    let reasons = deployment["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.extend(reasons.map(|reason| format!("{:<23}  - {reason}", "")));
    lines
}

fn version(deployment: &Value) -> String {
    deployment["version"].as_u64().map(|number| format!("v{number}")).unwrap_or_default()
}

/// `2026-01-31T08:00:00.123Z` as `2026-01-31 08:00:00.123`.
fn time(value: &Value) -> String {
    text(value).trim_end_matches('Z').replace('T', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_is_shown_with_its_steps_and_reasons() {
        let deployment = json!({
            "id": "0197", "service": "cart", "version": 3, "file": "cart.wasm", "digest": "ab",
            "state": "rolled-back", "reasons": ["too\u{1b}[2J slow"],
            "steps": [
                { "step": "received", "at": "2026-01-31T08:00:00.123Z" },
                { "step": "canary", "weight": 10, "note": "v2 loses its 50 %", "at": "2026-01-31T08:00:01.000Z" }
            ],
            "ended_at": "2026-01-31T08:00:09.000Z"
        });
        let expected = "\
deployment  0197
service     cart v3
from        cart.wasm
component   ab
2026-01-31 08:00:00.123  received
2026-01-31 08:00:01.000  10 % of the traffic; v2 loses its 50 %
2026-01-31 08:00:09.000  rolled-back
                         - too\u{1b}[2J slow";
        assert_eq!(in_words(deployment).join("\n"), expected);
    }
}
