//! `hotdock deploy`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName};
use serde_json::Value;

use super::argument::{self, Place};
use super::elapsed::Elapsed;
use super::registry::{self, Registry};
use super::remote::{Host, Refused, Remote, segment, value};
use super::{console, exit};
use crate::deploy::Pair;
use crate::digest::Digest;
use crate::escape;
use crate::manifest::{ManifestText, parse_steps};
use crate::name::ServiceName;
use crate::oci::{Pulled, Reference};

/// How often the deployment is looked at: at first, and when it takes longer.
const LOOK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// Deploy a component on a running host.
///
/// Waits until the version has the traffic, or of a canary its first share, or was refused. A
/// canary goes on without the command, as far as its steps lead; with --wait it is followed until it has the traffic, is
/// held or was rolled back. Ctrl-C ends the command alone: the deployment goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::DEPLOY_HELP)]
pub(super) struct Deploy {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    registry: Registry,
    /// The component, or where it is in a registry: oci://REGISTRY/REPOSITORY:TAG or …@DIGEST
    #[arg(value_name = "FILE.wasm", value_parser = argument::place())]
    component: Place,
    /// Its manifest [default: FILE.toml, if it exists, else the embedded one]
    #[arg(long, value_name = "FILE.toml")]
    manifest: Option<PathBuf>,
    /// The service [default: as the manifest says, else as the file is called]
    #[arg(long, value_name = "SERVICE", value_parser = argument::service)]
    name: Option<ServiceName>,
    /// Step by step: by these shares, as 10% or 1%,10%,50%,100%, the last of which is held if it is
    /// not 100%; without shares as the manifest says or by default
    #[arg(long, value_name = "SHARES", num_args = 0..=1, default_missing_value = "true",
          value_parser = canary)]
    canary: Option<String>,
    /// All at once, also where the manifest asks for a canary
    #[arg(long, conflicts_with = "canary")]
    at_once: bool,
    /// Also where it lacks or changes what the version that serves has for others; `[deploy]
    /// allow-breaking = true` in its manifest allows it, too
    #[arg(long)]
    allow_breaking: bool,
    /// Follow a canary to its end, or until it is held
    #[arg(long)]
    wait: bool,
    /// Don't wait: print the deployment's id
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Print the deployment as JSON, once it is waited for no longer
    #[arg(long)]
    json: bool,
}

