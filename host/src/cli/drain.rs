//! `hotdock drain`

use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::remote::{Host, Remote, segment};
use super::{argument, console, steer};
use crate::name::ServiceName;

/// How often it is looked whether they are gone.
const LOOK: Duration = Duration::from_millis(50);

/// End what is still on a service's versions that have no traffic any more.
///
/// A version that lost its traffic drains: requests under way go on, at most for its
/// `[deploy] drain`. This sets another end, and waits for it. To take a version's
/// traffic from it, share it among others: promote, rollback or traffic.
#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    #[command(flatten)]
    remote: Remote,
    /// The service
    #[arg(value_parser = argument::service)]
    service: ServiceName,
    /// The version, as 3 or v3 [default: all that drain]
    #[arg(value_parser = steer::version)]
    version: Option<u64>,
    /// How long requests may go on, as 30s
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = argument::duration)]
    within: Duration,
    /// Don't wait until they are gone
    #[arg(long)]
    no_wait: bool,
}

impl Drain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.remote.run(async |host| {
            let path = format!("/v1/services/{}", segment(self.service.as_str()));
            let within = u64::try_from(self.within.as_millis()).unwrap_or(u64::MAX);
            let body = json!({ "version": self.version, "within_ms": within });
            let told = host.send_json(Method::POST, &format!("{path}/drain"), &[], &body).await?;
            let mut draining = self.wanted(&told.body);
            if draining.is_empty() {
                console::print(&format!("{}: nothing drains", self.service))?;
            }
            for version in &draining {
                console::print(&format!("{} v{version} drains", self.service))?;
            }
            while !self.no_wait && !draining.is_empty() {
                tokio::time::sleep(LOOK).await;
                let still = self.wanted(&service(host, self.service.as_str()).await?);
                for version in draining.iter().filter(|version| !still.contains(version)) {
                    console::print(&format!("{} v{version} is gone", self.service))?;
                }
                draining.retain(|version| still.contains(version));
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    /// The versions that drain, as far as they are meant.
    fn wanted(&self, service: &Value) -> Vec<u64> {
        let draining = service["draining"].as_array().into_iter().flatten();
        let numbers = draining.filter_map(|each| each["version"].as_u64());
        numbers.filter(|number| self.version.is_none_or(|version| version == *number)).collect()
    }
}

/// One service; null once it is gone with the last of its versions.
async fn service(host: &Host, name: &str) -> anyhow::Result<Value> {
    let mut status = host.get("/v1/services").await?.body;
    let services = status["services"].as_array_mut();
    let found = services.and_then(|all| all.iter_mut().find(|each| each["name"] == name));
    Ok(found.map(Value::take).unwrap_or_default())
}
