//! Mixed load for as long as it takes to see what grows: swaps, kills, clients that leave and
//! guests that compute, trap and wait. An hour in `make soak` (`HOTDOCK_SOAK_MINUTES`); some
//! seconds in the suite, which show that it all works together and comes back.
//!
//! What a process holds is sampled all the while: memory by what it is mapped for, descriptors
//! by kind, threads, and the data folder. The slope is that of the second half, when caches and
//! pools have what they will ever have.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use super::{LONG, until_all_is_back};
use crate::harness::client::Client;
use crate::harness::raw::Raw;
use crate::harness::{Host, hello};

const LIMITS: &str = "[limits]\ncpu = \"2s\"\ndeadline = \"5s\"\n";

/// Memory that may seem to grow in an hour: what the allocator does with what comes and goes.
const NOISE_PER_HOUR: f64 = 24.0 * (1 << 20) as f64;

/// How many samples a run takes.
const SAMPLES: u32 = 60;

/// Those of a run in the suite.
const FEW_SAMPLES: u32 = 9;

/// What is asked for again and again, by the service and how often of a hundred times.
const REQUESTS: [(&str, &str, u32); 14] = [
    ("GET", "/hello", 30),
    ("GET", "/cart?user_id=7", 10),
    ("POST", "/probe/increment?key=a", 8),
    ("POST", "/probe/sql-slow?ms=0", 6),
    ("POST", "/probe3/increment?key=b", 8),
    ("GET", "/probe/sse?n=5&ms=2", 6),
    ("GET", "/probe3/big?bytes=300000", 4),
    ("GET", "/compute?rounds=5000000", 10),
    ("GET", "/compute02?rounds=20000000", 4),
    ("GET", "/compute3?rounds=5000000", 6),
    ("GET", "/probe/end?then=trap", 2),
    ("GET", "/probe3/end?then=trap&body=open", 2),
    ("GET", "/probe/end?then=compute&rounds=5000000", 2),
    ("GET", "/consumer/end?key=k&commit=true", 2),
];

