//! Texts of others, on the terminal and in the log: what they have in them stays theirs.

use std::process::{Command, Output};

use http::Method;

use crate::harness::{Host, component};
use crate::hostile::trapping_in;

/// What a terminal obeys, what ends a line, and what turns text around.
const STEERS: &str = "\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\u{200b}\r";

fn hotdock(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hotdock")).args(arguments).output().expect("it ends")
}

fn is_plain(what: &str, text: &[u8]) {
    let text = String::from_utf8(text.to_vec()).expect("UTF-8");
    for c in STEERS
        .chars()
        .filter(char::is_ascii_control)
        .chain("\u{9b}\u{202e}\u{2028}\u{200b}".chars())
    {
        assert!(!text.contains(c), "{what} has {c:?}: {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_functions_name_forges_no_line_of_the_log() {
    let name = format!("f\n2026-01-01T00:00:00Z ERROR hotdock: all is lost{STEERS}");
    for format in ["text", "json"] {
        let host = Host::builder()
            .file("trap.wasm", trapping_in(&name))
            .argument(&format!("--log-format={format}"))
            .start()
            .await;
        assert_eq!(host.get("/trap").await.status, 502);
        host.until_logged("all is lost").await;
        let log = host.log();
        is_plain("the log", log.as_bytes());
        let forged: Vec<&str> = log.lines().filter(|line| line.starts_with("2026-01-01")).collect();
        assert!(forged.is_empty(), "{forged:?}");
        assert_eq!(log.lines().filter(|line| line.contains("all is lost")).count(), 1, "{log}");

        let admin = host.admin_url("");
        for arguments in
            [vec!["logs", "--admin", &admin], vec!["logs", "--admin", &admin, "--json"]]
        {
            let shown = hotdock(&arguments);
            is_plain(&format!("{arguments:?}"), &shown.stdout);
            let shown = String::from_utf8(shown.stdout).expect("text");
            let with = shown.lines().filter(|line| line.contains("all is lost")).count();
            assert_eq!(with, 1, "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_events_texts_steer_no_terminal() {
    let host = Host::builder().start().await;
    let event = serde_json::json!({
        "specversion": "1.0", "id": "1", "source": "/till", "type": "shop.sold",
        "subject": "s\u{85}", "data": {"note": STEERS, "more": [STEERS]},
    });
    // As a sender may write it: only what JSON forbids is escaped.
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(host.admin_url("/events"))
        .header("content-type", "application/cloudevents+json")
        .body(http_body_util::Full::new(event.to_string().into()))
        .expect("a request");
    let accepted = host.send(request).await;
    let admin = host.admin_url("");
    let subjects = if accepted.status == 202 { 1 } else { 0 };
    for more in [vec![], vec!["--json"]] {
        let arguments = [vec!["events", "tail", "--admin", &admin], more].concat();
        let shown = hotdock(&arguments);
        assert!(shown.status.success(), "{shown:?}");
        is_plain(&format!("{arguments:?}"), &shown.stdout);
        assert_eq!(
            shown.stdout.iter().filter(|byte| **byte == b'\n').count(),
            subjects,
            "{shown:?}"
        );
    }
}

#[test]
fn a_files_texts_steer_no_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(format!("c{STEERS}\nhotdock: all is well.wasm"));
    std::fs::write(&file, component("hello").0).expect("a file");
    let manifest = format!("[service]\nname = \"x\"\n\"{}\" = 1\n", "\\u001b[2J\\u009b");
    std::fs::write(file.with_extension("toml"), manifest).expect("a file");
    let path = file.to_str().expect("text");
    for command in [vec!["inspect"], vec!["check"], vec!["inspect", "--json"], vec!["deploy"]] {
        let ended = hotdock(&[command.as_slice(), &[path]].concat());
        assert!(!ended.status.success(), "{ended:?}");
        let said = [ended.stdout, ended.stderr].concat();
        is_plain(&format!("{command:?}"), &said);
        let said = String::from_utf8(said).expect("text");
        assert!(!said.lines().any(|line| line.starts_with("hotdock: all is well")), "{said}");
    }
    let ended =
        hotdock(&["inspect", folder.path().join(format!("none{STEERS}")).to_str().expect("text")]);
    is_plain("a path", &ended.stderr);
    let ended = hotdock(&["promote", "cart", STEERS]);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    is_plain("an argument", &ended.stderr);
}
