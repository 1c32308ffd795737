//! `--dependents` of `hotdock check` and `hotdock diff`: which services of a running host would
//! lose what they import.

use std::path::Path;
use std::process::ExitCode;

use super::remote::Remote;
use super::status::{list, text};
use crate::deploy::{UsedInterface, exported, lost};

/// Whether a host is asked, and which.
#[derive(Debug, clap::Args)]
pub(super) struct Dependents {
    /// Ask the host at --admin, too: which services there would lose what they import
    #[arg(long)]
    dependents: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Dependents {
    /// What deployed services would lose if the component were deployed; nothing where nobody
    /// is to be asked, or it cannot be read: that is said by who looks at it.
    pub(super) fn of(&self, file: &Path) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        if !self.dependents {
            return Ok(found);
        }
        let Ok((service, provides)) = exported(file) else { return Ok(found) };
        self.remote.run(async |host| {
            let services = list(&mut host.get("/v1/services").await?.body["services"]);
            for dependent in services {
                let name = text(&dependent["name"]);
                // Its own imports come with it.
                if name == service.as_str() || dependent["uses"].is_null() {
                    continue;
                }
                let uses: Vec<UsedInterface> = serde_json::from_value(dependent["uses"].clone())?;
                let of_it = uses.iter().filter(|used| used.from.as_deref() == Some(&*service));
                found.extend(of_it.flat_map(|used| lost(&name, used, &provides)));
            }
            Ok(ExitCode::SUCCESS)
        })?;
        Ok(found)
    }
}
