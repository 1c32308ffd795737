//! The commands that steer a running host, and their exit codes.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::operator::{hotdock, until_state};
use crate::harness::{Host, hello};

fn said(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(error))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_deployed_tried_promoted_and_rolled_back() {
    let host = Host::builder().start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = |number: u32| {
        let path = folder.path().join("hello.wasm");
        std::fs::write(&path, hello(number)).expect("a component");
        path.to_str().expect("text").to_owned()
    };
    let done = |arguments: &[&str]| {
        let output = hotdock(&host, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    };
    assert!(done(&["deploy", &file(1)]).contains("hello v1: 100 % of the traffic"));
    let tried = done(&["deploy", &file(2), "--canary", "10%", "--no-wait"]);
    host.until_shared("hello").await;
    let shown = done(&["deployments", tried.trim()]);
    assert!(shown.contains("hello v2") && shown.contains("10 % of the traffic"), "{shown}");
    assert!(done(&["deployments", "hello"]).contains(tried.trim()));
    assert!(done(&["status"]).contains("10 %"));
    assert!(done(&["traffic", "hello"]).contains("v1 90 %, v2 10 %"));
    assert!(done(&["promote", "hello"]).contains("v2 100 %"));
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000002");
    assert!(done(&["rollback", "hello", "--reason", "too blue"]).contains("v1 100 %"));
    assert!(done(&["versions", "hello"]).contains("rolled back: too blue"));
    let shared = done(&["traffic", "hello", "1=50", "v2=50%", "--sticky", "cookie"]);
    assert!(shared.contains("v1 50 %, v2 50 %") && shared.contains("by cookie"), "{shared}");
    let ruled = done(&["traffic", "hello", "1=100", "2=0", "--rule", "x-beta:yes=2"]);
    assert!(ruled.contains("x-beta: yes goes to v2"), "{ruled}");
    let status = done(&["status"]);
    assert!(status.contains("hello: x-beta: yes goes to v2"), "{status}");
    assert!(status.contains("hello: a client stays by cookie"), "{status}");
    assert!(done(&["undeploy", "hello"]).contains("undeployed"));
    assert_eq!(host.get("/hello").await.status, 404);

    let code = |arguments: &[&str]| hotdock(&host, arguments).status.code();
    assert_eq!(code(&["promote", "hello"]), Some(6));
    assert_eq!(code(&["status", "hello"]), Some(6));
    assert_eq!(code(&["promote"]), Some(2));
    let garbage = folder.path().join("garbage.wasm");
    std::fs::write(&garbage, "garbage").expect("a file");
    assert_eq!(code(&["deploy", garbage.to_str().expect("text")]), Some(3));
    assert_eq!(code(&["status", "--admin", "127.0.0.1:1"]), Some(1));
    assert!(done(&["deploy", &file(3)]).contains("hello v3"));
    assert_eq!(code(&["promote", "hello"]), Some(5), "there is nothing on trial");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_an_upload_was_refused_is_said_until_the_next() {
    let host = Host::builder().start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hello.wasm");
    std::fs::write(&path, hello(1)).expect("a component");
    let manifest = folder.path().join("hello.toml");
    let deploy = |text: &str| {
        std::fs::write(&manifest, text).expect("a manifest");
        hotdock(&host, &["deploy", path.to_str().expect("text"), "--no-wait"])
    };
    let status = || said(&hotdock(&host, &["status"]));
    let reason = "hello: an upload was refused: secret KEY is not supplied";
    for before in ["", "100 %"] {
        let refused = said(&deploy("[capabilities]\nsecrets = [\"KEY\"]\n"));
        until_state(&host, refused.trim(), "refused").await;
        assert!(status().contains(reason) && status().contains(before), "{}", status());
        let shown = said(&hotdock(&host, &["deployments", refused.trim()]));
        assert!(shown.contains("refused\n") && shown.contains("- secret KEY is not"), "{shown}");
        until_state(&host, said(&deploy("")).trim(), "serving").await;
        assert!(!status().contains("refused"), "{}", status());
    }
    let all = said(&hotdock(&host, &["deployments", "--json"]));
    let all: serde_json::Value = serde_json::from_str(&all).expect("JSON");
    assert_eq!(all.as_array().expect("deployments").len(), 4);
    let code = |which: &str| hotdock(&host, &["deployments", which]).status.code();
    assert_eq!(code("absent"), Some(6));
    assert_eq!(code("01977d3e-0000-7000-8000-000000000000"), Some(6));
}

/// Whether the program is there and content with this on its standard input.
fn content(program: &str, arguments: &[&str], input: &[u8]) -> Option<bool> {
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = started.ok()?;
    // One that is not content may end before it has read all.
    _ = child.stdin.take().expect("piped").write_all(input);
    Some(child.wait().expect("its end").success())
}

#[test]
fn shells_take_their_completions() {
    let script = |shell: &str| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_hotdock")).args(["completions", shell]).output();
        let output = output.expect("it ends");
        assert!(output.status.success(), "{}", said(&output));
        output.stdout
    };
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = script(shell);
        let text = String::from_utf8_lossy(&script);
        assert!(text.contains("rollback") && text.contains("canary"), "{shell}");
        if content(shell, &[check], &script) == Some(false) {
            panic!("{shell} does not take its completions");
        }
    }
    assert!(content("bash", &["-n"], b"if").is_some_and(|content| !content), "bash is there");
    for shell in ["elvish", "powershell"] {
        assert!(!script(shell).is_empty());
    }
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let man = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_hotdock")).arg("man").args(arguments).output();
        let output = output.expect("it ends");
        assert!(output.status.success(), "{}", said(&output));
        output.stdout
    };
    let page = man(&[]);
    assert!(String::from_utf8_lossy(&page).contains("Exit codes"));
    man(&[folder.path().to_str().expect("text")]);
    for name in ["hotdock", "hotdock-up", "hotdock-deploy", "hotdock-logs", "hotdock-events-tail"] {
        let path = folder.path().join(format!("{name}.1"));
        let page = std::fs::read(&path).unwrap_or_else(|_| panic!("{name}.1 is there"));
        // It says on standard error what it cannot make sense of.
        if let Ok(shown) = Command::new("man").arg("--warnings").arg("-l").arg(&path).output() {
            let (text, warned) = (String::from_utf8_lossy(&shown.stdout), &shown.stderr);
            assert!(text.contains(name) && warned.is_empty(), "{name}: {}", said(&shown));
        }
        assert!(!page.is_empty());
    }
    assert!(!folder.path().join("hotdock-compile.1").exists(), "it is the host's own");
}
