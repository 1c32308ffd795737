//! A service's SQL, at its worst: it hurts nobody else, and everything comes back.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::harness::raw::Raw;
use crate::harness::{Host, Reply};

const ENDLESS: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn ask(host: &Host, sql: &str) -> Reply {
    host.post(&format!("/probe/sql?mode=query&sql={}", escaped(sql)), "").await
}

async fn execute(host: &Host, sql: &str) -> Reply {
    host.post(&format!("/probe/sql?mode=execute&sql={}", escaped(sql)), "").await
}

/// All permits and threads of `probe` are back, and it answers.
async fn until_all_is_back(host: &Host) {
    host.until_metric("hotdock_permits_free{service=\"probe\"}", 64).await;
    host.until_metric("hotdock_sql_reading{service=\"probe\"}", 0).await;
    let reply = ask(host, "SELECT 41 + 1").await;
    assert!(reply.text().contains("42"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pointer_of_the_hosts_is_neither_read_nor_called_through() {
    let host = Host::builder().plugin("probe").start().await;
    for statement in [
        "SELECT fts3_tokenizer('simple')",
        "SELECT fts3_tokenizer('simple', x'4141414141414141')",
        "SELECT * FROM fts3tokenize WHERE input = 'a'",
        "SELECT * FROM dbstat",
    ] {
        let reply = ask(&host, statement).await;
        assert!(!reply.text().contains("rows"), "{statement}: {reply:?}");
    }
    until_all_is_back(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_compute_end_with_their_invocation_and_take_nothing_from_others() {
    let limits = "[limits]\ncpu = \"300ms\"\ndeadline = \"2s\"\n";
    let host = Host::builder().plugin_with("probe", limits).plugin("cart").start().await;
    let endless = format!("{ENDLESS} SELECT count(*) FROM n");
    let large = "SELECT instr(zeroblob(16000000), CAST(zeroblob(120000) || x'01' AS BLOB))";
    let busy = join_all((0..12).map(|n| {
        let sql = if n % 2 == 0 { endless.as_str() } else { large };
        ask(&host, sql)
    }));
    let neighbour = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..100 {
            let begun = Instant::now();
            let reply = host.get("/cart?user_id=1").await;
            assert!(!reply.status.is_server_error(), "{reply:?}");
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    let (replies, slowest) = tokio::join!(busy, neighbour);
    for reply in replies {
        // The guest is told `limit`, or ended.
        assert!(reply.status != 200 || !reply.text().contains("rows"), "{reply:?}");
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    until_all_is_back(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_ends_where_its_client_leaves() {
    let limits = "[limits]\ncpu = \"60s\"\ndeadline = \"60s\"\n";
    let host = Host::builder().plugin_with("probe", limits).start().await;
    let endless = format!("{ENDLESS} SELECT count(*) FROM n");
    let mut raw = Raw::connect(host.address).await;
    let path = format!("/probe/sql?mode=query&sql={}", escaped(&endless));
    raw.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")).await;
    host.until_metric("hotdock_sql_reading{service=\"probe\"}", 1).await;
    drop(raw);
    until_all_is_back(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sorting_takes_no_more_memory_than_a_service_has() {
    let host = Host::builder().plugin("probe").start().await;
    ask(&host, "SELECT 1").await;
    let before = host.resident_bytes();
    let sorts = (0..8).map(|_| async {
        let reply = ask(
            &host,
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000)
             SELECT i FROM n ORDER BY zeroblob(400000), i",
        );
        let reply = reply.await;
        assert!(!reply.text().contains("rows"), "{reply:?}");
    });
    join_all(sorts).await;
    let grown = host.resident_bytes().saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes");
    until_all_is_back(&host).await;
    let metrics = host.metrics().await;
    let refused = metrics.lines().find(|line| line.starts_with("hotdock_sql_memory_refused"));
    assert!(refused.is_some_and(|line| !line.ends_with(" 0")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_names_the_hosts_tables_is_refused_with_a_reason() {
    let host = Host::builder().plugin("probe").plugin("cart").start().await;
    let migration =
        "[[migration]]\nname = \"9\"\nsql = \"CREATE TABLE r (x REFERENCES _outbox (nope))\"\n";
    let wasm = std::fs::read(host.plugins().join("cart.wasm")).expect("a component");
    host.drop_file("other.toml", migration);
    host.drop_file("other.wasm", wasm);
    let reason = host.until_refused("other.wasm").await;
    assert!(reason.contains("a foreign key of r refers to _outbox"), "{reason}");
    for statement in [
        "UPDATE sqlite_sequence SET seq = 0 WHERE name = '_outbox'",
        "CREATE TABLE r (x REFERENCES _outbox (nope))",
        "ALTER TABLE probe RENAME TO _x",
    ] {
        let reply = execute(&host, statement).await;
        assert!(reply.text().contains("host's") || reply.text().contains("SQLite's"), "{reply:?}");
    }
    let reply = execute(&host, "INSERT INTO probe (x) VALUES (1)").await;
    assert!(reply.text().contains("changes"), "the store can still be written: {reply:?}");
    until_all_is_back(&host).await;
}
