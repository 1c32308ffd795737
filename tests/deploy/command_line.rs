//! The commands that steer a running host, and their exit codes.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::operator::hotdock;
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
    assert!(!tried.trim().is_empty(), "its id is printed");
    host.until_shared("hello").await;
    assert!(done(&["status"]).contains("10 %"));
    assert!(done(&["traffic", "hello"]).contains("v1 90 %, v2 10 %"));
    assert!(done(&["promote", "hello"]).contains("v2 100 %"));
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000002");
    assert!(done(&["rollback", "hello", "--reason", "too blue"]).contains("v1 100 %"));
    assert!(done(&["versions", "hello"]).contains("rolled back: too blue"));
    let shared = done(&["traffic", "hello", "1=50", "v2=50%", "--sticky", "cookie"]);
    assert!(shared.contains("v1 50 %, v2 50 %") && shared.contains("by cookie"), "{shared}");
    assert!(done(&["undeploy", "hello"]).contains("undeployed"));
    assert_eq!(host.get("/hello").await.status, 404);

    let code = |arguments: &[&str]| hotdock(&host, arguments).status.code();
    assert_eq!(code(&["promote", "hello"]), Some(6));
    assert_eq!(code(&["promote", "hello", "2"]), Some(6), "only a deployment brings it back");
    assert_eq!(code(&["status", "hello"]), Some(6));
    assert_eq!(code(&["promote"]), Some(2));
    let garbage = folder.path().join("garbage.wasm");
    std::fs::write(&garbage, "garbage").expect("a file");
    assert_eq!(code(&["deploy", garbage.to_str().expect("text")]), Some(3));
    for arguments in [
        &["deploy", "absent.wasm"][..],
        &["pack", "absent.wasm"],
        &["check", "absent.wasm"],
        &["inspect", "absent.wasm"],
        &["diff", "absent.wasm", "absent.wasm"],
    ] {
        assert_eq!(code(arguments), Some(3), "{arguments:?}: there is no such file");
    }
    assert_eq!(code(&["status", "--admin", "127.0.0.1:1"]), Some(1));
    assert!(done(&["deploy", &file(3)]).contains("hello v3"));
    assert_eq!(code(&["promote", "hello"]), Some(5), "there is nothing on trial");
    for arguments in [
        &["promote", "hello", "9"][..],
        &["rollback", "hello", "9"],
        &["traffic", "hello", "9=100"],
        &["drain", "hello", "9"],
    ] {
        assert_eq!(code(arguments), Some(6), "{arguments:?}: there is no version 9");
    }
    assert_eq!(code(&["rollback", "hello", "3"]), Some(5), "it is not earlier");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_says_who_brought_it() {
    let host = Host::builder().start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hello.wasm");
    std::fs::write(&file, hello(1)).expect("a component");
    for user in [Some("jürgen"), Some(""), None] {
        let mut deploy = Command::new(env!("CARGO_BIN_EXE_hotdock"));
        deploy.arg("deploy").arg(&file).env("HOTDOCK_ADMIN", host.admin_url(""));
        match user {
            Some(user) => deploy.env("USER", user),
            None => deploy.env_remove("USER"),
        };
        let output = deploy.output().expect("it ends");
        assert!(output.status.success(), "{user:?}: {}", said(&output));
    }
    let path = host.admin_url("/v1/services/hello/versions");
    let versions = host.client.try_request(http::Method::GET, &path, "").await;
    let versions = versions.expect("an answer").json();
    assert!(versions[0]["who"].as_str().is_some_and(|who| who.starts_with("uid ")), "{versions}");
    assert!(versions[1]["who"].is_null(), "{versions}");
    assert_eq!(versions[2]["who"], "j%C3%BCrgen", "{versions}");
    let shown = said(&hotdock(&host, &["versions", "hello"]));
    assert!(shown.contains("upload by j%C3%BCrgen") && shown.contains("upload by uid "), "{shown}");
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
