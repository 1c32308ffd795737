//! `hotdock diff`

use std::path::PathBuf;
use std::process::ExitCode;

use super::dependents::Dependents;
use super::{console, exit};
use crate::deploy::Diff;

/// Show what differs between two components, sorted by whom it breaks.
///
/// Exports and imports are compared by their types, interfaces of one package as semantic
/// versioning has it; manifests by what they declare. What is breaking, a host refuses: a
/// migration that was changed and an import that nobody provides in any case, the rest unless it
/// is allowed. The exit code is 8 then.
#[derive(Debug, clap::Args)]
pub(super) struct DiffCommand {
    /// The older component
    #[arg(value_name = "OLD.wasm")]
    old: PathBuf,
    /// The newer one
    #[arg(value_name = "NEW.wasm")]
    new: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dependents: Dependents,
}

impl DiffCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut found = match crate::deploy::diff(&self.old, &self.new) {
            Ok(found) => found,
            Err(reasons) => {
                console::refused("they cannot be compared", &reasons);
                return Ok(ExitCode::from(exit::REFUSED));
            }
        };
        found.breaking.extend(self.dependents.of(&self.new)?);
        let code = if found.breaking.is_empty() { exit::DONE } else { exit::BREAKING };
        if self.json {
            console::json(&serde_json::to_string(&found)?)?;
        } else {
            console::lines(&text(&found))?;
        }
        Ok(ExitCode::from(code))
    }
}

fn text(found: &Diff) -> Vec<String> {
    if found.is_empty() {
        let none = "no difference that anyone could tell by exports, imports or manifest";
        return vec![none.to_owned()];
    }
    let lists = [
        ("breaking", &found.breaking),
        ("compatible", &found.compatible),
        ("declared by the manifest", &found.declared),
    ];
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    lists
        .flat_map(|(word, list)| [vec![format!("{word}:")], console::bullets(list)].concat())
        .collect()
}
