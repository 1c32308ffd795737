//! Reads the keys of one TOML table: every key is taken by its name and type,
//! and what nobody took is unknown.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problems;

/// How like a known key an unknown one must be for the known one to be offered.
const NEAREST_KEY_SIMILARITY: f64 = 0.7;

/// The keys of one table.
pub(super) struct Fields<'t, 'i> {
    section: &'static str,
    table: &'t DeTable<'i>,
    known: Vec<&'static str>,
}

/// A value, with its key for messages and its place in the text.
pub(super) struct Field<'t, 'i> {
    key: String,
    pub(super) value: &'t DeValue<'i>,
    pub(super) span: Range<usize>,
}

impl<'t, 'i> Fields<'t, 'i> {
    /// `section` is how messages call the table: `[limits] `, or nothing at the top.
    pub(super) fn of(section: &'static str, table: &'t DeTable<'i>) -> Self {
        Self { section, table, known: Vec::new() }
    }

    /// The value of `key`, which is known from here on.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Field<'t, 'i>> {
        self.known.push(key);
        let value = self.table.get(key)?;
        Some(Field {
            key: format!("{}{key}", self.section),
            value: value.get_ref(),
            span: value.span(),
        })
    }

    /// Reports every key that was not taken, with the nearest that could have been.
    pub(super) fn finish(self, problems: &mut Problems<'_>) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let section = self.section;
            let hint = match nearest(name, &self.known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            problems.report(&key.span(), format!("unknown key `{section}{name}`; {hint}"));
        }
    }
}

impl<'t, 'i> Field<'t, 'i> {
    /// An element of an array that this field is.
    fn element(&self, element: &'t Spanned<DeValue<'i>>) -> Self {
        Self { key: self.key.clone(), value: element.get_ref(), span: element.span() }
    }

    pub(super) fn report(&self, problems: &mut Problems<'_>, message: impl std::fmt::Display) {
        problems.report(&self.span, format!("`{}` {message}", self.key));
    }

    pub(super) fn text(&self, problems: &mut Problems<'_>) -> Option<&'t str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => self.wrong_type(problems, "a text in quotes"),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        choices: &[(&str, T)],
        problems: &mut Problems<'_>,
    ) -> Option<T> {
        let text = self.text(problems)?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if chosen.is_none() {
            let words: Vec<String> =
                choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.report(problems, format_args!("must be {}; found: `{text}`", words.join(" or ")));
        }
        chosen
    }

    pub(super) fn yes_or_no(&self, problems: &mut Problems<'_>) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type(problems, "true or false"),
        }
    }

    pub(super) fn table(&self, problems: &mut Problems<'_>) -> Option<&'t DeTable<'i>> {
        match self.value {
            DeValue::Table(table) => Some(table),
            _ => self.wrong_type(problems, &format!("a table: `[{}]`", self.key)),
        }
    }

    /// Each table of an array of tables.
    pub(super) fn tables(
        &self,
        problems: &mut Problems<'_>,
    ) -> Vec<(&'t DeTable<'i>, Range<usize>)> {
        let expected = format!("an array of tables: `[[{}]]`", self.key);
        let DeValue::Array(elements) = self.value else {
            self.wrong_type::<()>(problems, &expected);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for element in elements {
            match element.get_ref() {
                DeValue::Table(table) => tables.push((table, element.span())),
                _ => _ = self.element(element).wrong_type::<()>(problems, &expected),
            }
        }
        tables
    }

    /// Each text of an array of texts, as a field of its own.
    pub(super) fn elements(&self, problems: &mut Problems<'_>) -> Option<Vec<Self>> {
        match self.value {
            DeValue::Array(elements) => {
                Some(elements.iter().map(|each| self.element(each)).collect())
            }
            _ => self.wrong_type(problems, "an array"),
        }
    }

    /// A whole number that isn't negative; `None` without a report for other types.
    pub(super) fn whole_number(&self) -> Option<Result<u64, String>> {
        let DeValue::Integer(integer) = self.value else { return None };
        let parsed = u64::from_str_radix(integer.as_str(), integer.radix());
        Some(parsed.map_err(|_| integer.to_string()))
    }

    /// A number, with or without a fraction.
    pub(super) fn number(&self) -> Option<f64> {
        match self.value {
            DeValue::Integer(integer) => integer.as_str().parse().ok(),
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn wrong_type<T>(&self, problems: &mut Problems<'_>, expected: &str) -> Option<T> {
        let found = self.value.type_str();
        self.report(problems, format_args!("must be {expected}; found: {found}"));
        None
    }
}

fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let alike = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), known);
    let nearest = known.iter().copied().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(nearest) >= NEAREST_KEY_SIMILARITY).then_some(nearest)
}
