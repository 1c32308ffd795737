//! What is wrong with `hotdock.toml`: all of it at once, each with its place and in words.

use std::fmt::Display;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, FileConfig};

/// How alike an unknown key and a known one must be to suggest it.
const ALIKE: f64 = 0.7;

/// How many problems are told at once.
const MAX_PROBLEMS: usize = 50;

/// The tables of the file by their keys, the file itself first, and what begins each.
const TABLES: [(&str, &str); 6] = [
    ("", ""),
    ("http", "[http]"),
    ("outbound", "[outbound]"),
    ("deploy", "[deploy]"),
    ("events", "[events]"),
    ("webhook", "[[webhook]]"),
];

/// What is wrong with a file's text.
pub(super) struct Problems<'a> {
    name: &'a str,
    text: &'a str,
    /// Each with its line and column.
    found: Vec<((usize, usize), String)>,
    /// What is taken out, since it is wrong.
    taken_out: Vec<TakenOut>,
}

/// A setting that was wrong.
struct TakenOut {
    key: String,
    /// Where the table begins that it is in: of several of a name, this one.
    table: usize,
    /// What it is called there, or was meant to be.
    name: String,
}

impl TakenOut {
    /// The key, as it is spelled right.
    fn meant(self) -> String {
        let name = self.name;
        let meant = self.key.rsplit_once('.').map(|(parent, _)| format!("{parent}.{name}"));
        meant.unwrap_or(name)
    }
}

/// Settings that cannot hold together, or one that there has to be.
pub(in crate::config) struct Contradiction {
    /// The setting, as `http.max-uploads`, or `webhook.1.url` of the second one.
    key: String,
    /// The other setting.
    other: Option<&'static str>,
    words: String,
}

impl Contradiction {
    /// A setting, said as `key`, that cannot be so.
    pub(in crate::config) fn new(key: impl Into<String>, words: impl Into<String>) -> Self {
        Self { key: key.into(), other: None, words: words.into() }
    }

