//! A service that is replaced while others ask it by name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::Method;

use super::probes_with;
use crate::harness::client::Client;
use crate::harness::{component, eventually, hello};

const CALLERS: usize = 16;
const SWAPS: u32 = 10;
const BUILDS: u32 = 5;

/// A busy machine is not what this test is about.
const PATIENT: &str = "[limits]\ncpu = \"10s\"\ndeadline = \"1m\"\n";

#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    stop: AtomicBool,
}

/// Asks until it is stopped; each answer must be whole and from one version.
async fn ask_until_stopped(url: String, client: Client, seen: Arc<Seen>) -> BTreeSet<String> {
    let mut versions = BTreeSet::new();
    while !seen.stop.load(Ordering::Relaxed) {
        let reply = client.try_request(Method::GET, &url, "").await.expect("an answer");
        assert_eq!(reply.status, 200, "{reply:?}");
        let text = reply.text();
        let number = text.strip_prefix("Hello, world! ").expect("a whole answer");
        versions.insert(number.trim_end().to_owned());
        seen.requests.fetch_add(1, Ordering::Relaxed);
    }
    versions
}

#[tokio::test(flavor = "multi_thread")]
async fn callee_and_caller_are_swapped_under_load_and_no_request_by_name_fails() {
    let host = probes_with(&["hello"], PATIENT)
        .file("hello.wasm", hello(1))
        .file("hello.toml", PATIENT)
        .start()
        .await;
    let seen = Arc::new(Seen::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|number| {
            let service = if number % 2 == 0 { "probe" } else { "probe3" };
            let url = host.url(&format!("/{service}/relay?url=http://hello.internal/hello"));
            let client = if number % 4 < 2 { Client::new() } else { Client::h2c() };
            tokio::spawn(ask_until_stopped(url, client, Arc::clone(&seen)))
        })
        .collect();
    let (probe3, _) = component("probe3");
    for swap in 1..=SWAPS {
        let goal = seen.requests.load(Ordering::Relaxed) + 50;
        eventually("some requests on each version", async || {
            (seen.requests.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
        host.drop_file("hello.wasm", hello(1 + swap % BUILDS));
        host.drop_file("probe3.wasm", with_section(&probe3, swap % 2));
        host.until_version("hello", u64::from(swap) + 1).await;
        host.until_version("probe3", u64::from(swap) + 1).await;
    }
    seen.stop.store(true, Ordering::Relaxed);
    let mut versions = BTreeSet::new();
    for caller in callers {
        versions.extend(caller.await.expect("no failed request"));
    }
    assert_eq!(versions.len(), BUILDS as usize, "{versions:?}");
    host.until_idle().await;
}

/// The same component with other bytes: with a custom section at its end.
fn with_section(component: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend([0, 6, 1, b'n']);
    bytes.extend(number.to_le_bytes());
    bytes
}
