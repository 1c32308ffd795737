//! What is wrong with a manifest, and where.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong, and where: `cart.toml:4:1: unknown key …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name, or `cart.wasm (hotdock.manifest)`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong; names the key.
    pub message: String,
}

/// Everything that is wrong with a manifest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", joined(.problems))]
pub struct ManifestError {
    /// In the order of the text; at least one.
    pub problems: Vec<Problem>,
}

/// Collects problems while a text is read.
pub(super) struct Problems<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<(usize, String)>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl<'a> Problems<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: Vec::new() }
    }

    pub(super) fn report(&mut self, span: &Range<usize>, message: impl Into<String>) {
        self.found.push((span.start, message.into()));
    }

    pub(super) fn any(&self) -> bool {
        !self.found.is_empty()
    }

    /// What was reported, in the order of the text.
    pub(super) fn into_error(mut self) -> ManifestError {
        self.found.sort();
        self.found.dedup();
        let problems =
            self.found.iter().map(|(offset, message)| self.located(*offset, message)).collect();
        ManifestError { problems }
    }

    fn located(&self, offset: usize, message: &str) -> Problem {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Problem {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.to_owned(),
        }
    }
}

fn joined(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}