    /// A part that is more than the whole of it, where it is said.
    pub(in crate::config) fn more<T: PartialOrd + Display>(
        (key, part): (&'static str, Option<T>),
        (other, whole): (&'static str, T),
    ) -> Option<Self> {
        let part = part.filter(|part| *part > whole)?;
        let words = format!("`{key}`: {part} is more than `{other}`, which is {whole}");
        Some(Self::between(key, other, &words))
    }

    /// Of two settings; the words say how.
    pub(in crate::config) fn between(key: &'static str, other: &'static str, words: &str) -> Self {
        let words = format!("{words}: lower the one or raise the other");
        Self { other: Some(other), ..Self::new(key, words) }
    }
}

impl<'a> Problems<'a> {
    /// Of this file's text; none yet.
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text, found: Vec::new(), taken_out: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Notes what is no TOML; whether there is such.
    pub(super) fn of_syntax(&mut self) -> bool {
        let (_, broken) = DeTable::parse_recoverable(self.text);
        for error in broken.iter().take(MAX_PROBLEMS) {
            self.note(error.span().map_or(0, |at| at.start), error.message());
        }
        !broken.is_empty()
    }

    /// Notes an error in `rest`, and takes out what it is about, without moving anything else;
    /// whether it could.
    pub(super) fn takes_out(&mut self, error: &toml::de::Error, rest: &mut String) -> bool {
        let at = error.span().unwrap_or(0..0);
        let entry = DeTable::parse(rest).ok().and_then(|table| entry_at(&table, at.start));
        let message = error.message();
        if !entry.as_ref().is_some_and(|entry| self.follows(entry, message)) {
            let words = in_words(entry.as_ref().map(|entry| entry.key.as_str()), message);
            self.note(at.start, &words);
        }
        let Some(entry) = entry.filter(|_| self.found.len() < MAX_PROBLEMS) else { return false };
        let listed = message.strip_prefix("unknown field ");
        let meant = listed.filter(|listed| elsewhere(&entry.key, listed).is_empty());
        let meant = meant.and_then(nearest);
        let name = meant.map_or(entry.name, str::to_owned);
        self.taken_out.push(TakenOut { key: entry.key, table: entry.table, name });
        blank(rest, entry.span, entry.form);
        true
    }

    /// Notes what cannot hold together in `rest`, but for what only follows.
    pub(super) fn of_contradictions(&mut self, all: &[Contradiction], rest: &str) {
        let Ok(table) = DeTable::parse(rest) else { return };
        for each in all {
            let is_wrong = |key: &str| {
                let (table, name) = (place(&table, key).0, key.rsplit('.').next());
                self.taken_out.iter().any(|out| out.table == table && Some(&*out.name) == name)
            };
            if !is_wrong(&each.key) && !each.other.is_some_and(is_wrong) {
                self.note(place(&table, &each.key).1, &each.words);
            }
        }
    }

    /// All that was noted, and what the file says besides.
    pub(super) fn into_error(mut self, rest: Option<FileConfig>) -> ConfigError {
        self.found.sort_by_key(|(place, _)| *place);
        let lines: Vec<String> = self.found.into_iter().map(|(_, line)| line).collect();
        ConfigError::Invalid {
            words: lines.join("\n"),
            rest: rest.map(Box::new),
            wrong: self.taken_out.into_iter().map(TakenOut::meant).collect(),
        }
    }

    /// Whether this is only of what was taken out: a name is missing since it was wrong.
    fn follows(&self, entry: &Entry, message: &str) -> bool {
        let missing = message.strip_prefix("missing field ").map(|field| field.trim_matches('`'));
        let Some(missing) = missing else { return false };
        self.taken_out.iter().any(|out| out.table == entry.span.start && out.name == missing)
    }

    fn note(&mut self, offset: usize, words: &str) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        self.found.push(((line, column), format!("{}:{line}:{column}: {words}", self.name)));
    }
}

/// Where the table begins that has this setting, and where its value does; without one, where
/// the table does.
fn place(table: &Spanned<DeTable<'_>>, key: &str) -> (usize, usize) {
    let (mut table, mut begin) = (Some(table.get_ref()), 0);
    let mut value: Option<&DeValue<'_>> = None;
    let mut steps = key.split('.').peekable();
    while let Some(step) = steps.next() {
        let found = match (table, value) {
            (Some(table), _) => table.get(step),
            (None, Some(DeValue::Array(list))) => {
                step.parse().ok().and_then(|index: usize| list.get(index))
            }
            _ => None,
        };
        let Some(found) = found else { break };
        if steps.peek().is_none() {
            return (begin, found.span().start);
        }
        (table, value, begin) =
            (found.get_ref().as_table(), Some(found.get_ref()), found.span().start);
    }
    (begin, begin)
}

/// A setting in the text, or an entry of a list.
struct Entry {
    key: String,
    /// Where the table begins that it is in.
    table: usize,
    /// What it is called there.
    name: String,
    /// With its value.
    span: Range<usize>,
    form: Form,
}

/// How it is written.
#[derive(Clone, Copy)]
enum Form {
    Line,
    /// With a header of its own, maybe.
    Table,
    /// Between commas.
    Listed,
}

/// The innermost setting that this place is in.
fn entry_at(table: &Spanned<DeTable<'_>>, offset: usize) -> Option<Entry> {
    let mut tables = vec![(String::new(), 0, table.get_ref(), false)];
    let mut found: Option<Entry> = None;
    let mut consider = |entry: Entry| {
        let is_inner = |found: &Entry| found.span.len() >= entry.span.len();
        if entry.span.contains(&offset) && found.as_ref().is_none_or(is_inner) {
            found = Some(entry);
        }
    };
    while let Some((path, begin, table, is_inline)) = tables.pop() {
        for (name, value) in table {
            let key = match path.as_str() {
                "" => name.get_ref().to_string(),
                path => format!("{path}.{}", name.get_ref()),
            };
            let span =
                name.span().start.min(value.span().start)..name.span().end.max(value.span().end);
            let form = match value.get_ref() {
                _ if is_inline => Form::Listed,
                DeValue::Table(_) => Form::Table,
                DeValue::Array(list) if has_headers(list, &name.span()) => Form::Table,
                _ => Form::Line,
            };
            consider(Entry {
                key: key.clone(),
                table: begin,
                name: name.get_ref().to_string(),
                span,
                form,
            });
            match value.get_ref() {
                DeValue::Table(inner) => {
                    // One with a header begins there, before or with its name.
                    let is_inline = is_inline || value.span().start > name.span().end;
                    tables.push((key, value.span().start, inner, is_inline));
                }
                DeValue::Array(list) => {
                    let is_inline = !has_headers(list, &name.span());
                    for each in list {
                        let form = if is_inline { Form::Listed } else { Form::Table };
                        consider(Entry {
                            key: key.clone(),
                            table: each.span().start,
                            name: String::new(),
                            span: each.span(),
                            form,
                        });
                        if let Some(inner) = each.get_ref().as_table() {
                            tables.push((key.clone(), each.span().start, inner, is_inline));
                        }
                    }
                }
                _ => {}
            }
        }
    }
    found
}

/// Whether a list's entries are tables with headers, `[[name]]`: the first begins with its name.
fn has_headers(list: &[Spanned<DeValue<'_>>], name: &Range<usize>) -> bool {
    list.first().is_some_and(|first| first.span().start <= name.start)
}

/// Takes a setting out of the text, without moving another: of a table, its header, with which its
/// own settings go; of a list's entry, a comma.
fn blank(text: &mut String, span: Range<usize>, form: Form) {
    let line = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let span = match form {
        Form::Table if text[line..].trim_start().starts_with('[') => {
            let rest = text[line..].find('\n').map_or(text.len(), |at| line + at);
            let end = text[rest..].find("\n[").map_or(text.len(), |at| rest + at);
            line..end
        }
        Form::Listed => with_comma(text, span),
        _ => span,
    };
    let blanks: String =
        text[span.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(span, &blanks);
}

/// The entry with the comma after it, or else with the one before.
fn with_comma(text: &str, span: Range<usize>) -> Range<usize> {
    let after = &text[span.end..];
    if after.trim_start().starts_with(',') {
        return span.start..span.end + (after.len() - after.trim_start().len()) + 1;
    }
    match text[..span.start].trim_end().strip_suffix(',') {
        Some(before) => before.len()..span.end,
        None => span,
    }
}

/// What serde and TOML say, as manifests say it.
fn in_words(key: Option<&str>, message: &str) -> String {
    // The syntax is wrong: it has no settings yet.
    let Some(key) = key else { return message.to_owned() };
    if let Some(listed) = message.strip_prefix("unknown field ") {
        let unknown = listed.split('`').nth(1).unwrap_or(key);
        let places = elsewhere(key, listed);
        if !places.is_empty() {
            let places = places.join(" or ");
            return format!("`{unknown}` is no setting here; it belongs {places}");
        }
        let meant = nearest(listed).map(|meant| format!("; did you mean `{meant}`?"));
        return format!("`{unknown}` is no setting{}", meant.unwrap_or_default());
    }
    if let Some((found, expected)) =
        message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        if (found, expected) == ("map", "a sequence") {
            return format!("`{key}` must be a list of tables, as [[{key}]] makes one");
        }
        return format!("`{key}` must be {}; found: {}", plain(expected), plain(found));
    }
    if let Some((found, expected)) =
        message.strip_prefix("invalid value: ").and_then(|rest| rest.split_once(", expected "))
    {
        return format!("`{key}` must be {}; found: {found}", plain(expected));
    }
    if let Some(listed) = message.strip_prefix("unknown variant ")
        && let Some((found, expected)) = listed.split_once(", expected ")
    {
        return format!("`{key}` must be {expected}; found: {found}");
    }
    if let Some(missing) = message.strip_prefix("missing field ") {
        return format!("`{key}` has no {missing}");
    }
    format!("`{key}`: {message}")
}

/// Where an unknown setting of a table does belong: the tables that have one of its name.
fn elsewhere(key: &str, listed: &str) -> Vec<String> {
    let unknown = listed.split('`').nth(1).unwrap_or_default();
    let table = key.rsplit_once('.').map_or("", |(table, _)| table);
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_name = !unknown.is_empty() && unknown.bytes().all(is_bare);
    if !is_name || !TABLES.iter().any(|(name, _)| *name == table) {
        return Vec::new();
    }
    // Asked of what reads them: its list of names is the only one.
    let has = |begin: &str| {
        let tried = toml::from_str::<FileConfig>(&format!("{begin}\n{unknown} = 0\n"));
        tried.err().is_none_or(|error| !error.message().starts_with("unknown field "))
    };
    let places = TABLES.iter().filter(|(_, begin)| has(begin));
    let places = places.map(|(_, begin)| match *begin {
        "" => "at the top, before the first [table]".to_owned(),
        begin => format!("under {begin}"),
    });
    places.collect()
}

/// What serde calls a kind of value, as people do.
fn plain(kind: &str) -> &str {
    match kind {
        "i64" => "a whole number",
        "a nonzero u32" => "a whole number from 1 on",
        "a sequence" | "sequence" => "a list",
        "a map" | "map" => "a table",
        other => other,
    }
}

/// The nearest of the keys that a message about an unknown one lists.
fn nearest(listed: &str) -> Option<&str> {
    let mut quoted = listed.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let likeness = |known: &&str| (strsim::jaro_winkler(known, unknown) * 1000.0) as i64;
    let best = quoted.max_by_key(likeness)?;
    (strsim::jaro_winkler(best, unknown) >= ALIKE).then_some(best)
}
