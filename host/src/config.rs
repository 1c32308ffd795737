//! What the operator sets.
//!
//! A flag wins over its environment variable (`HOTDOCK_…`), that over the file
//! (`hotdock.toml`), that over the default. The result is one value that does
//! not change while the host runs.

mod events;
mod file;
mod forwarded;
mod log;
mod network;
mod opened;
mod outbound;
mod token;
mod value;
mod webhook;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use webhook::FileWebhook;

pub use events::{BODIES_AT_ONCE, EventsConfig};
pub use file::{ConfigError, FileConfig};
pub use forwarded::ForwardedHeader;
pub use log::check_log_filter;
pub use network::{Network, ParseNetworkError, site, socket_address};
pub use opened::{Opened, SourcePattern};
pub use outbound::OutboundConfig;
pub use token::{InvalidToken, TOKEN_VARIABLE, Token, TokenError};
pub use value::{parse_duration, parse_time};
pub use webhook::{WebhookConfig, WebhookMode};

use crate::machine;

/// Everything the operator sets.
#[derive(Clone, Debug)]
pub struct Config {
    /// The plugin folder.
    pub folder: PathBuf,
    /// The public listener's address.
    pub listen: SocketAddr,
    /// The admin listener's address.
    pub admin: SocketAddr,
    /// What the admin listener asks for; none: it is loopback-only.
    pub token: Option<Token>,
    /// The data folder.
    pub data: PathBuf,
    /// The folder of secrets, as `<folder>/<service>/<NAME>`.
    pub secrets: Option<PathBuf>,
    /// How many of a service's versions are kept, besides those with traffic.
    pub keep_versions: usize,
    /// The program that compiles components, as `<compiler> compile INPUT OUTPUT`.
    pub compiler: PathBuf,
    /// How long a component may take to compile.
    pub compile_timeout: Duration,
    /// How long nothing may come of an upload before it is given up.
    pub upload_idle_timeout: Duration,
    /// How long requests under way may go on when the host stops.
    pub drain: Duration,
    /// How the log is written.
    pub log_format: LogFormat,
    /// Which messages are logged, as `tracing` filters say it.
    pub log: String,
    /// How many bytes of the log are kept in memory for operators to read.
    pub log_keep: ByteSize,
    /// How many bytes the host holds for guests, all together, beside their memories.
    pub host_memory: ByteSize,
    /// How many bytes of memory all guests have together.
    pub guest_memory: ByteSize,
    /// The public listener's limits.
    pub http: HttpLimits,
    /// Limits of outgoing requests.
    pub outbound: OutboundConfig,
    /// What the bus keeps, and what it takes from outside.
    pub events: EventsConfig,
    /// Endpoints that events are sent to.
    pub webhooks: Vec<WebhookConfig>,
}

/// The rest is for the host, its caches and the system.
fn three_quarters_of_the_machine() -> ByteSize {
    ByteSize(machine::memory().map_or(u64::MAX, |bytes| bytes / 4 * 3))
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The public listener's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// How long a connection may stay silent before its first byte.
    pub first_byte_timeout: Duration,
    /// How long a client may take over a request's head, or over the start of HTTP/2.
    pub header_read_timeout: Duration,
    /// How long a connection may stand without a request.
    pub idle_timeout: Duration,
    /// How long nothing may come of a request's body.
    pub body_idle: Duration,
    /// How long nothing may be taken of an answer that is ready.
    pub answer_idle: Duration,
    /// Bytes of answers that are in memory and that clients don't take, of all connections
    /// together.
    pub max_unsent: u64,
    /// Header lines in one head.
    pub max_headers: usize,
    /// Bytes of one head.
    pub max_header_bytes: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// How often an HTTP/2 client is asked whether it is still there.
    pub keep_alive: Option<Duration>,
    /// HTTP/2 frames in ten seconds that bring nothing, beside what answers earn.
    pub max_control_frames: u32,
    /// Connections at once; beyond it idle ones go, or the next is refused.
    pub max_connections: usize,
    /// The same of one address, or of one IPv6 network of 64 bits; not of proxies.
    pub max_connections_per_address: usize,
    /// Request bodies at once that take their time.
    pub max_uploads: usize,
    /// The same of one address; not of proxies.
    pub max_uploads_per_address: usize,
    /// Connections at once of the admin listener.
    pub admin_max_connections: usize,
    /// Proxies whose `Forwarded` and `X-Forwarded-*` are believed.
    pub trust_forwarded: Vec<Network>,
    /// In which headers a service is told where a request came from; the others are
    /// removed from what a client sends that isn't believed, too.
    pub forwarded: Arc<[ForwardedHeader]>,
    /// How long an answer is kept under its `Idempotency-Key`.
    pub idempotency_ttl: Duration,
    /// Answers that a service keeps so; beyond it a request with a new key is 503.
    pub max_idempotency_keys: usize,
}

/// What was said on the command line or in the environment.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// See [`Config::folder`].
    pub folder: Option<PathBuf>,
    /// See [`Config::listen`].
    pub listen: Option<SocketAddr>,
    /// See [`Config::admin`].
    pub admin: Option<SocketAddr>,
    /// See [`Config::token`].
    pub token: Option<Token>,
    /// See [`Config::data`].
    pub data: Option<PathBuf>,
    /// See [`Config::secrets`].
    pub secrets: Option<PathBuf>,
    /// See [`Config::drain`].
    pub drain: Option<Duration>,
    /// See [`Config::log_format`].
    pub log_format: Option<LogFormat>,
    /// See [`Config::log`].
    pub log: Option<String>,
    /// See [`HttpLimits::idempotency_ttl`].
    pub idempotency_ttl: Option<Duration>,
    /// See [`OutboundConfig::allow_private`].
    pub outbound_allow_private: Option<Vec<Network>>,
}

