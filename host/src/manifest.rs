//! What a service declares about itself: `cart.toml` beside `cart.wasm`, or the
//! component's own custom section `hotdock.manifest`. The file wins: where there
//! is one, the embedded manifest counts for nothing, not even for keys that the
//! file leaves out.
//!
//! Every key is optional. Unknown keys are refused with file, line and the
//! nearest known key, so that a typing error never changes what is deployed.

mod calls;
mod canary;
mod cron;
mod embedded;
mod fields;
mod origin;
mod parse;
mod problem;
mod quantity;
mod route;
mod schedule;
mod subscribe;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::digest::Digest;
use crate::name::ServiceName;

pub use canary::{Canary, Sticky, parse_steps, parse_sticky};
pub use cron::{Cron, CronError};
pub use embedded::{EmbeddedError, SECTION as EMBEDDED_SECTION, embed, embedded};
pub use origin::{Origin, OriginError, OriginPattern};
pub use parse::{MAX_TEXT_BYTES, ManifestText, service_name};
pub use problem::{ManifestError, Problem};
pub use quantity::MAX_TABLE_ELEMENTS;
pub use schedule::{Missed, Schedule};
pub use subscribe::{Backoff, StartPosition, Subscription, WhenFailed};

/// A manifest with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// `[service] name`; by default the file's stem.
    pub service: ServiceName,
    /// `[[route]]`; by default one route `/<service>`.
    pub routes: Vec<Route>,
    /// Whether it is the default that they are.
    pub routes_by_default: bool,
    /// `[[subscribe]]`.
    pub subscriptions: Vec<Subscription>,
    /// `[[schedule]]`.
    pub schedules: Vec<Schedule>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[instances]`.
    pub instances: Instances,
    /// `[capabilities]`.
    pub capabilities: Capabilities,
    /// `[imports]`: which of the services that it calls an imported interface leads to, by the
    /// interface's name without its version: `shop:cart/carts`.
    pub imports: BTreeMap<String, ServiceName>,
    /// `[deploy]`.
    pub deploy: Deploy,
    /// `[[migration]]`, in the order they are applied.
    pub migrations: Vec<Migration>,
    /// The digest of the manifest's text, or of nothing where there is none.
    pub digest: Digest,
}

/// Requests that a service answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// A prefix of whole path segments: `/cart` matches `/cart` and `/cart/7`,
    /// not `/cartoon`. The longest prefix wins.
    pub path: String,
    /// Only requests for this host, lower case and without port.
    pub host: Option<String>,
    /// Only these methods; others are answered 405. `None`: all.
    pub methods: Option<Vec<http::Method>>,
}

/// What one invocation, or all of a service's together, may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `memory` (64 MiB): all memories of one instance together, in bytes.
    pub memory: u64,
    /// `cpu` (500 ms): time inside the guest per invocation.
    pub cpu: Duration,
    /// `deadline` (5 s): wall clock per invocation, from its start to its
    /// answer's head; and to its end where nothing of its body is to come.
    pub deadline: Duration,
    /// `body-idle` (30 s): an answer that is a stream ends when nothing of its
    /// body is made or taken for so long.
    pub body_idle: Duration,
    /// `body-deadline` (none): how long a stream may take, from its head.
    pub body_deadline: Option<Duration>,
    /// `streams` (64): answers at once whose bodies are still coming after their
    /// heads; beyond it they count as the others, and end at their deadline.
    pub streams: usize,
    /// `table-elements` (100 000): elements of all tables of one instance
    /// together, mostly one for each function that is called by a pointer.
    pub table_elements: u64,
    /// `handles` (10 000): resources that one instance holds at once: headers,
    /// bodies, streams, timers, buckets, tasks.
    pub handles: u64,
    /// `host-memory` (64 MiB): what the host holds for one instance beside its
    /// memories, in bytes: headers, bodies that wait, values, rows, events, lists.
    pub host_memory: u64,
    /// `log` (64 KiB): what one invocation may print and log; the rest is
    /// dropped.
    pub log: u64,
    /// `concurrency` (64): invocations at once; beyond it they queue.
    pub concurrency: usize,
    /// `queue` (256): invocations waiting; beyond it 503 with `Retry-After`.
    pub queue: usize,
    /// `outbound-requests` (64): outgoing requests of the service at once;
    /// beyond it `connection-limit-reached`.
    pub outbound_requests: usize,
    /// `request-body` (1 MiB): beyond it 413.
    pub request_body: u64,
    /// `replay-body` (1 MiB): how much of a request's body is kept so that the
    /// invocation can run again after a conflict. A request with an
    /// `Idempotency-Key` and a larger body is refused with 413.
    pub replay_body: u64,
    /// `response-buffer` (1 MiB): a finished body of at most this size is sent
    /// with `Content-Length`. A larger answer to a request with an
    /// `Idempotency-Key` cannot be kept: it is 502, and nothing was written.
    pub response_buffer: u64,
    /// `response-body` (64 MiB): the largest body of an answer; a larger one is
    /// cut off.
    pub response_body: u64,
}

/// How instances are reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instances {
    /// `reuse` (1): invocations per instance; 1 is a fresh instance each time.
    pub reuse: u32,
    /// `idle` (10 s): how long an instance is kept without work.
    pub idle: Duration,
}

/// What a service is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `outbound`: where it may send requests to; nowhere by default.
    pub outbound: Vec<OriginPattern>,
    /// `config`: what `wasi:config` returns to it.
    pub config: BTreeMap<String, String>,
    /// `environment`: the environment variables that it sees.
    pub environment: BTreeMap<String, String>,
    /// `secrets`: names of what the operator supplies and `wasi:config` returns
    /// to it by name only.
    pub secrets: BTreeSet<String>,
    /// `calls`: services whose exported interfaces it may import; none by default.
    pub calls: BTreeSet<ServiceName>,
}

/// How a version comes in and goes out.
#[derive(Clone, Debug, PartialEq)]
pub struct Deploy {
    /// `health`: a path asked of the candidate before it gets any traffic; it
    /// must answer with a 2xx status.
    pub health: Option<String>,
    /// `drain` (30 s): how long the old version's requests may go on.
    pub drain: Duration,
    /// `canary`: takes the traffic over step by step, and gives it back where it
    /// errs more than the old version; by default it takes all at once.
    pub canary: Option<Canary>,
    /// `allow-breaking` (false): also where it lacks or changes what the version
    /// that serves has for others.
    pub allow_breaking: bool,
}

/// SQL that is applied once, before the version that brings it gets traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its name, unique in the service; migrations are applied in their order.
    pub name: String,
    /// One or more statements.
    pub sql: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            table_elements: 100_000,
            handles: 10_000,
            host_memory: 64 << 20,
            log: 64 << 10,
            cpu: Duration::from_millis(500),
            deadline: Duration::from_secs(5),
            body_idle: Duration::from_secs(30),
            body_deadline: None,
            streams: 64,
            concurrency: 64,
            queue: 256,
            outbound_requests: 64,
            request_body: 1 << 20,
            replay_body: 1 << 20,
            response_buffer: 1 << 20,
            response_body: 64 << 20,
        }
    }
}

impl Default for Instances {
    fn default() -> Self {
        Self { reuse: 1, idle: Duration::from_secs(10) }
    }
}

impl Default for Deploy {
    fn default() -> Self {
        Self { health: None, drain: Duration::from_secs(30), canary: None, allow_breaking: false }
    }
}

impl Manifest {
    /// The subscription of this name.
    #[must_use]
    pub fn subscription(&self, name: &str) -> Option<&Subscription> {
        self.subscriptions.iter().find(|subscription| subscription.name == name)
    }

    /// The manifest of a service that brings none: it serves `/<service>`.
    #[must_use]
    pub fn default_for(service: ServiceName) -> Self {
        Self {
            routes: vec![Route { path: format!("/{service}"), host: None, methods: None }],
            routes_by_default: true,
            service,
            limits: Limits::default(),
            instances: Instances::default(),
            capabilities: Capabilities::default(),
            imports: BTreeMap::new(),
            deploy: Deploy::default(),
            subscriptions: Vec::new(),
            schedules: Vec::new(),
            migrations: Vec::new(),
            digest: Digest::of(b""),
        }
    }
}
