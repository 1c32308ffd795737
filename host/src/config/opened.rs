//! `[events] accept`: what the operator lets in from anybody.

use crate::event::TypePattern;

/// A type that the operator opened, and from where its events may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Which types.
    pub types: TypePattern,
    /// From which sources; from all where there are none.
    pub sources: Vec<SourcePattern>,
}

/// A source, or all that begin like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePattern {
    start: String,
    has_rest: bool,
}

impl From<&str> for SourcePattern {
    /// A text as sources have it; a `*` at its end is any rest.
    fn from(text: &str) -> Self {
        let (start, has_rest) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        Self { start: start.to_owned(), has_rest }
    }
}

impl SourcePattern {
    /// Whether a source is one of them.
    #[must_use]
    pub fn matches(&self, source: &str) -> bool {
        if self.has_rest { source.starts_with(&self.start) } else { source == self.start }
    }
}
