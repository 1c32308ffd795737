//! `hotdock.toml`.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::events::FileEvents;
use super::outbound::FileOutbound;
use super::value::{address, bytes, duration, networks, number, time};
use super::webhook::{FileWebhook, webhooks};
use super::{HttpLimits, LogFormat, Network};
use crate::files;
use crate::http::forwarded::ForwardedHeader;

/// How alike an unknown key and a known one must be to suggest it.
const ALIKE: f64 = 0.7;

/// How many problems are told at once.
const MAX_PROBLEMS: usize = 50;

/// Bytes of the file.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// What fewer bytes of unsent answers than this are no bound for.
const MIB: u64 = 1 << 20;

/// The file's settings; what it leaves out is `None`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FileConfig {
    pub(super) folder: Option<PathBuf>,
    #[serde(deserialize_with = "address")]
    pub(super) listen: Option<SocketAddr>,
    #[serde(deserialize_with = "address")]
    pub(super) admin: Option<SocketAddr>,
    token_file: Option<PathBuf>,
    pub(super) data: Option<PathBuf>,
    pub(super) secrets: Option<PathBuf>,
    #[serde(deserialize_with = "duration")]
    pub(super) drain: Option<Duration>,
    #[serde(deserialize_with = "time")]
    pub(super) compile_timeout: Option<Duration>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) log: Option<String>,
    #[serde(deserialize_with = "bytes::<_, { 64 << 10 }>")]
    pub(super) log_keep: Option<ByteSize>,
    #[serde(deserialize_with = "bytes::<_, { 16 << 20 }>")]
    pub(super) host_memory: Option<ByteSize>,
    #[serde(deserialize_with = "bytes::<_, { 16 << 20 }>")]
    pub(super) guest_memory: Option<ByteSize>,
    pub(super) http: FileHttp,
    pub(super) outbound: FileOutbound,
    pub(super) deploy: FileDeploy,
    pub(super) events: FileEvents,
    #[serde(deserialize_with = "webhooks")]
    pub(super) webhook: Vec<FileWebhook>,
}

/// `[deploy]`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct FileDeploy {
    #[serde(deserialize_with = "number::<_, _, 1>")]
    keep_versions: Option<usize>,
    #[serde(deserialize_with = "time")]
    pub(super) upload_idle_timeout: Option<Duration>,
}

/// `[http]`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct FileHttp {
    #[serde(deserialize_with = "time")]
    first_byte_timeout: Option<Duration>,
    #[serde(deserialize_with = "time")]
    header_read_timeout: Option<Duration>,
    #[serde(deserialize_with = "time")]
    idle_timeout: Option<Duration>,
    #[serde(deserialize_with = "time")]
    body_idle: Option<Duration>,
    #[serde(deserialize_with = "time")]
    answer_idle: Option<Duration>,
    #[serde(deserialize_with = "number::<_, _, 1>")]
    max_headers: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 8192>")]
    max_header_bytes: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 1>")]
    max_concurrent_streams: Option<u32>,
    #[serde(deserialize_with = "time")]
    keep_alive: Option<Duration>,
    #[serde(deserialize_with = "number::<_, _, 1>")]
    max_control_frames: Option<u32>,
    #[serde(deserialize_with = "bytes::<_, MIB>")]
    max_unsent: Option<ByteSize>,
    #[serde(deserialize_with = "number::<_, _, 1>")]
    max_connections: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 1>")]
    max_connections_per_address: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 1>")]
    max_uploads: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 1>")]
    max_uploads_per_address: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 1>")]
    admin_max_connections: Option<usize>,
    #[serde(deserialize_with = "networks")]
    trust_forwarded: Option<Vec<Network>>,
    forwarded: Option<Vec<ForwardedHeader>>,
    #[serde(deserialize_with = "time")]
    idempotency_ttl: Option<Duration>,
    #[serde(deserialize_with = "number::<_, _, 1>")]
    max_idempotency_keys: Option<usize>,
}

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("{}: {error}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why. (Not a source: it is said already.)
        error: std::io::Error,
    },
    /// It says something that it can't.
    #[error("{0}")]
    Invalid(String),
}

impl FileConfig {
    /// Reads the file; where it was not asked for by name it may be absent.
    ///
    /// # Errors
    /// When it cannot be read, or says something that it can't.
    pub fn read(path: &Path, must_exist: bool) -> Result<Self, ConfigError> {
        let text = match files::read_text(path, MAX_FILE_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => {
                return Ok(Self::default());
            }
            Err(error) => return Err(ConfigError::Read { path: path.to_owned(), error }),
        };
        Self::parse(&path.display().to_string(), &text)
    }

    /// Where the admin token is.
    #[must_use]
    pub fn token_file(&self) -> Option<&Path> {
        self.token_file.as_deref()
    }