impl Deploy {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| Box::pin(self.deploy(host)).await)
    }

    async fn deploy(&self, host: &Host) -> anyhow::Result<ExitCode> {
        let (pair, reference) = self.pair().await?;
        let service = match pair.manifest {
            Ok((_, manifest)) if self.name.as_ref().is_some_and(|it| *it != manifest.service) => {
                let reason = format!(
                    "its manifest names the service {}: change that, or leave --name out",
                    manifest.service
                );
                console::refused("it cannot be deployed", &[reason]);
                return Ok(ExitCode::from(exit::REFUSED));
            }
            Ok((_, manifest)) => manifest.service,
            Err(reasons) => {
                let given = match &self.component {
                    Place::File(file) => escape::path(file),
                    Place::Registry(reference) => reference.to_string(),
                };
                console::refused(&format!("{given} cannot be deployed"), &reasons);
                return Ok(ExitCode::from(exit::REFUSED));
            }
        };
        let (kind, body) = body(pair.component, pair.beside);
        let digest = STANDARD.encode(Digest::of(&body).as_bytes());
        let headers = [
            (CONTENT_TYPE, kind),
            (HeaderName::from_static("content-digest"), format!("sha-256=:{digest}:")),
        ];
        let query = self.query(reference.as_ref());
        let path = format!("/v1/services/{}?{query}", segment(service.as_str()));
        let reply = host.send(Method::PUT, &path, &headers, body).await;
        let reply = reply.map_err(|error| told_more(error, &service))?;
        let id = reply.body["id"].as_str().context("the host named no deployment")?;
        if self.no_wait {
            if self.json {
                console::json(&reply.body.to_string())?
            } else {
                console::print(id)?
            }
            return Ok(ExitCode::SUCCESS);
        }
        let deployment = tokio::select! {
            deployment = self.follow(host, id) => deployment?,
            // Whoever has seen enough is told that the host goes on.
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("signals")?;
                console::notes(&left_to_itself(&service, id));
                return Ok(ExitCode::from(exit::INTERRUPTED));
            }
        };
        if self.json {
            console::json(&deployment.to_string())?;
        }
        Ok(outcome(&deployment))
    }

    /// The component with its manifest, and where it was if that is a registry.
    async fn pair(&self) -> anyhow::Result<(Pair, Option<Reference>)> {
        let wanted = match &self.component {
            Place::Registry(reference) => reference,
            Place::File(file) => {
                let pair = match &self.name {
                    Some(name) => Pair::read_as(name.as_str(), file, self.manifest.as_deref()),
                    None => Pair::read(file, self.manifest.as_deref()),
                };
                return Ok((pair.map_err(exit::Unusable)?, None));
            }
        };
        let Pulled { component, reference } = self.registry.pull(wanted).await?;
        if !self.json && !self.no_wait {
            console::print(&format!("  {reference}"))?;
        }
        Ok((registry::pair(wanted, component, self.manifest.as_ref())?, Some(reference)))
    }

    fn query(&self, reference: Option<&Reference>) -> String {
        let canary = self.canary.as_deref().or(self.at_once.then_some("false"));
        let keys = [
            canary.map(|canary| format!("canary={canary}")),
            self.allow_breaking.then(|| "allow_breaking=true".to_owned()),
            reference.map(|reference| format!("reference={}", value(&reference.to_string()))),
        ];
        keys.into_iter().flatten().collect::<Vec<_>>().join("&")
    }

    /// Shows each step until nothing more happens by itself, or until a canary has its first
    /// share.
    async fn follow(&self, host: &Host, id: &str) -> anyhow::Result<Value> {
        let path = format!("/v1/deployments/{}", segment(id));
        let (mut shown, mut wait) = (0, LOOK.0);
        let mut elapsed = Elapsed::new(!self.json);
        loop {
            let deployment = host.get(&path).await?.body;
            let steps = deployment["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
            elapsed.clear(steps.len() > shown || deployment["state"] != "running")?;
            for step in steps.get(shown..).unwrap_or_default() {
                if !self.json {
                    console::print(&step_in_words(&deployment, step))?;
                }
            }
            wait = if steps.len() > shown { LOOK.0 } else { (wait * 2).min(LOOK.1) };
            shown = steps.len();
            if deployment["state"] != "running" {
                if !self.json {
                    console::lines(&end_in_words(&deployment))?;
                }
                return Ok(deployment);
            }
            if !self.wait && steps.iter().any(|step| step["weight"].is_u64()) {
                if !self.json {
                    let service = deployment["service"].as_str().unwrap_or_default();
                    // It may be gone again: then it is not said how it would have gone on.
                    let service = host.get(&format!("/v1/services/{}", segment(service))).await;
                    let service = service.map(|reply| reply.body).unwrap_or_default();
                    console::lines(&on_trial(&deployment, id, &service["canary"]["steps"]))?;
                }
                return Ok(deployment);
            }
            elapsed.show()?;
            tokio::time::sleep(wait).await;
        }
    }
}

/// Where another deployment is in the way, the host names what programs ask for; people have a
/// command.
fn told_more(error: anyhow::Error, service: &ServiceName) -> anyhow::Error {
    let more = format!("`hotdock deployments {service}` says how that goes");
    match error.downcast::<Refused>() {
        Ok(refused) if refused.is_in_the_way() => refused.with(&more).into(),
        Ok(refused) => refused.into(),
        Err(error) => error,
    }
}

/// The shares, checked before anything is sent.
fn canary(text: &str) -> Result<String, String> {
    if text != "true" {
        parse_steps(text.split(','))?;
    }
    Ok(text.replace('%', ""))
}

/// The component alone, or a form with the manifest.
fn body(component: Vec<u8>, manifest: Option<ManifestText>) -> (String, Bytes) {
    let Some(manifest) = manifest else {
        return ("application/wasm".to_owned(), Bytes::from(component));
    };
    // Not to be found in either of them.
    let boundary = format!("hotdock-{}", uuid::Uuid::new_v4().simple());
    let part = |name: &str, kind: &str| {
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\
             Content-Type: {kind}\r\n\r\n"
        )
    };
    let mut body = part("manifest", "application/toml").into_bytes();
    body.extend(manifest.text.into_bytes());
    body.extend(b"\r\n");
    body.extend(part("component", "application/wasm").into_bytes());
    body.extend(component);
    body.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
    (format!("multipart/form-data; boundary={boundary}"), Bytes::from(body))
}

