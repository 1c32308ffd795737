//! `hotdock.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::events::FileEvents;
use super::outbound::FileOutbound;
use super::webhook::{FileWebhook, webhooks};
use super::{HttpLimits, LogFormat, Network};
use crate::http::forwarded::ForwardedHeader;

/// How alike an unknown key and a known one must be to suggest it.
const ALIKE: f64 = 0.7;

/// The file's settings; what it leaves out is `None`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FileConfig {
    pub(super) folder: Option<PathBuf>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    token_file: Option<PathBuf>,
    pub(super) data: Option<PathBuf>,
    pub(super) secrets: Option<PathBuf>,
    #[serde(deserialize_with = "duration")]
    pub(super) drain: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    pub(super) compile_timeout: Option<Duration>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) log: Option<String>,
    pub(super) log_keep: Option<ByteSize>,
    pub(super) host_memory: Option<ByteSize>,
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
    keep_versions: Option<usize>,
    #[serde(deserialize_with = "duration")]
    pub(super) upload_idle_timeout: Option<Duration>,
}

/// `[http]`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct FileHttp {
    #[serde(deserialize_with = "duration")]
    first_byte_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    header_read_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    idle_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    body_idle: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    answer_idle: Option<Duration>,
    max_headers: Option<usize>,
    max_header_bytes: Option<usize>,
    max_concurrent_streams: Option<u32>,
    #[serde(deserialize_with = "duration")]
    keep_alive: Option<Duration>,
    max_control_frames: Option<u32>,
    max_unsent: Option<ByteSize>,
    max_connections: Option<usize>,
    max_connections_per_address: Option<usize>,
    max_uploads: Option<usize>,
    max_uploads_per_address: Option<usize>,
    admin_max_connections: Option<usize>,
    #[serde(deserialize_with = "networks")]
    trust_forwarded: Option<Vec<Network>>,
    forwarded: Option<Vec<ForwardedHeader>>,
    #[serde(deserialize_with = "duration")]
    idempotency_ttl: Option<Duration>,
    max_idempotency_keys: Option<usize>,
}

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
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
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => {
                return Ok(Self::default());
            }
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
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
    /// With file, line, column, and the nearest known key for an unknown one.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            let before = &text[..text.floor_char_boundary(offset)];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
            let message = error.message();
            let nearest = nearest(message).unwrap_or_default();
            ConfigError::Invalid(format!("{name}:{line}:{column}: {message}{nearest}"))
        })
    }
}

/// The nearest of the keys that a message about an unknown one lists.
fn nearest(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let likeness = |known: &&str| (strsim::jaro_winkler(known, unknown) * 1000.0) as i64;
    let best = quoted.max_by_key(likeness)?;
    (strsim::jaro_winkler(best, unknown) >= ALIKE).then(|| format!("; did you mean `{best}`?"))
}

impl FileDeploy {
    /// One at the least: a rollback has to lead somewhere.
    pub(super) fn keep_versions(&self, default: usize) -> usize {
        self.keep_versions.unwrap_or(default).max(1)
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
            // What the HTTP/1 parser needs at the least.
            max_header_bytes: self
                .max_header_bytes
                .unwrap_or(default.max_header_bytes)
                .max(8 << 10),
            max_concurrent_streams: self
                .max_concurrent_streams
                .unwrap_or(default.max_concurrent_streams),
            keep_alive: self.keep_alive.or(default.keep_alive),
            max_control_frames: self.max_control_frames.unwrap_or(default.max_control_frames),
            max_unsent: self.max_unsent.map_or(default.max_unsent, |size| size.as_u64()),
            max_connections: self.max_connections.unwrap_or(default.max_connections).max(1),
            max_connections_per_address: self
                .max_connections_per_address
                .unwrap_or(default.max_connections_per_address)
                .max(1),
            max_uploads: self.max_uploads.unwrap_or(default.max_uploads).max(1),
            max_uploads_per_address: self
                .max_uploads_per_address
                .unwrap_or(default.max_uploads_per_address)
                .max(1),
            admin_max_connections: self
                .admin_max_connections
                .unwrap_or(default.admin_max_connections)
                .max(1),
            trust_forwarded: self.trust_forwarded.unwrap_or(default.trust_forwarded),
            forwarded: self.forwarded.map_or(default.forwarded, Arc::from),
            idempotency_ttl: self.idempotency_ttl.unwrap_or(default.idempotency_ttl),
            max_idempotency_keys: self.max_idempotency_keys.unwrap_or(default.max_idempotency_keys),
        }
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map(Some)
        .map_err(|_| D::Error::custom(format!("`{text}` is no duration such as 30s or 500ms")))
}

pub(super) fn networks<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Network>>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parsed: Result<Vec<Network>, _> = texts.iter().map(|text| text.parse()).collect();
    parsed.map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_the_nearest() {
        let error = FileConfig::parse("hotdock.toml", "data = \"x\"\nlisen = \"127.0.0.1:1\"\n");
        let error = error.expect_err("unknown").to_string();
        assert!(error.starts_with("hotdock.toml:2:1: unknown field `lisen`"), "{error}");
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
}
