//! What is wrong with a manifest, and where.

use std::fmt;
use std::ops::Range;

use crate::escape::cut;

/// How many are told, and how many bytes of each.
const MAX_PROBLEMS: usize = 50;
const MAX_MESSAGE: usize = 1 << 10;

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
    /// How many were not noted.
    more: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl<'a> Problems<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: Vec::new(), more: 0 }
    }

    pub(super) fn report(&mut self, span: &Range<usize>, message: impl Into<String>) {
        // In a text where nearly everything is wrong, others than the first are not looked for.
        if self.found.len() > 2 * MAX_PROBLEMS {
            self.more += 1;
            return;
        }
        self.found.push((span.start, cut(message.into(), MAX_MESSAGE)));
    }

    pub(super) fn any(&self) -> bool {
        !self.found.is_empty()
    }

    /// What was reported, in the order of the text.
    pub(super) fn into_error(mut self) -> ManifestError {
        self.found.sort();
        self.found.dedup();
        let more = (self.found.len() + self.more).saturating_sub(MAX_PROBLEMS);
        let told = self.found.iter().take(MAX_PROBLEMS);
        let mut problems: Vec<_> =
            told.map(|(offset, message)| self.located(*offset, message)).collect();
        if let Some(last) = problems.last().filter(|_| more > 0) {
            problems.push(Problem { message: format!("and {more} more"), ..last.clone() });
        }
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
