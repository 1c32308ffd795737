//! `hotdock check`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::console;
use crate::config::OutboundConfig;
use crate::deploy::{DeployConfig, Description, Import};
use crate::outbound::Outbound;
use crate::runtime::Runtime;

/// Say whether components could be deployed, and every reason why not
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Components; NAME.toml beside NAME.wasm is its manifest
    #[arg(required = true, value_name = "FILE.wasm")]
    files: Vec<PathBuf>,
    /// Print one JSON object a file
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let tokio = tokio::runtime::Runtime::new().context("the asynchronous runtime")?;
        tokio.block_on(async {
            let runtime = Runtime::new(Outbound::new(OutboundConfig::default()))?;
            let DeployConfig { compiler, compile_timeout, .. } = DeployConfig::default();
            let mut code = ExitCode::SUCCESS;
            for file in &self.files {
                let checked =
                    crate::deploy::check(&runtime, &compiler, compile_timeout, file).await;
                if checked.is_err() {
                    code = ExitCode::FAILURE;
                }
                if self.json {
                    console::line(&json(file, &checked));
                } else {
                    console::line(&text(file, &checked));
                }
            }
            Ok(code)
        })
    }
}

fn json(file: &Path, checked: &Result<Description, Vec<String>>) -> String {
    let file = file.display().to_string();
    match checked {
        Ok(description) => {
            serde_json::json!({"file": file, "deployable": true, "component": description})
        }
        Err(reasons) => serde_json::json!({"file": file, "deployable": false, "reasons": reasons}),
    }
    .to_string()
}

fn text(file: &Path, checked: &Result<Description, Vec<String>>) -> String {
    let file = file.display();
    match checked {
        Ok(found) => {
            let list = |items: &[String]| match items {
                [] => "none".to_owned(),
                items => items.join("\n              "),
            };
            let imports: Vec<String> = found.imports.iter().map(import).collect();
            let notes: String =
                found.notes.iter().map(|note| format!("\n  note        {note}")).collect();
            format!(
                "{file}: can be deployed\n  service     {}\n  serves      {} ({})\n  digest      {}\n  \
                 routes      {}\n  subscribes  {}\n  schedules   {}\n  migrations  {}\n  imports     {}{notes}",
                found.service,
                found.serves,
                console::size(found.bytes),
                found.digest,
                list(&found.routes),
                list(&found.subscriptions),
                list(&found.schedules),
                list(&found.migrations),
                list(&imports),
            )
        }
        Err(reasons) => {
            let reasons: Vec<String> = reasons
                .iter()
                .map(|reason| format!("  - {}", reason.replace('\n', "\n    ")))
                .collect();
            format!("{file}: cannot be deployed\n{}", reasons.join("\n"))
        }
    }
}

/// An import, and beside it what it reaches.
fn import(import: &Import) -> String {
    match &import.access {
        Some(access) => format!("{:<38} {access}", import.interface),
        None => import.interface.clone(),
    }
}
