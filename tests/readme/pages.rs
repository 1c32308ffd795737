//! The pages, and what is in them.

use std::path::{Path, PathBuf};

/// A command of a page, and what it says comes out.
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) output: String,
}

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The README and the pages of docs/, by their paths.
pub(crate) fn all() -> Vec<(String, String)> {
    let folder = std::fs::read_dir(root().join("docs")).expect("docs/");
    let names = folder.map(|entry| entry.expect("an entry").file_name().into_string());
    let mut paths: Vec<String> =
        names.map(|name| format!("docs/{}", name.expect("text"))).collect();
    paths.retain(|path| path.ends_with(".md"));
    paths.push("README.md".to_owned());
    paths.sort();
    paths.into_iter().map(|path| (read(&path), path)).map(|(text, path)| (path, text)).collect()
}

/// The fenced blocks of one language.
pub(crate) fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    let after = text.split(fence.as_str()).skip(1);
    after.map(|block| block.split("```").next().unwrap_or_default()).collect()
}

/// The commands, each with the lines that follow it.
pub(crate) fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in blocks(text, "console").into_iter().flat_map(str::lines) {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step { command: command.to_owned(), output: String::new() });
            }
            // A command that goes on: at the line's end, or within a quoted text.
            (None, Some(step)) if goes_on(&step.command) => {
                step.command.push('\n');
                step.command.push_str(line);
            }
            (None, Some(step)) => step.output.push_str(line),
            (None, None) => panic!("no command before {line}"),
        }
    }
    steps
}

fn goes_on(command: &str) -> bool {
    command.ends_with('\\') || command.matches('\'').count() % 2 == 1
}

/// The texts between backticks.
pub(crate) fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The parts that are read as one: a row of a table, an item of a list, a paragraph.
pub(crate) fn units(text: &str) -> Vec<String> {
    let mut units = vec![String::new()];
    for line in text.lines() {
        let begins = line.is_empty() || line.starts_with('|') || line.starts_with("- ");
        match units.last_mut().filter(|_| !begins) {
            Some(unit) => *unit += &format!("{line}\n"),
            None => units.push(line.to_owned() + "\n"),
        }
    }
    units
}

/// The cells of a table's rows, without those of its head.
pub(crate) fn rows(text: &str) -> Vec<Vec<&str>> {
    let mut rows = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_head = lines.peek().is_some_and(|next| next.starts_with("|---"));
        if line.starts_with('|') && !line.starts_with("|---") && !is_head {
            rows.push(line.trim_matches('|').split(" | ").map(str::trim).collect());
        }
    }
    rows
}

/// All sources below a folder.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