/// What the process holds at a moment.
struct Sample {
    at: Duration,
    /// Bytes resident, by what they are mapped for.
    memory: BTreeMap<String, u64>,
    descriptors: BTreeMap<String, u64>,
    threads: u64,
    disk: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_grows_under_mixed_load() {
    let length = length();
    let mut host = start().await;
    // Kills first: what is sampled then is one process.
    let kills = if length > Duration::from_secs(60) { 3 } else { 1 };
    for _ in 0..kills {
        under_load(&host, length / 20, |_| {}).await;
        host.kill();
        host.start().await;
    }
    let mut samples = Vec::new();
    let begun = Instant::now();
    let asked =
        under_load(&host, length, |host| samples.push(Sample::of(host, begun.elapsed()))).await;
    for service in ["hello", "compute", "compute02", "compute3", "probe", "probe3", "consumer"] {
        until_all_is_back(&host, service).await;
    }
    report(&samples, asked, length);
    flat("threads", &samples, |sample| sample.threads, 8);
    flat("descriptors", &samples, |sample| sample.descriptors.values().sum(), 64);
    if length >= Duration::from_secs(30 * 60) {
        let slope = slope_per_hour(&samples, |sample| sample.memory.values().sum());
        assert!(slope < NOISE_PER_HOUR, "memory grows by {:.1} MiB an hour", mib(slope));
    }
}

fn length() -> Duration {
    let minutes = std::env::var("HOTDOCK_SOAK_MINUTES").ok().and_then(|text| text.parse().ok());
    let soaks = std::env::var_os("HOTDOCK_SOAK").is_some();
    let minutes: f64 = minutes.unwrap_or(if soaks { 60.0 } else { 0.1 });
    Duration::from_secs_f64(minutes * 60.0)
}

async fn start() -> Host {
    let mut builder = Host::builder().plugin("cart").file("hello.wasm", hello(1));
    for service in ["probe", "probe3", "consumer", "consumer3", "compute", "compute02", "compute3"]
    {
        builder = builder.plugin_with(service, LIMITS);
    }
    // What is kept for long by design is kept for a short time, so that its level is reached.
    builder.settings("[events]\nretain = \"1m\"\n").start().await
}

/// Has clients ask for all of it for this long. Returns how many answers there were.
async fn under_load(host: &Host, length: Duration, mut look: impl FnMut(&Host)) -> u64 {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..8 {
        let client = if number % 2 == 0 { Client::new() } else { Client::h2c() };
        let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
        let (address, base) = (host.address, host.url(""));
        clients.spawn(async move {
            let mut random = fastrand::Rng::with_seed(number);
            while !stop.load(Ordering::Relaxed) {
                let (method, path) = pick(&mut random);
                if random.u32(0..50) == 0 {
                    leave(address, path, &mut random).await;
                    continue;
                }
                let method = Method::try_from(method).expect("a method");
                let _how_it_ends_is_its_own =
                    client.try_request(method, &format!("{base}{path}"), "").await;
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let begun = Instant::now();
    let samples = if length < Duration::from_secs(30) { FEW_SAMPLES } else { SAMPLES };
    for sample in 1..=samples {
        operate(host, sample).await;
        look(host);
        tokio::time::sleep_until((begun + length * sample / samples).into()).await;
    }
    stop.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}
    asked.load(Ordering::Relaxed)
}

/// A swap, and events.
async fn operate(host: &Host, sample: u32) {
    host.drop_file("hello.wasm", hello(1 + sample % 2));
    let steps = json!([{"do": "compute", "rounds": LONG / 10}, {"do": "count", "key": "soak"}]);
    let events: Vec<_> = (0..20)
        .map(|key: u32| json!({"type": "test.steps", "key": key.to_string(), "data": steps}))
        .collect();
    let _full_or_not = host
        .client
        .try_request(Method::POST, &host.url("/consumer/publish"), json!(events).to_string())
        .await;
}

fn pick(random: &mut fastrand::Rng) -> (&'static str, &'static str) {
    let mut at = random.u32(0..100);
    for (method, path, share) in REQUESTS {
        match at.checked_sub(share) {
            Some(rest) => at = rest,
            None => return (method, path),
        }
    }
    ("GET", "/hello")
}

/// Asks, and leaves at some moment.
async fn leave(address: std::net::SocketAddr, path: &str, random: &mut fastrand::Rng) {
    let Some(mut raw) = Raw::try_connect(address).await else { return };
    raw.try_send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    tokio::time::sleep(Duration::from_micros(random.u64(0..20_000))).await;
}

impl Sample {
    fn of(host: &Host, at: Duration) -> Self {
        let process = format!("/proc/{}", host.pid());
        let mut descriptors = BTreeMap::new();
        for entry in std::fs::read_dir(format!("{process}/fd")).expect("it runs").flatten() {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            let target = target.to_string_lossy();
            let kind = match target.rsplit_once('/') {
                Some((_, file)) => file.rsplit('.').next().unwrap_or(file).to_owned(),
                None => target.split(':').next().unwrap_or_default().to_owned(),
            };
            *descriptors.entry(kind).or_default() += 1;
        }
        Self {
            at,
            memory: memory(&process),
            descriptors,
            threads: std::fs::read_dir(format!("{process}/task")).expect("it runs").count() as u64,
            disk: size(&host.data()),
        }
    }
}

/// Resident bytes, by what they are mapped for.
fn memory(process: &str) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(format!("{process}/smaps")).unwrap_or_default();
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        if let Some(mapping) = Mapping::parse(line) {
            mappings.push(mapping);
        } else if let (Some(bytes), Some(last)) = (line.strip_prefix("Rss:"), mappings.last_mut()) {
            let kib: u64 = bytes.trim().trim_end_matches(" kB").parse().expect("a number");
            last.resident = kib << 10;
        }
    }
    let mut memory = BTreeMap::new();
    for (index, mapping) in mappings.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| mappings.get(before));
        *memory.entry(mapping.kind(before, mappings.get(index + 1))).or_default() +=
            mapping.resident;
    }
    memory
}

