//! SQL as nobody would write it, for as long as it takes, beside a service that is well.
//!
//! `HOTDOCK_FUZZ_SECONDS` says for how long (60; in `make soak` 1 800), `HOTDOCK_FUZZ_SEED` what
//! it does: each run prints its own.

mod grammar;
mod words;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join_all;
use rusqlite::{Connection, OpenFlags};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::harness::{Host, component, eventually};

/// Clients that send scripts of statements at once.
const CLIENTS: u64 = 4;

/// How long a statement may run by itself (`statement_timeout`), and how much later it is noticed.
const STATEMENT: Duration = Duration::from_secs(2);
const LATE: Duration = Duration::from_millis(50);

/// How long an invocation may take (`[limits] deadline`).
const DEADLINE: Duration = Duration::from_secs(5);

/// What the host may hold, whatever is asked of it: memory, and threads.
const MAX_RESIDENT_BYTES: u64 = 1_200 << 20;
const MAX_THREADS: u64 = 160;

/// All that runs at once.
struct Fuzz {
    host: Host,
    until: Instant,
    stop: AtomicBool,
    scripts: AtomicU64,
    /// When a thread that wanted a processor had to wait for it, and for how long.
    stalls: Mutex<Vec<(Instant, Duration)>>,
    /// The same of one that wanted a page on the disk.
    syncs: Mutex<Vec<(Instant, Duration)>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_sql_a_service_runs_its_host_and_its_neighbour_are_well() {
    let seconds = number("HOTDOCK_FUZZ_SECONDS").unwrap_or(60);
    let seed = number("HOTDOCK_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("HOTDOCK_FUZZ_SEED={seed}");
    let host = Host::builder()
        .plugin_with("probe", "[limits]\nmemory = \"128MiB\"\nrequest-body = \"4MiB\"\n")
        .plugin("consumer")
        .start()
        .await;
    let fuzz = Arc::new(Fuzz {
        host,
        until: Instant::now() + Duration::from_secs(seconds),
        stop: AtomicBool::new(false),
        scripts: AtomicU64::new(0),
        stalls: Mutex::default(),
        syncs: Mutex::default(),
    });
    let witnesses = [Fuzz::measure_stalls, Fuzz::measure_syncs].map(|measure| {
        let fuzz = Arc::clone(&fuzz);
        std::thread::spawn(move || measure(&fuzz))
    });
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let fuzz = Arc::clone(&fuzz);
            tokio::spawn(async move { fuzz.scripts(Rng::with_seed(seed ^ client)).await })
        })
        .collect();
    let fuzzed = Arc::clone(&fuzz);
    clients.push(tokio::spawn(async move { fuzzed.migrations(Rng::with_seed(!seed)).await }));
    let fuzzed = Arc::clone(&fuzz);
    clients.push(tokio::spawn(async move { fuzzed.bounds().await }));
    let fuzzed = Arc::clone(&fuzz);
    let neighbour = tokio::spawn(async move { fuzzed.neighbour().await });
    let ended = join_all(clients).await;
    let published = neighbour.await;
    fuzz.stop.store(true, Ordering::Relaxed);
    for witness in witnesses {
        witness.join().expect("it measures");
    }
    let log = || {
        let log = fuzz.host.log();
        log[log.floor_char_boundary(log.len().saturating_sub(4_000))..].to_owned()
    };
    for result in ended {
        result.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", log()));
    }
    let published = published.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", log()));
    assert!(!fuzz.host.log().contains("panicked"), "seed {seed}: {}", fuzz.host.log());
    let scripts = fuzz.scripts.load(Ordering::Relaxed);
    eprintln!("{scripts} scripts, {published} events");
    assert!(scripts > seconds, "{scripts}: it was at work");
    let Some(fuzz) = Arc::into_inner(fuzz) else { panic!("all of it has ended") };
    fuzz.end(published).await;
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

impl Fuzz {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Has the fuzzed service run one script after the other.
    async fn scripts(&self, mut random: Rng) {
        while self.goes_on() {
            let script: Vec<Value> = (0..random.usize(1..9))
                .map(|_| {
                    let (sql, parameters) = grammar::statement(&mut random);
                    json!([if random.bool() { "query" } else { "execute" }, sql, parameters])
                })
                .collect();
            let body = json!(script).to_string();
            let began = Instant::now();
            let reply = self.host.post("/probe/sql-script", body.clone()).await;
            let (took, stalled) = (began.elapsed(), self.stalled(began));
            let synced = self.synced(began);
            self.scripts.fetch_add(1, Ordering::Relaxed);
            assert!(
                took <= DEADLINE + LATE + 2 * stalled + synced,
                "{took:?} ({stalled:?} stalled, {synced:?} for the disk): {body}"
            );
            match reply.status.as_u16() {
                200 => {}
                // Its own fault, its own limits, or the load's.
                413 | 502 | 503 | 504 => continue,
                _ => panic!("{reply:?}: {body}"),
            }
            let steps = reply.json();
            let steps = steps.as_array().expect("what each came to");
            for (step, statement) in steps.iter().zip(&script) {
                let ms = step["ms"].as_f64().expect("its time");
                let allowed = longest(statement) + LATE + 2 * stalled;
                assert!(ms <= allowed.as_secs_f64() * 1e3, "{step} ({stalled:?} stalled): {body}");
            }
        }
    }

