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
    let host = Host::builder().plugin("probe").plugin("greeter").start().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/slow/run.py");
    let (connections, seconds) = extent();
    let mut command = Command::new("python3");
    command
        .arg("-B")
        .arg(script)
        .args([&host.url("")[..], "/probe/big?bytes=500000", "/probe/upload?key=k"])
        .args(["--connections", connections, "--seconds", seconds]);
    let attack = tokio::spawn(async move { command.output().await.expect("python3") });

    // Somebody else, at both listeners, all the time. The attacked service may have more requests
    // for a moment than it may, where all clients ask at once: its neighbour never notices.
    let (mut served, mut turned_away, mut longest) = (0, 0, Duration::ZERO);
    let (own, neighbour) = (host.url("/probe/count"), host.url("/greeter"));
    let metrics = host.admin_url("/metrics");
    while !attack.is_finished() {
        for url in [&own, &neighbour, &metrics] {
            let start = Instant::now();
            let reply = Client::new().try_request(Method::GET, url, "").await;
            let reply = reply.unwrap_or_else(|error| panic!("{url}: {error}"));
            longest = longest.max(start.elapsed());
            if *url == own && reply.is_turned_away() {
                turned_away += 1;
                continue;
            }
            assert_eq!(reply.status, 200, "{url}: {reply:?}");
            served += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let attack = attack.await.expect("no panic");
    let figures = String::from_utf8_lossy(&attack.stdout);
    let said = String::from_utf8_lossy(&attack.stderr);
    println!(
        "{figures}others: {served} answers, {turned_away} turned away, the longest took {longest:?}"
    );
    assert!(turned_away * 100 < served, "{turned_away} of the attacked service");
    assert!(attack.status.success(), "{figures}{said}");
    host.until_idle().await;
}
