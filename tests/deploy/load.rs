//! Swaps under load.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::Method;

use crate::harness::client::Client;
use crate::harness::raw::Raw;
use crate::harness::{Host, component, eventually, hello};

const CONNECTIONS: usize = 32;
const SWAPS: u32 = 100;

/// Between two requests of a connection: a steady load, not a flood.
const PACE: Duration = Duration::from_millis(50);

/// Distinct components among the swaps; the rest come from the cache, as a
/// rollback does.
const BUILDS: u32 = 10;

/// Swaps before each of the two times at which memory is compared. What one sample shows depends
/// on how many instances happened to run at once, so each time's least sample counts.
const SAMPLES: RangeInclusive<u32> = 31..=50;
const LAST_SAMPLES: RangeInclusive<u32> = 81..=100;

/// A busy machine is not what these tests are about.
const PATIENT: &str = "[limits]\ncpu = \"10s\"\ndeadline = \"1m\"\n";

#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    stop: AtomicBool,
}

/// Whoever asks in the middle of a swap sees the version before it or the one after it.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_has_the_version_that_serves_at_every_moment_of_a_swap() {
    let host = Arc::new(Host::builder().file("hello.wasm", hello(1)).start().await);
    let seen = Arc::new(Seen::default());
    let looking: Vec<_> = (0..4)
        .map(|_| {
            let (host, seen) = (Arc::clone(&host), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut last = 0;
                while !seen.stop.load(Ordering::Relaxed) {
                    let service = host.service("hello").await;
                    let version = service["serving"]["version"].as_u64();
                    assert!(version.is_some_and(|version| version >= last), "{last}: {service}");
                    let with_traffic = &service["traffic"]["versions"][0]["version"];
                    assert_eq!(with_traffic.as_u64(), version, "{service}");
                    last = version.unwrap_or_default();
                }
            })
        })
        .collect();
    for swap in 1..=50 {
        host.drop_file("hello.wasm", hello(1 + swap % BUILDS));
        host.until_version("hello", u64::from(swap) + 1).await;
    }
    seen.stop.store(true, Ordering::Relaxed);
    for looking in looking {
        looking.await.expect("every answer is right");
    }
}

/// Half of the connections read the version from each answer of the hello guest; the others put
/// things into carts, so that a request that ran twice, or not at all, shows in the sum.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_swaps_under_load_fail_no_request_and_keep_no_memory() {
    let host = Host::builder()
        .file("hello.wasm", hello(1))
        .file("hello.toml", format!("{PATIENT}[instances]\nreuse = 1000\n"))
        .plugin_with("cart", PATIENT)
        .start()
        .await;
    let seen = Arc::new(Seen::default());
    let greeted: Vec<_> = (0..CONNECTIONS / 2)
        .map(|_| tokio::spawn(greet_until_stopped(host.url("/hello"), Arc::clone(&seen))))
        .collect();
    let filled: Vec<_> = (0..CONNECTIONS / 2)
        .map(|user| tokio::spawn(fill_until_stopped(host.url("/cart"), user, Arc::clone(&seen))))
        .collect();

    let (cart, _) = component("cart");
    let (mut settled, mut at_end) = (u64::MAX, u64::MAX);
    for swap in 1..=SWAPS {
        host.drop_file("cart.wasm", with_section(&cart, swap % BUILDS));
        host.drop_file("hello.wasm", hello(1 + swap % BUILDS));
        host.until_version("cart", u64::from(swap) + 1).await;
        host.until_version("hello", u64::from(swap) + 1).await;
        // Some requests on each version, so that each swap happens under load.
        let goal = seen.requests.load(Ordering::Relaxed) + 50;
        while seen.requests.load(Ordering::Relaxed) < goal {
            tokio::time::sleep(PACE).await;
        }
        if SAMPLES.contains(&swap) {
            settled = settled.min(host.resident_bytes());
        } else if LAST_SAMPLES.contains(&swap) {
            at_end = at_end.min(host.resident_bytes());
        }
    }
    seen.stop.store(true, Ordering::Relaxed);
    let mut versions = BTreeSet::new();
    for connection in greeted {
        versions.extend(connection.await.expect("no failed request"));
    }
    assert_eq!(versions.len(), BUILDS as usize, "{versions:?}");
    for (user, connection) in filled.into_iter().enumerate() {
        let acknowledged = connection.await.expect("no failed request");
        let cart = host.get(&format!("/cart?user_id={user}")).await.json();
        assert_eq!(cart["cart"]["1"], acknowledged, "user {user}: each request counted once");
    }
    host.until_idle().await;
    eventually("the code of the two versions that serve is all that is mapped", async || {
        (host.mapped_artifacts().len() == 2).then_some(())
    })
    .await;
    let growth = at_end as f64 / settled as f64;
    eprintln!(
        "{} requests over {SWAPS} swaps of two services, none failed; memory {} -> {} KiB",
        seen.requests.load(Ordering::Relaxed),
        settled >> 10,
        at_end >> 10
    );
    assert!(growth <= 1.08, "memory grew from {settled} to {at_end}");
}

