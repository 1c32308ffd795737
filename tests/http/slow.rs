//! slowhttptest, in its four modes, against a host that others use meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use tokio::process::Command;

use crate::harness::{Client, Host, built};

/// How many connections it makes, and how many seconds each mode takes: with `HOTDOCK_SLOW` (as
/// `make slow` has it) many more.
fn extent() -> (&'static str, &'static str) {
    if std::env::var_os("HOTDOCK_SLOW").is_some() { ("4000", "60") } else { ("400", "5") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slowhttptest_keeps_nobody_from_being_served() {
    let is_on_path = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join("slowhttptest").exists())
    });
    if !is_on_path && built("tools/bin", "slowhttptest").is_none() {
        eprintln!("skipped: there is no slowhttptest (bash .ci/slowhttptest.sh)");
        return;
    }
    let host = Host::builder().plugin("probe").start().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/slow/run.py");
    let (connections, seconds) = extent();
    let mut command = Command::new("python3");
    command
        .arg("-B")
        .arg(script)
        .args([&host.url("")[..], "/probe/big?bytes=500000", "/probe/upload?key=k"])
        .args(["--connections", connections, "--seconds", seconds]);
    let attack = tokio::spawn(async move { command.output().await.expect("python3") });

    // Somebody else, at both listeners, all the time.
    let (mut served, mut longest) = (0, Duration::ZERO);
    while !attack.is_finished() {
        for url in [host.url("/probe/count"), host.admin_url("/metrics")] {
            let start = Instant::now();
            let reply = Client::new().try_request(Method::GET, &url, "").await;
            let reply = reply.unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(reply.status, 200, "{reply:?}");
            served += 1;
            longest = longest.max(start.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let attack = attack.await.expect("no panic");
    let figures = String::from_utf8_lossy(&attack.stdout);
    let said = String::from_utf8_lossy(&attack.stderr);
    println!("{figures}others: {served} answers, the longest took {longest:?}");
    assert!(attack.status.success(), "{figures}{said}");
    host.until_idle().await;
}
