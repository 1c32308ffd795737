//! `hotdock.toml`.

mod problems;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;

use self::problems::Problems;
use super::events::FileEvents;
use super::log::log;
use super::outbound::FileOutbound;
use super::value::{COUNT, HEAD, address, duration, in_memory, networks, number, time};
use super::webhook::{self, FileWebhook};
use super::{HttpLimits, LogFormat, Network};
use crate::config::ForwardedHeader;
use crate::{escape, files};

pub(super) use self::problems::Contradiction;

/// Bytes of the file.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// What fewer bytes of unsent answers than this are no bound for.
const MIB: u64 = 1 << 20;

/// Header lines: as many as are kept of a head, whoever says more.
const MAX_HEADERS: u64 = 10_000;

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
    #[serde(deserialize_with = "log")]
    pub(super) log: Option<String>,
    #[serde(deserialize_with = "in_memory::<_, { 64 << 10 }>")]
    pub(super) log_keep: Option<ByteSize>,
    #[serde(deserialize_with = "in_memory::<_, { 16 << 20 }>")]
    pub(super) host_memory: Option<ByteSize>,
    #[serde(deserialize_with = "in_memory::<_, { 16 << 20 }>")]
    pub(super) guest_memory: Option<ByteSize>,
    pub(super) http: FileHttp,
    pub(super) outbound: FileOutbound,
    pub(super) deploy: FileDeploy,
    pub(super) events: FileEvents,
    pub(super) webhook: Vec<FileWebhook>,
}

/// `[deploy]`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct FileDeploy {
    #[serde(deserialize_with = "number::<_, _, 1, COUNT>")]
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
    #[serde(deserialize_with = "number::<_, _, 1, MAX_HEADERS>")]
    max_headers: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 8192, HEAD>")]
    max_header_bytes: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 1, COUNT>")]
    max_concurrent_streams: Option<u32>,
    #[serde(deserialize_with = "time")]
    keep_alive: Option<Duration>,
    #[serde(deserialize_with = "number::<_, _, 100, COUNT>")]
    max_control_frames: Option<u32>,
    #[serde(deserialize_with = "in_memory::<_, MIB>")]
    max_unsent: Option<ByteSize>,
    #[serde(deserialize_with = "number::<_, _, 1, COUNT>")]
    max_connections: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 1, COUNT>")]
    max_connections_per_address: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 1, COUNT>")]
    max_uploads: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 1, COUNT>")]
    max_uploads_per_address: Option<usize>,
    #[serde(deserialize_with = "number::<_, _, 1, COUNT>")]
    admin_max_connections: Option<usize>,
    #[serde(deserialize_with = "networks")]
    trust_forwarded: Option<Vec<Network>>,
    forwarded: Option<Vec<ForwardedHeader>>,
    #[serde(deserialize_with = "time")]
    idempotency_ttl: Option<Duration>,
    #[serde(deserialize_with = "number::<_, _, 1, COUNT>")]
    max_idempotency_keys: Option<usize>,
}

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("{}: {error}", escape::path(.path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why. (Not a source: it is said already.)
        error: std::io::Error,
    },
    /// It says something that it can't.
    #[error("{words}")]
    Invalid {
        /// All of that, a line each.
        words: String,
        /// What it says besides, where it can be told.
        rest: Option<Box<FileConfig>>,
        /// The settings that are wrong, by their keys.
        wrong: Vec<String>,
    },
}

impl FileConfig {
    /// Reads the file; where it was not asked for by name it may be absent.
    ///
    /// # Errors
    /// When it cannot be read, or says something that it can't.
    pub fn read(path: &Path, must_exist: bool) -> Result<Self, ConfigError> {
        // As one says that there is none.
        if path == Path::new("/dev/null") {
            return Ok(Self::default());
        }
        let text = match files::read_text(path, MAX_FILE_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => {
                return Ok(Self::default());
            }
            Err(error) => return Err(ConfigError::Read { path: path.to_owned(), error }),
        };
        Self::parse(&escape::path(path), &text)
    }

