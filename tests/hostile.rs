//! Components made to hurt their host: what a client gets, what the operator
//! reads, and that the host and a healthy neighbour go on as if nothing was.
//!
//! Most are a few lines of WebAssembly text, see [`guest`]; they are grouped by
//! what they abuse, each group in one host. No test asserts a time.

mod abi;
mod access;
mod answers;
mod binaries;
mod concurrent;
mod costs;
mod cpu;
mod flips;
mod guest;
mod handles;
mod memory;

use std::collections::BTreeMap;

pub use binaries::slow_to_compile;
pub use guest::trapping_in;

use crate::harness::client::Client;
use crate::harness::{Host, Reply, component, eventually, until_right};

/// How much more memory than before a host may hold when its hostile guests are
/// done: the pages that instance slots keep, and what the allocator keeps.
const MEMORY_TOLERANCE: u64 = 64 << 20;

/// Limits that end what would go on for ever soon, but not at once: a test
/// machine may be busy.
/// For guests that compute: on a busy machine the slow lane takes its time.
pub const SPINS: &str = "[limits]\ncpu = \"200ms\"\ndeadline = \"1m\"\n";

/// For guests that wait.
pub const SHORT: &str = "[limits]\ncpu = \"200ms\"\ndeadline = \"2s\"\n";

/// A host with hostile guests and their healthy neighbour, `hello`.
struct Hostile {
    host: Host,
    before: Footprint,
}

/// What a process holds.
#[derive(Debug)]
struct Footprint {
    resident_bytes: u64,
    descriptors: BTreeMap<String, usize>,
}

impl Hostile {
    /// Deploys the guests: name, manifest, component.
    async fn start(guests: &[(&str, &str, Vec<u8>)]) -> Self {
        let (neighbour, _) = component("hello");
        let mut builder = Host::builder().file("hello.wasm", neighbour);
        for (name, manifest, component) in guests {
            builder = builder
                .file(&format!("{name}.wasm"), component.clone())
                .file(&format!("{name}.toml"), *manifest);
        }
        Self::of(builder.start().await).await
    }

    /// Takes a host over whose guests are deployed.
    async fn of(mut host: Host) -> Self {
        assert_eq!(host.get("/hello").await.status, 200);
        let before = Footprint::of(&mut host);
        Self { host, before }
    }

    /// Asks the guest, expects a problem, and that the log has the reason.
    async fn fails(&self, name: &str, status: u16, kind: &str, detail: &str, reason: &str) {
        self.fails_at(name, "", status, kind, detail, reason).await;
    }

    /// The same at a path below the guest's own.
    async fn fails_at(
        &self,
        name: &str,
        path: &str,
        status: u16,
        kind: &str,
        detail: &str,
        reason: &str,
    ) {
        let reply = self.host.get(&format!("/{name}/{path}")).await;
        assert_eq!(reply.problem(status, kind), detail, "{name} {path}");
        self.until_logged(name, reason).await;
        self.neighbour_answers().await;
    }

    /// Asks the guest, and expects that it gets an answer all the same.
    async fn answers(&self, name: &str) -> Reply {
        let reply = self.host.get(&format!("/{name}")).await;
        assert_eq!(reply.status, 200, "{name}: {reply:?}\n{}", self.host.log());
        self.neighbour_answers().await;
        reply
    }

    /// Asks the guest, and expects an answer that is cut off.
    async fn is_cut_off(&self, name: &str, reason: &str) {
        self.is_cut_off_at(name, "", reason).await;
    }

    /// The same at a path below the guest's own.
    async fn is_cut_off_at(&self, name: &str, path: &str, reason: &str) {
        let url = self.host.url(&format!("/{name}/{path}"));
        let reply = self.host.client.try_request(http::Method::GET, &url, "").await;
        assert!(reply.is_err(), "{name} {path}: {reply:?}");
        self.until_logged(name, reason).await;
        self.neighbour_answers().await;
    }

    /// Waits until the component was refused with this reason.
    async fn is_refused(&self, name: &str, reason: &str) {
        let reasons = self.host.until_refused(&format!("{name}.wasm")).await;
        assert!(reasons.contains(reason), "{name}: {reasons}");
        let log = self.host.log();
        let file = format!("\"file\":\"{name}.wasm\"");
        let logged = log.lines().any(|line| line.contains("refused") && line.contains(&file));
        assert!(logged, "{name}: {log}");
        self.neighbour_answers().await;
    }

    /// Waits until the log has a line about the service with this in it.
    async fn until_logged(&self, name: &str, reason: &str) {
        let service = format!("\"service\":\"{name}\"");
        let wanted = reason.replace('"', "\\\"");
        eventually(
            &format!("{name} is logged with {reason:?}:\n{}", self.host.log()),
            async || {
                let log = self.host.log();
                log.lines()
                    .any(|line| line.contains(&service) && line.contains(&wanted))
                    .then_some(())
            },
        )
        .await;
    }

    /// Asks eight times at once for what holds much and then waits, until one is refused with
    /// this reason. As many as have room go on to their deadline, and the neighbour answers.
    async fn has_room_for_some(&self, name: &str, reason: &str) {
        let asked: Vec<_> = (0..8)
            .map(|_| {
                let (client, url) = (self.host.client.clone(), self.host.url(&format!("/{name}")));
                tokio::spawn(async move { client.try_request(http::Method::GET, &url, "").await })
            })
            .collect();
        self.until_logged(name, reason).await;
        self.neighbour_answers().await;
        let mut refused = 0;
        for asked in asked {
            let reply = asked.await.expect("no panic").expect("an answer");
            match reply.status.as_u16() {
                503 => refused += 1,
                status => assert_eq!(status, 504, "{reply:?}"),
            }
        }
        assert!((1..8).contains(&refused), "{refused}");
    }

    async fn neighbour_answers(&self) {
        assert_eq!(self.host.get("/hello").await.status, 200, "{}", self.host.log());
    }

    /// Nothing runs any more, and the host holds what it held before.
    async fn ends_as_it_began(self) {
        self.ends_as_it_began_but_for(0).await;
    }

    /// The same, but for so many bytes that it may keep.
    async fn ends_as_it_began_but_for(mut self, kept_bytes: u64) {
        self.neighbour_answers().await;
        self.host.until_idle().await;
        let before = self.before;
        let host = &mut self.host;
        until_right(async || {
            // What one thread took and another freed goes back when the first runs again.
            assert_eq!(host.get("/hello").await.status, 200);
            let now = Footprint::of(host);
            let known = |kind: &String| before.descriptors.get(kind).copied().unwrap_or(0);
            let no_more = now.descriptors.iter().all(|(kind, count)| *count <= known(kind));
            let limit = before.resident_bytes + MEMORY_TOLERANCE + kept_bytes;
            match no_more && now.resident_bytes <= limit {
                true => Ok(()),
                false => Err(format!("it holds what it held: {now:?}, and held {before:?}")),
            }
        })
        .await;
    }
}

impl Footprint {
    /// Without the connections of the host's own client, which is replaced.
    fn of(host: &mut Host) -> Self {
        host.client = Client::new();
        let folder = format!("/proc/{}/fd", host.pid());
        let mut descriptors = BTreeMap::new();
        for entry in std::fs::read_dir(folder).expect("descriptors").flatten() {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            let kind = target.to_string_lossy().split(':').next().unwrap_or_default().to_owned();
            *descriptors.entry(kind).or_default() += 1;
        }
        Self { resident_bytes: host.resident_bytes(), descriptors }
    }
}
