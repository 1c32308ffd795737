//! `hotdock inspect`

use std::path::PathBuf;
use std::process::ExitCode;

use super::{console, exit};
use crate::deploy::{Description, Import, Inspection};
use crate::escape;

/// Show what a component is and asks for, without a host and without compiling it.
///
/// What it exports and imports and what each import reaches, the capabilities that its
/// manifest asks for, its routes and subscriptions, and how large its parts are.
#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// The component; NAME.toml beside NAME.wasm is its manifest, else the embedded one
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let file = escape::path(&self.file);
        let found = match crate::deploy::inspect(&self.file) {
            Ok(found) => found,
            Err(reasons) => {
                console::refused(&format!("{file}: it cannot be looked at"), &reasons);
                return Ok(ExitCode::from(exit::REFUSED));
            }
        };
        if self.json {
            console::json(&serde_json::to_string(&found)?)?;
        } else {
            console::lines(&[vec![file], text(&found)].concat())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(found: &Inspection) -> Vec<String> {
    let asked = &found.capabilities;
    let mut rows = description(&found.description);
    rows.extend([
        ("manifest", vec![found.manifest.clone().unwrap_or_else(|| "the default".to_owned())]),
        ("exports", found.description.exports.clone()),
        ("outbound", asked.outbound.clone()),
        ("config", asked.config.clone()),
        ("secrets", asked.secrets.clone()),
        ("calls", asked.calls.clone()),
        ("sizes", sizes(found)),
    ]);
    let mut lines = lines(&rows);
    if !found.problems.is_empty() {
        lines.push("  it cannot be deployed:".to_owned());
        lines.extend(console::bullets(&found.problems));
    }
    lines
}

fn sizes(found: &Inspection) -> Vec<String> {
    let sizes = &found.sizes;
    let modules: usize = sizes.modules.iter().sum();
    let mut lines = vec![
        format!("{} in all", console::size(sizes.bytes)),
        format!("{} in {} core modules", console::size(modules), sizes.modules.len()),
    ];
    lines.extend(sizes.custom_sections.iter().map(|(name, sections)| {
        format!(
            "{} in {} custom sections `{name}`",
            console::size(sections.bytes),
            sections.sections
        )
    }));
    lines
}

/// What a component is, as rows of a word and what it stands for.
pub(super) fn description(found: &Description) -> Vec<(&'static str, Vec<String>)> {
    let mut rows = vec![
        ("service", vec![found.service.clone()]),
        ("serves", vec![format!("{} ({})", found.serves, console::size(found.bytes))]),
        ("digest", vec![found.digest.clone()]),
        ("routes", found.routes.clone()),
        ("subscribes", found.subscriptions.clone()),
        ("schedules", found.schedules.clone()),
        ("migrations", found.migrations.clone()),
        ("provides", found.provides.clone()),
        ("imports", found.imports.iter().map(import).collect()),
    ];
    rows.extend(found.notes.iter().map(|note| ("note", vec![note.clone()])));
    rows
}

/// The rows, each word once before all that it stands for.
pub(super) fn lines(rows: &[(&'static str, Vec<String>)]) -> Vec<String> {
    let row = |(word, lines): &(&'static str, Vec<String>)| match lines.as_slice() {
        [] => vec![format!("  {word:<12}none")],
        [first, others @ ..] => {
            let first = format!("  {word:<12}{first}");
            let others = others.iter().map(|line| format!("{:<14}{line}", ""));
            [first].into_iter().chain(others).collect()
        }
    };
    rows.iter().flat_map(row).collect()
}

/// An import, and beside it what it reaches.
fn import(import: &Import) -> String {
    let interface = escape::line(&import.interface);
    let reached = if import.provided { import.access.as_deref() } else { Some("NOT PROVIDED") };
    match reached {
        Some(reached) => format!("{interface:<38} {reached}"),
        None => interface.into_owned(),
    }
}