    /// What cannot hold together.
    fn contradictions(&self) -> Vec<Contradiction> {
        let default = HttpLimits::default();
        let http = &self.http;
        let connections =
            ("http.max-connections", http.max_connections.unwrap_or(default.max_connections));
        let uploads = ("http.max-uploads", http.max_uploads.unwrap_or(default.max_uploads));
        let connections_each =
            ("http.max-connections-per-address", http.max_connections_per_address);
        let uploads_each = ("http.max-uploads-per-address", http.max_uploads_per_address);
        let shares = [
            Contradiction::more(connections_each, connections),
            Contradiction::more(uploads_each, uploads),
        ];
        let shares = shares.into_iter().flatten();
        shares
            .chain(self.outbound.contradictions())
            .chain(self.events.contradictions())
            .chain(webhook::contradictions(&self.webhook))
            .collect()
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
        let mut problems = Problems::new(name, text);
        if problems.of_syntax() {
            return Err(problems.into_error(None));
        }
        let mut rest = text.to_owned();
        loop {
            // It stops at the first error: what that is about is taken out, and all else read.
            let error = match toml::from_str::<Self>(&rest) {
                Ok(config) => {
                    problems.of_contradictions(&config.contradictions(), &rest);
                    if problems.is_empty() {
                        return Ok(config);
                    }
                    return Err(problems.into_error(Some(config)));
                }
                Err(error) => error,
            };
            if !problems.takes_out(&error, &mut rest) {
                return Err(problems.into_error(None));
            }
        }
    }
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
    fn a_key_of_another_table_is_told_where_it_belongs() {
        for (text, words) in [
            (
                "idempotency-ttl = \"1h\"\n",
                "hotdock.toml:1:1: `idempotency-ttl` is no setting here; it belongs under [http]",
            ),
            ("keep-versions = 3\n", "is no setting here; it belongs under [deploy]"),
            ("accept = [\"a\"]\n", "`accept` is no setting here; it belongs under [events]"),
            ("secret-file = \"x\"\n", "it belongs under [[webhook]]"),
            ("idle-timeout = \"1s\"\n", "it belongs under [http] or under [outbound]"),
            ("[http]\nlisten = \":1\"\n", "it belongs at the top, before the first [table]"),
            ("[deploy]\nmax-body = \"1MiB\"\n", "it belongs under [events]"),
        ] {
            let error = FileConfig::parse("hotdock.toml", text).expect_err(text).to_string();
            assert!(error.ends_with(words), "{text}{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
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
            ("12:", "webhook `a` has no `url`"),
            ("12:", "webhook `a` has no `types`"),
        ] {
            let found = lines.iter().any(|line| {
                line.starts_with(&format!("hotdock.toml:{place}")) && line.contains(words)
            });
            assert!(found, "{place} {words} in:\n{error}");
        }
        assert_eq!(lines.len(), 8, "{error}");
        let broken = FileConfig::parse("hotdock.toml", "listen = \n").expect_err("broken");
        assert!(broken.to_string().starts_with("hotdock.toml:1:"), "{broken}");
    }

    #[test]
    fn kinds_of_values_are_named_as_people_name_them() {
        for (text, words) in [
            ("[http]\nforwarded = \"x\"\n", "`http.forwarded` must be a list; found: string"),
            ("[webhook]\nname = \"a\"\n", "must be a list of tables, as [[webhook]] makes one"),
            ("drain = []\n", "`drain` must be a string; found: a list"),
            ("compile-timeout = \"1ns\"\n", "it must be 1ms at the least; found: 1ns"),
        ] {
            let error = FileConfig::parse("hotdock.toml", text).expect_err(text).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_share_that_is_more_than_the_whole_is_refused_with_its_place() {
        let text = "[http]\nmax-connections = 10\nmax-connections-per-address = 11\n\
                    max-uploads-per-address = 2000\nlisen = 1\n";
        let error = FileConfig::parse("hotdock.toml", text).expect_err("more").to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 3, "{error}");
        assert!(lines[0].starts_with("hotdock.toml:3:31: "), "{error}");
        let says = |line: &str, words: &str| assert!(line.contains(words), "{error}");
        says(lines[0], "11 is more than `http.max-connections`, which is 10: lower the one");
        says(lines[1], "2000 is more than `http.max-uploads`, which is 1024");
        // Who says only how many there are has no more of one address.
        FileConfig::parse("hotdock.toml", "[http]\nmax-connections = 10\n").expect("good");
        let none = FileConfig::read(Path::new("/dev/null"), true).expect("an empty file");
        assert!(none.listen.is_none());
    }

    #[test]
    fn every_wrong_entry_of_a_list_is_told_and_what_is_right_is_kept() {
        let text = "drain = \"1h\"\nfolder = 7\n[http]\nforwarded = [\n  \"x\", # one\n  \"forwarded\",\n  \"y\"]\n\
                    max-connections = \"ten\"\nmax-connections-per-address = 20000\n[events]\naccept = [\"a..b\", \
                    { type = \"c\", sources = \"/x\" }, { type = \"d..e\", source = \"/x\" }]\n";
        let error = FileConfig::parse("hotdock.toml", text).expect_err("wrong");
        let told = error.to_string();
        for (place, words) in [
            ("2:10", "`folder` must be"),
            ("5:3", "`http.forwarded` must be"),
            ("7:3", "`http.forwarded` must be"),
            ("8:19", "`http.max-connections` must be a whole number"),
            ("11:11", "`a..b`: a pattern has no empty segments"),
            ("11:33", "`sources` is no setting; did you mean `source`?"),
            ("11:51", "`d..e`: a pattern has no empty segments"),
        ] {
            let is_it = |line: &str| {
                line.starts_with(&format!("hotdock.toml:{place}: ")) && line.contains(words)
            };
            assert!(told.lines().any(is_it), "{place} {words} in:\n{told}");
        }
        assert_eq!(told.lines().count(), 7, "{told}");
        let ConfigError::Invalid { rest: Some(rest), wrong, .. } = error else { panic!("{error}") };
        assert_eq!(rest.drain, Some(Duration::from_secs(3600)));
        assert!(wrong.contains(&"folder".to_owned()), "{wrong:?}");
    }

    #[test]
    fn what_no_machine_holds_is_refused_with_the_most_that_is_taken() {
        for (text, words) in [
            ("guest-memory = \"1PiB\"\n", "of memory at the most, which is what this"),
            ("host-memory = \"1PiB\"\n", "of memory at the most, which is what this"),
            ("log-keep = \"1PiB\"\n", "of memory at the most, which is what this"),
            ("[http]\nmax-unsent = \"1PiB\"\n", "of memory at the most, which is what this"),
            ("[http]\nmax-headers = 1000000\n", "a whole number from 1 to 10000; found"),
            ("[http]\nmax-header-bytes = 1000000000\n", "from 8192 to 16777216; found"),
            ("[http]\nmax-connections = 9223372036854775807\n", "from 1 to 1000000000; found"),
            ("[outbound]\nmax-connections = 9223372036854775807\n", "from 1 to 1000000000;"),
            ("drain = \"10000000000years\"\n", "it must be 100years at the most"),
            ("[events]\nretain = \"101years\"\n", "it must be 100years at the most"),
        ] {
            let error = FileConfig::parse("hotdock.toml", text).expect_err(text).to_string();
            assert!(error.starts_with("hotdock.toml:") && error.contains(words), "{text}{error}");
        }
    }

    #[test]
    fn names_and_ports_are_addresses() {
        let text = "listen = \":8080\"\nadmin = \"localhost:8081\"\n";
        let config = FileConfig::parse("hotdock.toml", text).expect("a good file");
        assert_eq!(config.listen, "0.0.0.0:8080".parse().ok());
        assert_eq!(config.admin, "127.0.0.1:8081".parse().ok());
    }
}
