//! `hotdock status` and `hotdock versions`

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::argument;
use super::console::{self, Screen, counted, table_sparing};
use super::remote::{Host, Refused, Remote, segment};
use super::steer::besides_weights;
use crate::name::ServiceName;
use crate::service::TrafficPlan;

/// How often `--watch` looks.
const WATCH: Duration = Duration::from_secs(1);

/// The columns that a narrow terminal has no room for.
const SPARE: [&str; 3] = ["ROUTES", "DIGEST", "FROM"];

/// Show the services of a running host, and how their traffic is shared.
///
/// Where there is only an upload of one, which is on its way or was refused, it shows that.
///
/// On a terminal it stays, and shows what becomes of it, for as long as something
/// is under way: a candidate, a canary that waits for nobody, a drain.
///
/// REQUESTS, ERRORS, EVENTS and FAILED count since the version was loaded: they begin at 0 after
/// a restart, and after a rollback to a version that had drained.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    remote: Remote,
    /// Only this service
    #[arg(value_parser = argument::service)]
    service: Option<ServiceName>,
    /// Print JSON, as /v1/services has it
    #[arg(long)]
    json: bool,
    /// Go on for good: look every second, on a terminal in place
    #[arg(long)]
    watch: bool,
}

/// Show the versions of a service that are kept
#[derive(Debug, clap::Args)]
pub(super) struct Versions {
    #[command(flatten)]
    remote: Remote,
    /// The service
    #[arg(value_parser = argument::service)]
    service: ServiceName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let live = !self.json && console::is_terminal();
        self.remote.run(async |host| {
            let mut screen = Screen::default();
            loop {
                let Look { text, moves } = self.look(host).await?;
                match text {
                    Said::Json(text) => console::json(&text)?,
                    Said::Words(lines) if live => screen.show(&lines)?,
                    Said::Words(lines) => console::tabled(&lines)?,
                }
                let goes_on = self.watch || live && moves;
                if !goes_on {
                    return Ok(ExitCode::SUCCESS);
                }
                tokio::time::sleep(WATCH).await;
            }
        })
    }

    async fn look(&self, host: &Host) -> anyhow::Result<Look> {
        let path = match &self.service {
            Some(name) => format!("/v1/services/{}", segment(name.as_str())),
            None => "/v1/services".to_owned(),
        };
        if self.json {
            let status = match &self.service {
                Some(name) => one(host, &path, name).await?,
                None => host.get(&path).await?.body,
            };
            return Ok(Look { text: Said::Json(status.to_string()), moves: false });
        }
        let mut status = host.get("/v1/services").await?.body;
        let (services, files) = match &self.service {
            Some(name) => {
                let (mut services, files) = only(name, status);
                if services.is_empty() && files.is_empty() {
                    // It says why there is none.
                    services.push(host.get(&path).await?.body);
                }
                (services, files)
            }
            None => (services_and_uploads(&mut status), list(&mut status["files"])),
        };
        let moves = services.iter().chain(&files).any(is_under_way);
        Ok(Look { text: Said::Words(in_words(&services, &files)), moves })
    }
}

/// What there was to see at a moment.
struct Look {
    text: Said,
    /// Whether it is about to be otherwise, by itself.
    moves: bool,
}

enum Said {
    Json(String),
    Words(Vec<String>),
}

/// One service; where there is only an upload that would be its first version, that.
async fn one(host: &Host, path: &str, name: &ServiceName) -> anyhow::Result<Value> {
    let absent = match host.get(path).await {
        Ok(found) => return Ok(found.body),
        Err(error) => error,
    };
    if !absent.downcast_ref::<Refused>().is_some_and(Refused::is_not_found) {
        return Err(absent);
    }
    let uploads = list(&mut host.get("/v1/services").await?.body["uploads"]);
    uploads.into_iter().find(|upload| upload["name"] == name.as_str()).ok_or(absent)
}

/// What there is of one service: itself, or an upload that would be it, and the files that would
/// be it and serve nothing.
fn only(name: &ServiceName, mut status: Value) -> (Vec<Value>, Vec<Value>) {
    let named = |all: Vec<Value>, key: &str| -> Vec<Value> {
        all.into_iter().filter(|each| each[key] == name.as_str()).collect()
    };
    let services = services_and_uploads(&mut status);
    (named(services, "name"), named(list(&mut status["files"]), "service"))
}