/// Asks over one connection; each answer must be whole and from one version.
async fn greet_until_stopped(url: String, seen: Arc<Seen>) -> BTreeSet<String> {
    let client = Client::new();
    let mut versions = BTreeSet::new();
    while !seen.stop.load(Ordering::Relaxed) {
        let reply = client.try_request(Method::GET, &url, "").await.expect("an answer");
        assert_eq!(reply.status, 200, "{reply:?}");
        let version = reply.header("x-version").to_owned();
        assert_eq!(reply.text(), format!("Hello, world! {version}\n"), "entirely from one version");
        versions.insert(version);
        seen.requests.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
    }
    versions
}

/// Adds to one user's cart over one connection; returns how often that was acknowledged.
async fn fill_until_stopped(url: String, user: usize, seen: Arc<Seen>) -> u64 {
    let client = Client::new();
    let body = format!(r#"{{"user_id": {user}, "product_id": 1, "quantity": 1}}"#);
    let mut acknowledged = 0;
    while !seen.stop.load(Ordering::Relaxed) {
        let reply = client.try_request(Method::POST, &url, body.clone()).await.expect("an answer");
        assert_eq!(reply.status, 200, "{reply:?}");
        acknowledged += 1;
        seen.requests.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
    }
    acknowledged
}

/// The component with a custom section of its own: the same program, another digest.
fn with_section(component: &[u8], number: u32) -> Vec<u8> {
    let name = format!("build-{number:08}");
    let length = u8::try_from(name.len() + 1).expect("a short name");
    let mut bytes = component.to_vec();
    bytes.extend([0, length, length - 1]);
    bytes.extend(name.as_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_finishes_on_the_version_it_began_on() {
    let limits = "[deploy]\ndrain = \"2m\"\n[limits]\ndeadline = \"2m\"\n";
    let host = Host::builder().plugin_with("probe", limits).start().await;
    let mut stream = Raw::connect(host.address).await;
    let head = "POST /probe/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.send(head).await;
    stream.send("6\r\nbefore\r\n").await;
    stream.until("before").await;
    host.drop_file("probe.toml", component("probe").1.expect("a manifest"));
    host.until_version("probe", 2).await;
    let draining = host.service("probe").await["draining"].clone();
    assert_eq!(draining[0]["leases"], 1, "{draining}");
    stream.send("5\r\nafter\r\n0\r\n\r\n").await;
    stream.until("after").await;
    stream.until("0\r\n\r\n").await;
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_ended_when_the_drain_is_over() {
    let host = Host::builder()
        .file("probe.wasm", component("probe").0)
        .file("probe.toml", "[deploy]\ndrain = \"100ms\"\n[limits]\ndeadline = \"1m\"\n")
        .start()
        .await;
    let mut stream = Raw::connect(host.address).await;
    stream.send("GET /probe/sse?n=1000&ms=50 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    stream.until("data: 0").await;
    host.drop_file("probe.toml", "");
    host.until_version("probe", 2).await;
    let rest = stream.read_to_end().await;
    assert!(!rest.contains("data: 999"), "it was cut");
    host.until_idle().await;
}
