//! What operators are shown of the log.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hotdock::app::SHUTDOWN_GRACE;
use http::Method;
use serde_json::Value;

use super::operator::{ask, hotdock};
use crate::harness::raw::Raw;
use crate::harness::{Host, eventually};

const TOKEN: &str = "correct-horse-battery-staple";

async fn lines(host: &Host, query: &str) -> Vec<Value> {
    let page = ask(host, Method::GET, &format!("/v1/logs?{query}"), Value::Null).await;
    assert_eq!(page.status, 200, "{page:?}");
    page.json()["lines"].as_array().expect("lines").clone()
}

fn messages(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["message"].as_str().expect("text")).collect()
}

/// `hotdock` that goes on until it is dropped.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Following {
    fn begin(host: &Host, arguments: &[&str]) -> (Self, impl Iterator<Item = String> + use<>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotdock"));
        command.arg("logs").args(arguments).env("HOTDOCK_ADMIN", host.admin_url(""));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        (Self(child), output.lines().map(|line| line.expect("text")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_prints_and_what_the_host_says_of_it_is_there() {
    let host = Host::builder().plugin("probe").plugin("cart").start().await;
    host.get("/probe/print?lines=3&text=tea").await;
    host.get("/probe/trap").await;
    let of_probe = lines(&host, "service=probe").await;
    let said: Vec<&Value> = of_probe.iter().filter(|line| line["target"] == "guest").collect();
    assert!(
        said.iter().any(|line| line["message"].as_str().is_some_and(|text| text.contains("tea"))),
        "{said:?}"
    );
    assert!(said.iter().all(|line| line["version"] == 1), "{said:?}");
    assert!(messages(&of_probe).contains(&"serving"), "{of_probe:?}");
    assert!(of_probe.iter().all(|line| line["service"] == "probe"), "{of_probe:?}");
    let loud = lines(&host, "level=warn").await;
    assert!(!loud.is_empty() && loud.iter().all(|line| line["level"] != "info"), "{loud:?}");
    // All of them, page by page.
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/logs?after={after}&limit=2");
        let page = ask(&host, Method::GET, &path, Value::Null).await.json();
        all.extend(page["lines"].as_array().expect("lines").clone());
        after = page["next"].as_u64().expect("a position");
        if page["next"] == page["last"] {
            break;
        }
    }
    let positions: Vec<u64> = all.iter().filter_map(|line| line["position"].as_u64()).collect();
    assert!(positions.iter().copied().eq(1..=after), "{positions:?}");
    for (query, said) in [
        ("since=yesterday", "no time such as"),
        ("level=loud", "level: must be one of trace, debug, info, warn, error; found: `loud`"),
        ("limit=0", "1 to 1000"),
        ("lines=3", "`lines` is no parameter of this"),
    ] {
        let wrong = ask(&host, Method::GET, &format!("/v1/logs?{query}"), Value::Null).await;
        assert_eq!(wrong.status, 400, "{wrong:?}");
        assert!(wrong.text().contains(said), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_gets_what_comes_until_the_host_stops() {
    let mut host = Host::builder().plugin("probe").start().await;
    let (mut child, mut followed) =
        Following::begin(&host, &["probe", "--follow", "--json", "--level", "info"]);
    host.get("/probe/print?lines=1&text=tea").await;
    let tea = followed.find(|line| line.contains("tea")).expect("it comes");
    let tea: Value = serde_json::from_str(&tea).expect("JSON");
    assert_eq!((&tea["service"], &tea["target"]), (&"probe".into(), &"guest".into()));
    assert!(host.stop().await.success(), "who follows keeps no host from its end");
    followed.for_each(drop);
    assert!(child.0.wait().expect("its end").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_nobody_and_is_told_what_it_missed() {
    let host = Host::builder().plugin("probe").settings("log-keep = \"64KiB\"\n").start().await;
    let mut slow = Raw::connect(host.admin).await;
    let head = format!(
        "GET /v1/logs HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
        host.admin
    );
    slow.send(head).await;
    slow.until("event: line").await;
    // More than the connection and the host keep between them; nobody reads meanwhile.
    let text = "x".repeat(1000);
    eventually("lines are gone before they are read", async || {
        assert_eq!(host.get(&format!("/probe/print?lines=50&text={text}")).await.status, 200);
        let shown = host.metrics().await;
        let dropped =
            shown.lines().find(|line| line.starts_with("hotdock_log_lines_dropped_total "));
        let dropped: u64 = dropped?.rsplit(' ').next()?.parse().ok()?;
        (dropped > 20_000).then_some(())
    })
    .await;
    slow.until("event: missed").await;
    host.until_idle().await;
    let missed = host.metrics().await;
    let missed = missed.lines().find(|line| line.starts_with("hotdock_log_lines_missed_total "));
    assert!(!missed.expect("a metric").ends_with(" 0"), "{missed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_in_no_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).expect("a file");
    let host = Host::builder()
        .plugin("probe")
        .argument("--log=trace")
        .argument("--token-file")
        .argument(file.to_str().expect("text"))
        .start()
        .await;
    let logs = async |token: &str| {
        let request = http::Request::get(host.admin_url("/v1/logs?limit=1000&after=0"));
        let request = request.header("authorization", format!("Bearer {token}"));
        host.send(request.body(http_body_util::Full::default()).expect("a request")).await
    };
    assert_eq!(logs("correct-horse-battery-stapler").await.status, 401);
    assert_eq!(logs(TOKEN).await.status, 200);
    let output = Command::new(env!("CARGO_BIN_EXE_hotdock"))
        .args(["status", "--admin", &host.admin_url("")])
        .env("HOTDOCK_TOKEN_FILE", &file)
        .output();
    assert!(output.expect("it ends").status.success());
    let shown = logs(TOKEN).await.text();
    for said in [shown, host.log()] {
        assert!(!said.contains("correct-horse"), "the token is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_lines_in_words_and_since_a_time() {
    let host = Host::builder().plugin("probe").start().await;
    host.get("/probe/print?lines=1&text=tea").await;
    let shown = |arguments: &[&str]| {
        let output = hotdock(&host, arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let tea = shown(&["logs", "probe", "--since", "1h"]);
    let tea = tea.lines().find(|line| line.contains("tea")).expect("a line");
    assert!(tea.contains("  INFO   probe v1      "), "{tea}");
    assert_eq!(shown(&["logs", "-n", "1"]).lines().count(), 1);
    let newest = shown(&["logs", "--since", "1h", "-n", "2"]);
    assert_eq!(newest.lines().count(), 2, "{newest}");
    assert_eq!(newest, shown(&["logs", "-n", "2"]), "the last of them");
    assert_eq!(shown(&["logs", "probe", "--level", "error"]), "", "it has said nothing so loud");
    for arguments in [&["logs", "absent"][..], &["logs", "-f", "absent"]] {
        let absent = hotdock(&host, arguments);
        assert_eq!(absent.status.code(), Some(6), "{absent:?}");
        let said = String::from_utf8_lossy(&absent.stderr);
        assert!(said.contains("no service absent"), "{absent:?}");
    }
    assert_eq!(hotdock(&host, &["logs", "--since", "yesterday"]).status.code(), Some(2));
}

/// Where a host listens that writes its log to a pipe, of which no more is read.
fn listening(log: &mut impl BufRead) -> (String, String) {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(log.read_line(&mut line).expect("text") > 0, "the host has ended");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        if let (Some(listen), Some(admin)) = (said["listen"].as_str(), said["admin"].as_str()) {
            return (format!("http://{listen}"), format!("http://{admin}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_error_that_nobody_reads_stops_nothing() {
    let mut host = Host::builder().plugin("probe").argument("--drain=1s").start().await;
    assert!(host.stop().await.success());
    let mut child = host.command().stderr(Stdio::piped()).spawn().expect("it starts");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let (address, admin) = listening(&mut log);
    let get = async |url: String| {
        host.client.try_request(Method::GET, &url, "").await.is_ok_and(|reply| reply.status == 200)
    };
    eventually("it is ready", async || get(format!("{admin}/readyz")).await.then_some(())).await;
    // Much more than a pipe and a reader keep, and in the end than the queue does.
    let text = "x".repeat(1000);
    eventually("lines find no room", async || {
        assert!(get(format!("{address}/probe/print?lines=30&text={text}")).await);
        let metrics = host.client.try_request(Method::GET, &format!("{admin}/metrics"), "").await;
        let metrics = metrics.expect("an answer").text();
        let unwritten =
            metrics.lines().find(|line| line.starts_with("hotdock_log_lines_unwritten_total "));
        (!unwritten?.ends_with(" 0")).then_some(())
    })
    .await;
    assert!(get(format!("{admin}/readyz")).await, "the operators are answered");
    let told = Instant::now();
    let killed = Command::new("kill").arg(child.id().to_string()).status().expect("kill");
    assert!(killed.success());
    assert!(child.wait().expect("its end").success());
    assert!(told.elapsed() < Duration::from_secs(1) + SHUTDOWN_GRACE, "{:?}", told.elapsed());
    drop(log);
}