    /// Reads a file's text; `name` is the file's name in errors.
    ///
    /// # Errors
    /// All that is wrong, each with file, line and column, in words.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let mut problems = Problems { name, text, found: Vec::new(), blanked: Vec::new() };
        let (_, broken) = DeTable::parse_recoverable(text);
        for error in broken.iter().take(MAX_PROBLEMS) {
            problems.note(error.span().map_or(0, |at| at.start), None, error.message());
        }
        let mut rest = text.to_owned();
        while broken.is_empty() {
            // It stops at the first error: what that is about is taken out, and all else read.
            let error = match toml::from_str::<Self>(&rest) {
                Ok(config) if problems.found.is_empty() => return Ok(config),
                Ok(_) => break,
                Err(error) => error,
            };
            let at = error.span().unwrap_or(0..0);
            let entry = DeTable::parse(&rest).ok().and_then(|table| entry_at(&table, at.start));
            let key = entry.as_ref().map(|entry| entry.key.clone());
            if !problems.follows(key.as_deref(), error.message()) {
                problems.note(at.start, key.as_deref(), error.message());
            }
            let Some(entry) = entry.filter(|_| problems.found.len() < MAX_PROBLEMS) else { break };
            let meant = error.message().strip_prefix("unknown field ").and_then(nearest);
            let parent = entry.key.rsplit_once('.').map_or("", |(parent, _)| parent);
            problems.blanked.push(match meant {
                Some(meant) => format!("{parent}.{meant}"),
                None => entry.key.clone(),
            });
            blank(&mut rest, entry.span);
        }
        problems.found.sort_by_key(|(place, _)| *place);
        let lines: Vec<String> = problems.found.into_iter().map(|(_, line)| line).collect();
        Err(ConfigError::Invalid(lines.join("\n")))
    }
}

/// What is wrong with a file's text.
struct Problems<'a> {
    name: &'a str,
    text: &'a str,
    /// Each with its line and column.
    found: Vec<((usize, usize), String)>,
    /// The settings that are taken out, since they are wrong.
    blanked: Vec<String>,
}

impl Problems<'_> {
    /// Whether this is only of what was taken out: `webhook.name` is missing since it was wrong.
    fn follows(&self, key: Option<&str>, message: &str) -> bool {
        // Spelled otherwise, it is there.
        let missing = message.strip_prefix("missing field ").map(|field| field.trim_matches('`'));
        let (Some(missing), Some(key)) = (missing, key) else { return false };
        self.blanked.iter().any(|blanked| *blanked == format!("{key}.{missing}"))
    }

    fn note(&mut self, offset: usize, key: Option<&str>, message: &str) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        let words = in_words(key, message);
        self.found.push(((line, column), format!("{}:{line}:{column}: {words}", self.name)));
    }
}

/// A setting in the text.
struct Entry {
    key: String,
    /// With its value.
    span: Range<usize>,
}

/// The innermost setting that this place is in.
fn entry_at(table: &Spanned<DeTable<'_>>, offset: usize) -> Option<Entry> {
    let mut tables = vec![(String::new(), table.get_ref())];
    let mut found: Option<Entry> = None;
    while let Some((path, table)) = tables.pop() {
        for (key, value) in table {
            let name = match path.as_str() {
                "" => key.get_ref().to_string(),
                path => format!("{path}.{}", key.get_ref()),
            };
            let span =
                key.span().start.min(value.span().start)..key.span().end.max(value.span().end);
            let is_inner = |found: &Entry| found.span.len() >= span.len();
            if span.contains(&offset) && found.as_ref().is_none_or(is_inner) {
                found = Some(Entry { key: name.clone(), span });
            }
            match value.get_ref() {
                DeValue::Table(inner) => tables.push((name, inner)),
                DeValue::Array(elements) => {
                    let inner = elements.iter().filter_map(|each| each.get_ref().as_table());
                    tables.extend(inner.map(|inner| (name.clone(), inner)));
                }
                _ => {}
            }
        }
    }
    found
}