impl Config {
    /// What holds when all is said: `overrides`, then `file`, then the defaults.
    #[must_use]
    pub fn resolve(overrides: Overrides, file: FileConfig) -> Self {
        let default = Self::default();
        let mut http = file.http.resolve(default.http);
        if let Some(ttl) = overrides.idempotency_ttl {
            http.idempotency_ttl = ttl;
        }
        Self {
            folder: overrides.folder.or(file.folder).unwrap_or(default.folder),
            listen: overrides.listen.or(file.listen).unwrap_or(default.listen),
            admin: overrides.admin.or(file.admin).unwrap_or(default.admin),
            token: overrides.token,
            data: overrides.data.or(file.data).unwrap_or(default.data),
            keep_versions: file.deploy.keep_versions(default.keep_versions),
            secrets: overrides.secrets.or(file.secrets).or(default.secrets),
            compiler: default.compiler,
            compile_timeout: file.compile_timeout.unwrap_or(default.compile_timeout),
            upload_idle_timeout: file
                .deploy
                .upload_idle_timeout
                .unwrap_or(default.upload_idle_timeout),
            drain: overrides.drain.or(file.drain).unwrap_or(default.drain),
            log_format: overrides.log_format.or(file.log_format).unwrap_or(default.log_format),
            log: overrides.log.or(file.log).unwrap_or(default.log),
            log_keep: file.log_keep.unwrap_or(default.log_keep),
            host_memory: file.host_memory.unwrap_or(default.host_memory),
            guest_memory: file.guest_memory.unwrap_or(default.guest_memory),
            http,
            outbound: file.outbound.resolve(overrides.outbound_allow_private),
            events: file.events.resolve(),
            webhooks: file.webhook.into_iter().filter_map(FileWebhook::resolve).collect(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("plugins"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 8081)),
            token: None,
            data: PathBuf::from(".hotdock"),
            secrets: None,
            keep_versions: 10,
            compiler: PathBuf::from("/proc/self/exe"),
            compile_timeout: Duration::from_secs(120),
            upload_idle_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            log_format: LogFormat::Text,
            log: "info".to_owned(),
            log_keep: ByteSize::mib(4),
            host_memory: ByteSize::gib(1),
            guest_memory: three_quarters_of_the_machine(),
            http: HttpLimits::default(),
            outbound: OutboundConfig::default(),
            events: EventsConfig::default(),
            webhooks: Vec::new(),
        }
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            first_byte_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            body_idle: Duration::from_secs(30),
            answer_idle: Duration::from_secs(60),
            max_unsent: 256 << 20,
            max_headers: 100,
            max_header_bytes: 64 << 10,
            max_concurrent_streams: 256,
            keep_alive: Some(Duration::from_secs(75)),
            max_control_frames: 1_000,
            max_connections: 10_000,
            max_connections_per_address: 2_500,
            max_uploads: 1_024,
            max_uploads_per_address: 256,
            admin_max_connections: 256,
            trust_forwarded: Vec::new(),
            forwarded: Arc::new([ForwardedHeader::XForwardedFor]),
            idempotency_ttl: Duration::from_secs(24 * 60 * 60),
            max_idempotency_keys: 100_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let text = "listen = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n[http]\nmax-headers = 7\nidempotency-ttl = \"1h\"\nmax-idempotency-keys = 9\n";
        let file = FileConfig::parse("hotdock.toml", text).expect("a good file");
        let overrides = Overrides { listen: "127.0.0.1:3".parse().ok(), ..Overrides::default() };
        let config = Config::resolve(overrides, file);
        assert_eq!(config.listen.port(), 3);
        assert_eq!(config.admin.port(), 2);
        assert_eq!(config.http.max_headers, 7);
        assert_eq!(config.http.idempotency_ttl, Duration::from_secs(3600));
        assert_eq!(config.http.max_idempotency_keys, 9);
        assert_eq!(config.data, PathBuf::from(".hotdock"));
        let ttl = Duration::from_secs(5);
        let overrides = Overrides { idempotency_ttl: Some(ttl), ..Overrides::default() };
        let file = FileConfig::parse("hotdock.toml", text).expect("a good file");
        assert_eq!(Config::resolve(overrides, file).http.idempotency_ttl, ttl);
    }

    #[test]
    fn private_networks_are_opened_by_the_operator_alone() {
        let text = "[outbound]\nallow-private = [\"10.0.0.0/8\"]\nconnect-timeout = \"1s\"\n";
        let file = FileConfig::parse("hotdock.toml", text).expect("a good file");
        let config = Config::resolve(Overrides::default(), file.clone());
        let network = |text: &str| text.parse::<Network>().expect("a network");
        assert_eq!(config.outbound.allow_private, [network("10.0.0.0/8")]);
        assert_eq!(config.outbound.connect_timeout, Duration::from_secs(1));
        let said = Some(vec![network("127.0.0.0/8")]);
        let overrides = Overrides { outbound_allow_private: said, ..Overrides::default() };
        let config = Config::resolve(overrides, file);
        assert_eq!(config.outbound.allow_private, [network("127.0.0.0/8")]);
        assert_eq!(Config::default().outbound.allow_private, []);
    }
}
