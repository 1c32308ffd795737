//! `hotdock check`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::dependents::Dependents;
use super::inspect::{description, lines};
use super::{console, exit};
use crate::config::OutboundConfig;
use crate::deploy::{Checked, DeployConfig};
use crate::escape;
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
    #[command(flatten)]
    dependents: Dependents,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let lost = self.files.iter().map(|file| self.dependents.of(file));
        let lost: Vec<Vec<String>> = lost.collect::<anyhow::Result<_>>()?;
        let tokio = tokio::runtime::Runtime::new().context("the asynchronous runtime")?;
        tokio.block_on(async {
            let runtime = Runtime::new(Outbound::new(OutboundConfig::default()))?;
            let DeployConfig { compiler, compile_timeout, .. } = DeployConfig::default();
            let mut code = ExitCode::SUCCESS;
            for (file, lost) in self.files.iter().zip(lost) {
                let checked =
                    crate::deploy::check(&runtime, &compiler, compile_timeout, file).await;
                let checked = match checked {
                    Ok(checked) if lost.is_empty() => Ok(checked),
                    Ok(_) => Err(lost),
                    Err(reasons) => Err([reasons, lost].concat()),
                };
                if checked.is_err() {
                    code = ExitCode::from(exit::REFUSED);
                }
                if self.json {
                    console::json(&json(file, &checked))?;
                } else {
                    console::lines(&text(file, &checked))?;
                }
            }
            Ok(code)
        })
    }
}

fn json(file: &Path, checked: &Result<Checked, Vec<String>>) -> String {
    // As a program can open it, where JSON can have it.
    let file = file.to_str().map_or_else(|| escape::path(file), str::to_owned);
    match checked {
        Ok(Checked { component, secrets }) => serde_json::json!({
            "file": file, "deployable": true, "component": component, "secrets": secrets,
        }),
        Err(reasons) => serde_json::json!({"file": file, "deployable": false, "reasons": reasons}),
    }
    .to_string()
}

fn text(path: &Path, checked: &Result<Checked, Vec<String>>) -> Vec<String> {
    let file = escape::path(path);
    let (said, more) = match checked {
        Ok(Checked { component, secrets }) => {
            ("can be deployed", lines(&[description(component), needed(secrets)].concat()))
        }
        Err(reasons) => ("cannot be deployed", console::bullets(reasons)),
    };
    [vec![format!("{file}: {said}")], more].concat()
}

/// The secrets that the component names, as a row, where there are any: whether a host has them is
/// not known here.
fn needed(secrets: &[String]) -> Vec<(&'static str, Vec<String>)> {
    if secrets.is_empty() {
        return Vec::new();
    }
    let needed = secrets.iter().map(|name| format!("{name}, which the host has to have"));
    vec![("secrets", needed.collect())]
}