/// The services, and those that there would be once their first upload came to serve.
fn services_and_uploads(status: &mut Value) -> Vec<Value> {
    [list(&mut status["services"]), list(&mut status["uploads"])].concat()
}

fn is_under_way(of: &Value) -> bool {
    of["candidate"].is_object() || of["canary"]["held"] == false || of["draining"].is_array()
}

impl Versions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let path = format!("/v1/services/{}/versions", segment(self.service.as_str()));
            let mut versions = host.get(&path).await?.body;
            if self.json {
                console::json(&versions.to_string())?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut rows =
                vec![row(["VERSION", "TRAFFIC", "DIGEST", "DEPLOYED (UTC)", "FROM", "NOTE"])];
            for version in list(&mut versions) {
                let note = version["rolled_back"].as_str();
                rows.push(vec![
                    format!("v{}", version["version"]),
                    percent(&version),
                    digest(&version),
                    moment(&version["deployed_at"]),
                    origin(&version),
                    note.map(|reason| format!("rolled back: {reason}")).unwrap_or_default(),
                ]);
            }
            console::tabled(&table_sparing(&rows, &SPARE))?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// A row per version with traffic, and below it what is on its way or was refused.
fn in_words(services: &[Value], files: &[Value]) -> Vec<String> {
    if services.is_empty() && files.is_empty() {
        return vec!["nothing is deployed".to_owned()];
    }
    let mut head =
        row(["SERVICE", "VERSION", "TRAFFIC", "REQUESTS", "ERRORS", "DIGEST", "FROM", "ROUTES"]);
    let has_events =
        services.iter().flat_map(versions).any(|version| version["deliveries"].as_u64() > Some(0));
    if has_events {
        head.splice(EVENTS_AT..EVENTS_AT, row(["EVENTS", "FAILED"]));
    }
    let mut rows = vec![head];
    let mut notes = Vec::new();
    for service in services {
        let name = text(&service["name"]);
        for version in versions(service) {
            let mut cells = vec![
                name.clone(),
                format!("v{}", version["version"]),
                percent(version),
                version["requests"].to_string(),
                version["errors"].to_string(),
                digest(version),
                origin(version),
                routes(version),
            ];
            if has_events {
                let events = ["deliveries", "delivery_errors"].map(|key| version[key].to_string());
                cells.splice(EVENTS_AT..EVENTS_AT, events);
            }
            rows.push(cells);
        }
        if let Ok(plan) = serde_json::from_value::<TrafficPlan>(service["traffic"].clone()) {
            notes.extend(besides_weights(&plan).iter().map(|rest| format!("{name}: {rest}")));
        }
        for draining in service["draining"].as_array().into_iter().flatten() {
            let (version, leases) = (&draining["version"], &draining["leases"]);
            let leases = leases.as_u64().unwrap_or(0);
            let (requests, go) =
                (counted(leases, "request"), if leases == 1 { "goes" } else { "go" });
            notes.push(format!("{name} v{version} drains: {requests} {go} on"));
        }
        if let Some(weight) = service["canary"]["steps"].get(step_of(service))
            && service["canary"]["held"] == false
        {
            let canary = &service["canary"];
            let (new, steps) = (&canary["new"], canary["steps"].as_array().map_or(0, Vec::len));
            notes.push(format!(
                "{name} v{new}: canary at {weight} %, step {} of {steps}",
                step_of(service) + 1
            ));
        }
        notes.extend(news(&name, service));
    }
    for file in files {
        notes.extend(news(&text(&file["file"]), file));
    }
    let table = if rows.len() > 1 { table_sparing(&rows, &SPARE) } else { Vec::new() };
    [table, notes].concat()
}

/// Where what is told of events goes, before the digest.
const EVENTS_AT: usize = 5;

/// The versions that have traffic.
fn versions(service: &Value) -> impl Iterator<Item = &Value> {
    let serving = service["serving"].as_object().map(|_| &service["serving"]);
    serving.into_iter().chain(service["sharing"].as_array().into_iter().flatten())
}

/// The first of its routes, and how many more there are.
fn routes(version: &Value) -> String {
    let routes: Vec<&str> =
        version["routes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match routes.as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    }
}

/// Which step of its canary the service is at.
fn step_of(service: &Value) -> usize {
    service["canary"]["step"].as_u64().and_then(|step| step.try_into().ok()).unwrap_or(0)
}

/// What is on its way, waits for the operator or was refused.
fn news(name: &str, of: &Value) -> Vec<String> {
    let mut news = Vec::new();
    if let Some(step) = of["candidate"]["step"].as_str() {
        news.push(format!("{name}: a candidate is at {step}"));
    }
    if of["canary"]["held"] == true {
        news.push(format!(
            "{name} v{new}: its canary waits for `hotdock promote {name} v{new}` or `hotdock rollback \
             {name}`",
            new = of["canary"]["new"]
        ));
    }
    let version = &of["deployment"]["version"];
    // An operator may have given it traffic again.
    if of["deployment"]["state"] == "rolled-back" && !has_share(of, version) {
        news.push(format!("{name} v{version} was rolled back: {}", reasons(&of["deployment"])));
    }
    if let Some(reason) = of["store"].as_str() {
        news.push(format!("{name}: what needs its store fails: {reason}"));
    }
    if let Some(reason) = of["lost"].as_str() {
        news.push(format!("{name} could not be restored: {reason}"));
    }
    // One of a file is among the file's refusals, also after a restart.
    if of["deployment"]["state"] == "refused" && of["deployment"]["file"].is_null() {
        news.push(format!("{name}: an upload was refused: {}", reasons(&of["deployment"])));
    }
    if of["pending"].is_object() {
        let pending = &of["pending"];
        news.push(format!("{} is pending: {}", text(&pending["file"]), reasons(pending)));
    }
    if of["refusal"].is_object() {
        let refusal = &of["refusal"];
        news.push(format!("{} is refused: {}", text(&refusal["file"]), reasons(refusal)));
    }
    news
}

fn has_share(service: &Value, version: &Value) -> bool {
    let mut shares = service["traffic"]["versions"].as_array().into_iter().flatten();
    shares.any(|share| share["version"] == *version)
}

fn reasons(of: &Value) -> String {
    let reasons = of["reasons"].as_array().into_iter().flatten();
    reasons.filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
}

pub(super) fn list(value: &mut Value) -> Vec<Value> {
    match value.take() {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn percent(version: &Value) -> String {
    format!("{} %", version["weight"])
}

fn digest(version: &Value) -> String {
    text(&version["digest"]).chars().take(12).collect()
}

/// Without the fraction of a second.
pub(super) fn moment(value: &Value) -> String {
    text(value).split('.').next().unwrap_or_default().replace('T', " ")
}

pub(super) fn origin(version: &Value) -> String {
    let known = ["file", "reference", "origin"].map(|key| version[key].as_str());
    let from = known.into_iter().flatten().next().unwrap_or_default();
    match version["who"].as_str() {
        // A deployment says nothing of where an upload was from.
        Some(who) if from.is_empty() => format!("upload by {who}"),
        Some(who) => format!("{from} by {who}"),
        None => from.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rolled_back_version_that_has_traffic_again_is_no_news() {
        let cart = |version: u64| {
            json!({
                "traffic": { "versions": [{ "version": version, "weight": 100 }] },
                "deployment": { "state": "rolled-back", "version": 5, "reasons": ["too slow"] }
            })
        };
        assert_eq!(news("cart", &cart(4)), ["cart v5 was rolled back: too slow"]);
        assert!(news("cart", &cart(5)).is_empty(), "the operator promoted it");
    }

    #[test]
    fn a_refused_upload_is_news_for_as_long_as_it_is_the_latest() {
        let deployment = |service: &str, state: &str| json!({ "service": service, "state": state, "reasons": ["no"] });
        let cart = json!({ "name": "cart", "deployment": deployment("cart", "refused") });
        let shown = in_words(std::slice::from_ref(&cart), &[]);
        assert_eq!(shown, ["cart: an upload was refused: no"]);
        let (candidate, running) = (json!({ "step": "compiling" }), deployment("order", "running"));
        let order = json!({ "name": "order", "candidate": candidate, "deployment": running });
        assert!(is_under_way(&order), "it is looked at again");
        let status = json!({ "services": [], "files": [], "uploads": [cart, order] });
        let order: ServiceName = "order".parse().expect("a name");
        let (found, files) = only(&order, status.clone());
        assert_eq!(in_words(&found, &files), ["order: a candidate is at compiling"]);
        assert_eq!(services_and_uploads(&mut status.clone()).len(), 2);
    }
}