    /// Deploys the fuzzed service anew, with a migration more or less sound.
    async fn migrations(&self, mut random: Rng) {
        let (_, beside) = component("probe");
        let beside = beside.expect("its manifest");
        let mut number = 0;
        while self.goes_on() {
            number += 1;
            let sql = json!(grammar::migration(&mut random));
            let manifest = format!(
                "[limits]\nmemory = \"128MiB\"\nrequest-body = \"4MiB\"\n{beside}\n\
                 [[migration]]\nname = \"fuzz-{number}\"\nsql = {sql}\n"
            );
            self.host.drop_file("probe.toml", manifest);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// Looks that the host stays within its bounds.
    async fn bounds(&self) {
        let (mut most_bytes, mut most_threads) = (0, 0);
        while self.goes_on() {
            let (bytes, threads) = (self.host.resident_bytes(), threads(self.host.pid()));
            most_bytes = most_bytes.max(bytes);
            most_threads = most_threads.max(threads);
            assert!(bytes <= MAX_RESIDENT_BYTES, "{bytes} bytes are resident");
            assert!(threads <= MAX_THREADS, "{threads} threads");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        eprintln!("at most {} MiB and {most_threads} threads", most_bytes >> 20);
    }

    /// Publishes an event after the other by the neighbour, whose answers are right.
    async fn neighbour(&self) -> u64 {
        let mut published = 0;
        while self.goes_on() {
            let steps = json!([
                { "do": "count", "key": format!("event-{published}") },
                { "do": "sql", "text": format!("event-{published}") },
            ]);
            let event =
                json!([{ "type": "test.steps", "key": published.to_string(), "data": steps }]);
            let began = Instant::now();
            let reply = self.host.post("/consumer/publish", event.to_string()).await;
            let (took, stalled) = (began.elapsed(), self.stalled(began));
            let synced = self.synced(began);
            assert_eq!(reply.status, 200, "{reply:?}");
            assert_eq!(reply.json().as_array().map(Vec::len), Some(1), "{reply:?}");
            // Not a figure: it is not held up for as long as the other computes.
            assert!(
                took < Duration::from_secs(2) + 2 * stalled + synced,
                "{took:?} ({stalled:?} stalled, {synced:?} for the disk)"
            );
            published += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        published
    }

    /// Notes how long a thread that computes waits for a processor: nothing can be faster. It
    /// is as patient as what the host lets wait for others: a guest that computes, and its SQL.
    fn measure_stalls(&self) {
        const NAP: Duration = Duration::from_millis(18);
        const WORK: Duration = Duration::from_millis(2);
        rustix::process::setpriority_process(None, 19).expect("a thread may be nicer");
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(NAP);
            let (began, end) = (Instant::now(), processor_time() + WORK);
            while processor_time() < end {}
            let late = began.elapsed().saturating_sub(WORK);
            self.stalls.lock().expect("a lock").push((Instant::now(), late));
        }
    }

    /// How long threads waited since then, all in all.
    fn stalled(&self, since: Instant) -> Duration {
        let stalls = self.stalls.lock().expect("a lock");
        stalls.iter().rev().take_while(|(at, _)| *at >= since).map(|(_, late)| *late).sum()
    }

    /// Notes how long a page takes to be on the disk that the host's files are on: no commit can
    /// be faster. It says nothing of a statement, which is judged without it.
    fn measure_syncs(&self) {
        const NAP: Duration = Duration::from_millis(100);
        let file = tempfile::tempfile_in(self.host.data()).expect("a file beside the host's");
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(NAP);
            let began = Instant::now();
            file.write_all_at(&[0; 4096], 0)
                .and_then(|()| file.sync_data())
                .expect("there is room");
            self.syncs.lock().expect("a lock").push((Instant::now(), began.elapsed()));
        }
    }

    /// How long the disk took since then, all in all, beyond what one does of itself.
    fn synced(&self, since: Instant) -> Duration {
        let syncs = self.syncs.lock().expect("a lock");
        let late = syncs.iter().rev().take_while(|(at, _)| *at >= since);
        late.map(|(_, took)| took.saturating_sub(LATE)).sum()
    }

    /// What is there in the end: all that was published, once, and whole files.
    async fn end(mut self, published: u64) {
        assert!(!self.host.has_ended(), "{}", self.host.log());
        let store = self.host.data().join("stores/consumer.db");
        eventually("each event had its effect", async || {
            let effects: u64 = ask(&open(&store), "SELECT count(*) FROM effects");
            (effects == published).then_some(())
        })
        .await;
        assert_eq!(self.host.get("/probe/status").await.status, 200, "it goes on itself");
        let began = Instant::now();
        self.host.stop().await;
        eprintln!("it ended within {:?}", began.elapsed());
        let data = self.host.data();
        let consumer = open(&data.join("stores/consumer.db"));
        let once: u64 = ask(&consumer, "SELECT count(DISTINCT text) FROM effects");
        let counted: u64 =
            ask(&consumer, "SELECT count(*) FROM _kv WHERE bucket = 'counts' AND value = x'31'");
        assert_eq!((once, counted), (published, published), "each is there once");
        for entry in std::fs::read_dir(data.join("stores")).expect("the stores") {
            let path = entry.expect("a file").path();
            if path.extension().is_some_and(|extension| extension == "db") {
                let found: String = ask(&open(&path), "PRAGMA integrity_check");
                assert_eq!(found, "ok", "{}", path.display());
            }
        }
    }
}

/// How long a statement may take: one that writes may wait for others' leases first, and for
/// a migration.
fn longest(statement: &Value) -> Duration {
    let text = statement[1].as_str().unwrap_or_default().trim_start();
    let reads = ["SELECT", "VALUES", "EXPLAIN", "PRAGMA"].iter().any(|word| text.starts_with(word));
    if reads { STATEMENT } else { DEADLINE }
}

/// The processor's time that this thread has had.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn open(path: &Path) -> Connection {
    let opened = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn ask<T: rusqlite::types::FromSql>(connection: &Connection, query: &str) -> T {
    connection.query_row(query, (), |row| row.get(0)).expect(query)
}

/// How many threads a process has.
fn threads(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}