/// A line of `maps` (proc_pid_maps(5)), and how much of it is resident.
struct Mapping {
    start: u64,
    end: u64,
    is_closed: bool,
    file: String,
    resident: u64,
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = (address(start)?, address(end)?);
        let is_closed = words.next()?.starts_with("---");
        let file = words.nth(3).unwrap_or_default();
        let file = file.rsplit('/').next().unwrap_or(file).to_owned();
        Some(Self { start, end, is_closed, file, resident: 0 })
    }

    fn length(&self) -> u64 {
        self.end - self.start
    }

    /// What it is for. What has no name is known by its neighbours: behind a linear memory comes
    /// what it may grow to, before a stack a guard.
    fn kind(&self, before: Option<&Self>, after: Option<&Self>) -> String {
        let is_closed = |mapping: &&Self| mapping.is_closed;
        let before = before.filter(is_closed).filter(|before| before.end == self.start);
        let after = after.filter(is_closed).filter(|after| after.start == self.end);
        let kind = match self.file.rsplit_once('.') {
            Some((_, kind)) => kind,
            None if !self.file.is_empty() => &self.file,
            None if after.is_some_and(|after| after.length() >= 1 << 30) => "linear memories",
            None if before.is_some_and(|before| before.length() <= 1 << 16)
                && self.length() <= 16 << 20 =>
            {
                "stacks"
            }
            None if self.length() >= 4 << 30 => "tables",
            None => "heap",
        };
        kind.to_owned()
    }
}

fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size(&entry.path()),
            _ => entry.metadata().map_or(0, |file| file.len()),
        })
        .sum()
}

/// By least squares, over the second half.
fn slope_per_hour(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> f64 {
    let half = &samples[samples.len() / 2..];
    let points: Vec<(f64, f64)> =
        half.iter().map(|sample| (sample.at.as_secs_f64() / 3600.0, of(sample) as f64)).collect();
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (x, y) = (x / count, y / count);
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x).powi(2))
    });
    above / below
}

/// The most of the last third is no more than that of the middle one, but for `noise`.
fn flat(what: &str, samples: &[Sample], of: impl Fn(&Sample) -> u64, noise: u64) {
    let third = samples.len() / 3;
    let most = |samples: &[Sample]| samples.iter().map(&of).max().unwrap_or_default();
    let (middle, last) = (most(&samples[third..2 * third]), most(&samples[2 * third..]));
    assert!(last <= middle + noise, "{what}: {middle} at the most, then {last}");
}

fn report(samples: &[Sample], asked: u64, length: Duration) {
    let (Some(first), Some(last)) = (samples.get(samples.len() / 2), samples.last()) else {
        return;
    };
    let total = |sample: &Sample| sample.memory.values().sum::<u64>();
    eprintln!("{asked} answers in {length:?}; from the middle to the end:");
    eprintln!(
        "memory: {:.1} to {:.1} MiB, {:+.1} MiB an hour; of that:",
        mib(total(first) as f64),
        mib(total(last) as f64),
        mib(slope_per_hour(samples, total))
    );
    for (name, bytes) in &last.memory {
        let slope = slope_per_hour(samples, |sample| sample.memory.get(name).copied().unwrap_or(0));
        if *bytes > 1 << 20 || slope.abs() > (1 << 20) as f64 {
            eprintln!("  {name}: {:.1} MiB, {:+.1} MiB an hour", mib(*bytes as f64), mib(slope));
        }
    }
    eprintln!("threads: {} to {}", first.threads, last.threads);
    eprintln!("descriptors: {:?} to {:?}", first.descriptors, last.descriptors);
    eprintln!(
        "disk: {:.1} to {:.1} MiB, {:+.1} MiB an hour",
        mib(first.disk as f64),
        mib(last.disk as f64),
        mib(slope_per_hour(samples, |sample| sample.disk))
    );
}

fn mib(bytes: f64) -> f64 {
    bytes / (1 << 20) as f64
}