fn step_in_words(deployment: &Value, step: &Value) -> String {
    let service = deployment["service"].as_str().unwrap_or_default();
    let name = step["step"].as_str().unwrap_or_default();
    match (deployment["version"].as_u64(), step["weight"].as_u64()) {
        (Some(version), Some(weight)) => {
            let note = step["note"].as_str().map(|note| format!("; {note}")).unwrap_or_default();
            format!("  {service} v{version}: {weight} % of the traffic{note}")
        }
        _ => format!("  {service}: {name}"),
    }
}

/// What comes next of a canary that is under way, and what can be done about it.
fn on_trial(deployment: &Value, id: &str, steps: &Value) -> Vec<String> {
    let service = deployment["service"].as_str().unwrap_or_default();
    let version = deployment["version"].as_u64().unwrap_or_default();
    let steps = steps.as_array().map(Vec::as_slice).unwrap_or_default();
    let next = match (steps, steps.last().and_then(Value::as_u64)) {
        ([_], Some(last)) if last < 100 => format!("it stays at {last} % until you decide"),
        (_, Some(last)) if last < 100 => {
            format!("it goes on by itself to {last} %, and stays there until you decide")
        }
        (_, Some(_)) => "it goes on by itself until it has all of the traffic".to_owned(),
        (_, None) => "it goes on as its steps say".to_owned(),
    };
    vec![
        format!("  on trial; {next}; where it does worse than the old version it loses its share"),
        format!(
            "  `hotdock promote {service} v{version}` gives it all of the traffic, `hotdock rollback \
             {service}` takes its share back, `hotdock deployments {id}` says how it goes"
        ),
    ]
}

/// What can be done about a deployment that is followed no longer.
fn left_to_itself(service: &ServiceName, id: &str) -> Vec<String> {
    vec![
        format!("hotdock: the deployment {id} goes on without this command"),
        format!(
            "  `hotdock deployments {id}` says how it goes, `hotdock rollback {service}` calls it \
             off, or `hotdock undeploy {service}` where nothing served before"
        ),
    ]
}

fn end_in_words(deployment: &Value) -> Vec<String> {
    let state = deployment["state"].as_str().unwrap_or_default();
    let said = match state {
        "serving" => return Vec::new(),
        "held" => {
            let service = deployment["service"].as_str().unwrap_or_default();
            let version = deployment["version"].as_u64().unwrap_or_default();
            format!(
                "held, it waits for `hotdock promote {service} v{version}` or `hotdock rollback \
                 {service}`"
            )
        }
        "rolled-back" => "rolled back".to_owned(),
        other => other.to_owned(),
    };
    let reasons = deployment["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let reasons = reasons.flat_map(|reason| console::indented("    - ", "      ", reason));
    [format!("  {said}")].into_iter().chain(reasons).collect()
}

fn outcome(deployment: &Value) -> ExitCode {
    match deployment["state"].as_str().unwrap_or_default() {
        // Running: a canary that is not followed.
        "serving" | "held" | "running" => ExitCode::SUCCESS,
        "refused" => ExitCode::from(exit::REFUSED),
        "rolled-back" => ExitCode::from(exit::ROLLED_BACK),
        _ => ExitCode::from(exit::CONFLICT),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_comes_next_of_a_canary_is_as_its_steps_say() {
        for (steps, next) in [
            (json!([10]), "it stays at 10 % until you decide; where"),
            (json!([1, 50]), "it goes on by itself to 50 %, and stays there until you decide;"),
            (json!([1, 100]), "it goes on by itself until it has all of the traffic;"),
            (Value::Null, "it goes on as its steps say;"),
        ] {
            let said = on_trial(&json!({"service": "cart", "version": 3}), "1", &steps);
            assert!(said[0].contains(next), "{said:?}");
            // Not whichever is on trial by then.
            assert!(said[1].contains("`hotdock promote cart v3`"), "{said:?}");
        }
    }

    #[test]
    fn shares_are_checked_before_anything_is_sent() {
        assert_eq!(canary("10%").as_deref(), Ok("10"));
        assert_eq!(canary("1%,10%,100%").as_deref(), Ok("1,10,100"));
        assert_eq!(canary("true").as_deref(), Ok("true"));
        assert!(canary("cart.wasm").is_err());
    }
}
