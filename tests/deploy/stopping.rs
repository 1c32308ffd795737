//! A host that is told to stop: it ends in time, whatever is in its way, and says what.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hotdock::app::SHUTDOWN_GRACE;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::harness::raw::Raw;
use crate::harness::{Host, component, eventually};

const DRAIN: Duration = Duration::from_secs(1);

/// How much longer a machine that is busy with other tests may take.
const SLACK: Duration = Duration::from_secs(2);

/// A manifest whose invocations may take as long as they like.
const FOR_EVER: &str = "[limits]\ndeadline = \"1h\"\ncpu = \"1h\"\nrequest-body = \"64MiB\"\n";

/// An endpoint that takes what comes and never answers.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let settings = format!(
        "[[webhook]]\nname = \"silent\"\nurl = \"http://{}/\"\ntypes = [\">\"]\n\
         handshake = false\ntimeout = \"10m\"\n",
        listener.local_addr().expect("an address")
    );
    (listener, settings)
}

async fn send(host: &Host, event_type: &str, data: Value) {
    let event = json!({"specversion": "1.0", "id": event_type, "source": "/tests",
        "type": event_type, "data": data});
    let request = Request::post(host.admin_url("/events"))
        .header("content-type", "application/cloudevents+json")
        .body(Full::new(Bytes::from(event.to_string())));
    assert_eq!(host.send(request.expect("a request")).await.status, 202);
}

/// Begins a request, which nobody waits for.
async fn begin(host: &Host, line: &str) -> Raw {
    let mut raw = Raw::connect(host.address).await;
    raw.send(format!("{line} HTTP/1.1\r\nHost: x\r\n")).await;
    raw.send(if line.starts_with("GET") { "\r\n" } else { "Content-Length: 0\r\n\r\n" }).await;
    raw
}

async fn ends_in_time(host: &mut Host) -> String {
    let told = Instant::now();
    let ended = host.stop().await;
    let took = told.elapsed();
    assert!(took < DRAIN + SHUTDOWN_GRACE + SLACK, "{took:?}: {}", host.log());
    // All of it could be ended.
    assert!(ended.success(), "{}", host.log());
    host.log()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_ends_in_time_whatever_is_in_its_way_and_says_what() {
    let (listener, settings) = silent().await;
    let (probe, beside) = component("probe");
    let mut host = Host::builder()
        .file("probe.wasm", probe)
        .file("probe.toml", format!("{FOR_EVER}{}", beside.expect("a manifest")))
        .plugin_with("consumer", FOR_EVER)
        .settings(&settings)
        .argument("--outbound-allow-private=127.0.0.0/8")
        .argument("--drain=1s")
        .start()
        .await;
    // Handlers that compute, wait and stream; a body that does not come; SQL that computes
    // on the writer; a handler of an event; an upload; and who waits for what happens.
    let mut streams = Vec::new();
    let sql = "/probe/sql?mode=execute&sql=INSERT%20INTO%20probe%20(x)%20WITH%20RECURSIVE%20n(x)\
               %20AS%20(SELECT%201%20UNION%20ALL%20SELECT%20x%2B1%20FROM%20n)%20SELECT%20count(*)\
               %20FROM%20n";
    for line in [
        "GET /probe/spin",
        "GET /probe/sleep?ms=3600000",
        "GET /probe/sse?n=1000000&ms=20",
        "POST /probe/sql-slow?ms=3600000",
        &format!("POST {sql}"),
    ] {
        streams.push(begin(&host, line).await);
    }
    let mut upload = Raw::connect(host.address).await;
    upload.send("POST /probe/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nx").await;
    let mut component = Raw::connect(host.admin).await;
    let head = "PUT /v1/services/hello HTTP/1.1\r\nHost: x\r\nContent-Type: application/wasm\r\n";
    component.send(format!("{head}Content-Length: 100000\r\n\r\n\0asm")).await;
    let mut notices = Raw::connect(host.admin).await;
    notices.send("GET /v1/notices HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut head = Raw::connect(host.admin).await;
    head.send("GET /v1/serv").await;
    send(&host, "test.steps", json!([{"do": "spin"}])).await;
    let (mut peer, _) = listener.accept().await.expect("the webhook's request");
    peer.read_u8().await.expect("it has begun");
    eventually("they run", async || {
        (host.service("consumer").await["serving"]["leases"] == 1).then_some(())
    })
    .await;

    let log = ends_in_time(&mut host).await;
    for who in ["requests or deliveries of probe v1", "consumer v1", "_webhooks/silent"] {
        assert!(log.contains(who), "{who}: {log}");
    }
    drop((streams, upload, component, notices, head, peer));
    host.start().await;
    assert_eq!(host.get("/probe/status?code=200").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_that_does_not_end_keeps_no_host_from_its_end() {
    let mut host = Host::builder().argument("--drain=1s").start().await;
    // Its compiler waits for the end of the host: stopped, it does not even see that.
    host.drop_file("cart.wasm", component("cart").0);
    host.until_logged("\"compiling\"").await;
    let pid = host.pid();
    let children = || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
        let of = |task: std::io::Result<std::fs::DirEntry>| {
            let children = std::fs::read_to_string(task.ok()?.path().join("children")).ok()?;
            children.split_whitespace().next().map(str::to_owned)
        };
        tasks.filter_map(of).next()
    };
    // Where it was faster, there is nothing left to be in the way.
    if let Some(child) = children() {
        _ = std::process::Command::new("kill").args(["-s", "STOP", &child]).status();
    }
    let told = Instant::now();
    let ended = host.stop().await;
    assert!(told.elapsed() < DRAIN + SHUTDOWN_GRACE + SLACK, "{}", host.log());
    assert!(ended.success(), "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_computes_keeps_no_host_from_its_end() {
    let mut host = Host::builder().plugin("probe").argument("--drain=1s").start().await;
    let endless = "\n[[migration]]\nname = \"0002\"\nsql = \"INSERT INTO probe (x) WITH RECURSIVE \
                   n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n\"\n";
    let manifest = component("probe").1.expect("a manifest") + endless;
    host.drop_file("probe.toml", &manifest);
    eventually("it is tried", async || {
        (host.service("probe").await["candidate"]["step"] == "validating").then_some(())
    })
    .await;
    let log = ends_in_time(&mut host).await;
    assert!(!log.contains("left behind"), "{log}");
    host.drop_file("probe.toml", component("probe").1.expect("a manifest"));
    host.start().await;
    assert_eq!(host.get("/probe/status?code=200").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_slow_decide_nothing_about_a_hosts_end() {
    let mut host = Host::builder().plugin("probe").argument("--drain=1s").start().await;
    let mut slow = Vec::new();
    for number in 0..80 {
        let mut raw = Raw::connect(host.address).await;
        let key = if number % 2 == 0 { "Idempotency-Key: \"k\"\r\n" } else { "" };
        let key = key.replace('k', &number.to_string());
        let head = format!("POST /probe/upload?key=k HTTP/1.1\r\nHost: x\r\n{key}");
        raw.send(format!("{head}Content-Length: 47\r\n\r\nx")).await;
        slow.push(raw);
    }
    host.until_metric("hotdock_uploads", 80).await;
    let told = Instant::now();
    let ended = host.stop().await;
    assert!(told.elapsed() < DRAIN + SHUTDOWN_GRACE, "{}", host.log());
    assert!(ended.success(), "{}", host.log());
    for raw in &mut slow {
        let answer = raw.read_to_end().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
}
