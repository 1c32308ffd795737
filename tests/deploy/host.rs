//! The host itself: start, restart, stop.

use std::process::{Command, Stdio};

use crate::harness::{Host, component, eventually, hello};

#[tokio::test]
async fn a_restart_brings_everything_back_from_the_cache() {
    let mut host = Host::builder().plugin("cart").file("hello.wasm", hello(1)).start().await;
    host.drop_file("hello.wasm", hello(2));
    host.until_version("hello", 2).await;
    assert!(host.stop().await.success());
    host.start().await;
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000002");
    assert_eq!(host.service("hello").await["serving"]["version"], 2);
    assert_eq!(host.get("/cart").await.status, 200);
    assert!(!host.log().contains("\"compiling\""), "from the cache: {}", host.log());
}

#[tokio::test]
async fn what_changed_while_the_host_was_down_is_dealt_with_at_the_start() {
    let mut host =
        Host::builder().file("hello.wasm", hello(1)).file("gone.wasm", hello(2)).start().await;
    assert!(host.stop().await.success());
    host.drop_file("hello.wasm", hello(3));
    host.remove_file("gone.wasm");
    host.start().await;
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000003");
    host.get("/gone").await.problem(404, "no-route");
}

#[tokio::test]
async fn a_second_host_on_the_same_data_folder_is_refused() {
    let host = Host::builder().start().await;
    let second = host.command().stderr(Stdio::piped()).output().expect("it ends");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another host runs on the data folder"), "{said}");
}

#[tokio::test]
async fn a_stop_lets_requests_under_way_finish() {
    let mut host = Host::builder().plugin("probe").start().await;
    let url = host.url("/probe/sleep?ms=600");
    let client = host.client.clone();
    let slow = tokio::spawn(async move { client.try_request(http::Method::GET, &url, "").await });
    eventually("it runs", async || {
        (host.service("probe").await["serving"]["leases"] == 1).then_some(())
    })
    .await;
    assert!(host.stop().await.success());
    assert_eq!(slow.await.expect("no panic").expect("an answer").status, 200);
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut host = Host::builder().plugin("probe").start().await;
    let url = host.url("/probe/sleep?ms=4000");
    let client = host.client.clone();
    let slow = tokio::spawn(async move { client.try_request(http::Method::GET, &url, "").await });
    eventually("it runs", async || {
        (host.service("probe").await["serving"]["leases"] == 1).then_some(())
    })
    .await;
    host.signal("INT");
    host.until_logged("stopping").await;
    host.signal("INT");
    assert_eq!(host.ended().await.code(), Some(130));
    assert!(slow.await.expect("no panic").is_err());
}

#[tokio::test]
async fn the_admin_listener_says_how_it_is() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let ask = async |path: &str| {
        let url = host.admin_url(path);
        host.client.try_request(http::Method::GET, &url, "").await.expect("an answer")
    };
    assert_eq!(ask("/healthz").await.status, 200);
    assert_eq!(ask("/readyz").await.status, 200);
    let service = ask("/v1/services/hello").await.json();
    assert_eq!(service["state"], "serving");
    assert_eq!(service["serving"]["digest"].as_str().expect("a digest").len(), 64);
    assert_eq!(ask("/v1/services/absent").await.status, 404);
    assert_eq!(ask("/nothing").await.header("content-type"), "application/problem+json");
}

#[test]
fn check_says_what_a_component_is_and_every_reason_why_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = folder.path().join("hello.wasm");
    std::fs::write(&good, component("hello").0).expect("a file");
    let bad = folder.path().join("bad.wasm");
    std::fs::write(&bad, b"\0asm\x01\0\0\0").expect("a file");
    let check = |files: &[&std::path::Path]| {
        let output = Command::new(env!("CARGO_BIN_EXE_hotdock")).arg("check").args(files).output();
        let output = output.expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = check(&[&good]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("can be deployed") && said.contains("wasi:http 0.2"), "{said}");
    let (code, said) = check(&[&good, &bad]);
    assert_eq!(code, Some(3));
    assert!(said.contains("cannot be deployed") && said.contains("module"), "{said}");
}

#[test]
fn bad_settings_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("hotdock.toml");
    std::fs::write(&config, "lissten = \"127.0.0.1:0\"\n").expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_hotdock"))
        .args(["up", "--config"])
        .arg(&config)
        .output()
        .expect("it ends");
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("hotdock.toml:1:1") && said.contains("`listen`"), "{said}");
    let output = Command::new(env!("CARGO_BIN_EXE_hotdock"))
        .args(["up", "--listen", "nowhere"])
        .output()
        .expect("it ends");
    assert_eq!(output.status.code(), Some(2));
}