/// Takes a setting out of the text, without moving another: of a table, its name, with which its
/// own settings go.
fn blank(text: &mut String, span: Range<usize>) {
    let line = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let is_header = text[line..].trim_start().starts_with('[');
    let span = if is_header {
        let rest = text[line..].find('\n').map_or(text.len(), |at| line + at);
        let end = text[rest..].find("\n[").map_or(text.len(), |at| rest + at);
        line..end
    } else {
        span
    };
    let blanks: String =
        text[span.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(span, &blanks);
}

/// What serde and TOML say, as manifests say it.
fn in_words(key: Option<&str>, message: &str) -> String {
    // The syntax is wrong: it has no settings yet.
    let Some(key) = key else { return message.to_owned() };
    if let Some(listed) = message.strip_prefix("unknown field ") {
        let unknown = listed.split('`').nth(1).unwrap_or(key);
        let meant = nearest(listed).map(|meant| format!("; did you mean `{meant}`?"));
        return format!("`{unknown}` is no setting{}", meant.unwrap_or_default());
    }
    if let Some((found, expected)) =
        message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        let expected = if expected == "i64" { "a whole number" } else { expected };
        return format!("`{key}` must be {expected}; found: {found}");
    }
    if let Some((found, expected)) =
        message.strip_prefix("invalid value: ").and_then(|rest| rest.split_once(", expected "))
    {
        return format!("`{key}` must be {expected}; found: {found}");
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

/// The nearest of the keys that a message about an unknown one lists.
fn nearest(listed: &str) -> Option<&str> {
    let mut quoted = listed.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let likeness = |known: &&str| (strsim::jaro_winkler(known, unknown) * 1000.0) as i64;
    let best = quoted.max_by_key(likeness)?;
    (strsim::jaro_winkler(best, unknown) >= ALIKE).then_some(best)
}

impl FileDeploy {
    /// (One at the least: a rollback has to lead somewhere.)
    pub(super) fn keep_versions(&self, default: usize) -> usize {
        self.keep_versions.unwrap_or(default)
    }
}

impl FileHttp {
    pub(super) fn resolve(self, default: HttpLimits) -> HttpLimits {
        HttpLimits {
            first_byte_timeout: self.first_byte_timeout.unwrap_or(default.first_byte_timeout),
            header_read_timeout: self.header_read_timeout.unwrap_or(default.header_read_timeout),
            idle_timeout: self.idle_timeout.unwrap_or(default.idle_timeout),
            body_idle: self.body_idle.unwrap_or(default.body_idle),
            answer_idle: self.answer_idle.unwrap_or(default.answer_idle),
            max_headers: self.max_headers.unwrap_or(default.max_headers),
            max_header_bytes: self.max_header_bytes.unwrap_or(default.max_header_bytes),
            max_concurrent_streams: self
                .max_concurrent_streams
                .unwrap_or(default.max_concurrent_streams),
            keep_alive: self.keep_alive.or(default.keep_alive),
            max_control_frames: self.max_control_frames.unwrap_or(default.max_control_frames),
            max_unsent: self.max_unsent.map_or(default.max_unsent, |size| size.as_u64()),
            max_connections: self.max_connections.unwrap_or(default.max_connections),
            max_connections_per_address: self
                .max_connections_per_address
                .unwrap_or(default.max_connections_per_address),
            max_uploads: self.max_uploads.unwrap_or(default.max_uploads),
            max_uploads_per_address: self
                .max_uploads_per_address
                .unwrap_or(default.max_uploads_per_address),
            admin_max_connections: self
                .admin_max_connections
                .unwrap_or(default.admin_max_connections),
            trust_forwarded: self.trust_forwarded.unwrap_or(default.trust_forwarded),
            forwarded: self.forwarded.map_or(default.forwarded, Arc::from),
            idempotency_ttl: self.idempotency_ttl.unwrap_or(default.idempotency_ttl),
            max_idempotency_keys: self.max_idempotency_keys.unwrap_or(default.max_idempotency_keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_the_nearest() {
        let error = FileConfig::parse("hotdock.toml", "data = \"x\"\nlisen = \"127.0.0.1:1\"\n");
        let error = error.expect_err("unknown").to_string();
        assert!(error.starts_with("hotdock.toml:2:1: `lisen` is no setting"), "{error}");
        assert!(error.ends_with("did you mean `listen`?"), "{error}");
    }

    #[test]
    fn a_bad_value_is_refused_with_its_place() {
        for text in
            ["listen = \"nowhere\"", "drain = \"soon\"", "[http]\ntrust-forwarded = [\"x\"]"]
        {
            let error = FileConfig::parse("hotdock.toml", text).expect_err("bad").to_string();
            assert!(error.starts_with("hotdock.toml:"), "{error}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_and_in_words() {
        let text = "lisen = \"127.0.0.1:1\"\ndrain = 5\nlog-format = \"xml\"\n[http]\nmax-headers = \"many\"\n\
                    keep-alive = \"1s\"\n[nothing]\nx = 1\ny = 2\n[events]\nfoo = 1\n[[webhook]]\nname = \"a\"\n";
        let error = FileConfig::parse("hotdock.toml", text).expect_err("wrong").to_string();
        let lines: Vec<&str> = error.lines().collect();
        for (place, words) in [
            ("1:1", "`lisen` is no setting; did you mean `listen`?"),
            ("2:9", "`drain` must be a string; found: integer `5`"),
            ("3:14", "`log-format` must be"),
            ("5:15", "`http.max-headers` must be"),
            ("7:2", "`nothing` is no setting"),
            ("11:1", "`foo` is no setting"),
            ("12:", "has no"),
        ] {
            let found = lines.iter().any(|line| {
                line.starts_with(&format!("hotdock.toml:{place}")) && line.contains(words)
            });
            assert!(found, "{place} {words} in:\n{error}");
        }
        assert_eq!(lines.len(), 7, "{error}");
        let broken = FileConfig::parse("hotdock.toml", "listen = \n").expect_err("broken");
        assert!(broken.to_string().starts_with("hotdock.toml:1:"), "{broken}");
    }

    #[test]
    fn names_and_ports_are_addresses() {
        let text = "listen = \":8080\"\nadmin = \"localhost:8081\"\n";
        let config = FileConfig::parse("hotdock.toml", text).expect("a good file");
        assert_eq!(config.listen, "0.0.0.0:8080".parse().ok());
        assert_eq!(config.admin, "127.0.0.1:8081".parse().ok());
    }
}
