//! The folder and the operator change one service: whoever acted last decides.

use http::Method;
use serde_json::Value;

use super::operator::{acting, ask, deploy, hotdock, until_state, until_step, upload};
use crate::harness::{Host, eventually, hello};

async fn says(host: &Host, number: u32) {
    let version = format!("VERSION-{number:08}");
    eventually(&format!("{version} answers"), async || {
        (host.get("/hello").await.header("x-version") == version).then_some(())
    })
    .await;
}

#[tokio::test]
async fn whoever_acted_last_decides_also_after_a_restart() {
    let mut host = Host::builder().file("hello.wasm", hello(1)).start().await;
    deploy(&host, "hello", &hello(2), "", "serving").await;
    says(&host, 2).await;
    // The file is as it was, so it has nothing to say.
    assert!(host.stop().await.success());
    host.start().await;
    says(&host, 2).await;
    host.drop_file("hello.wasm", hello(3));
    says(&host, 3).await;
    ask(&host, Method::POST, "/v1/services/hello/rollback", Value::Null).await;
    says(&host, 2).await;
    assert!(host.stop().await.success());
    host.start().await;
    says(&host, 2).await;
}

#[tokio::test]
async fn a_file_that_goes_takes_only_what_it_deployed_last() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    deploy(&host, "hello", &hello(2), "", "serving").await;
    host.remove_file("hello.wasm");
    // Something that comes after it in the folder has been dealt with, so it has, too.
    host.drop_file("later.wasm", "garbage");
    host.until_refused("later.wasm").await;
    says(&host, 2).await;
    host.drop_file("hello.wasm", hello(3));
    says(&host, 3).await;
    host.remove_file("hello.wasm");
    eventually("it is gone", async || (host.get("/hello").await.status == 404).then_some(())).await;
}

#[tokio::test]
async fn a_file_waits_for_an_upload_and_another_upload_is_refused() {
    let host = Host::builder().plugin("probe").start().await;
    let (component, manifest) = acting("version = \"2\"", "health = \"/probe/sleep?ms=3000\"");
    let first = upload(&host, "probe", &component, &manifest).await;
    assert_eq!(first.status, 202, "{first:?}");
    let id = first.json()["id"].as_str().expect("an id").to_owned();
    until_step(&host, &id, "warming").await;
    let (component, newer) = acting("version = \"3\"", "");
    let second = upload(&host, "probe", &component, &newer).await;
    assert_eq!(second.status, 409, "{second:?}");
    assert!(second.text().contains("a deployment of probe is on its way"), "{second:?}");
    host.drop_file("probe.toml", newer);
    let uploaded = until_state(&host, &id, "serving").await;
    assert_eq!(uploaded["version"], 2, "{uploaded}");
    host.until_version("probe", 3).await;
    let deployments = ask(&host, Method::GET, "/v1/deployments", Value::Null).await.json();
    let newest = &deployments[0];
    assert_eq!((&newest["file"], &newest["version"]), (&"probe.wasm".into(), &3.into()));
    let began = newest["steps"][0]["at"].as_str().expect("a time");
    let served = uploaded["ended_at"].as_str().expect("a time");
    assert!(began >= served, "it began at {began}, and the upload served at {served}");
}

#[tokio::test]
async fn what_was_undeployed_stays_so_until_its_file_changes() {
    let mut host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let gone = ask(&host, Method::DELETE, "/v1/services/hello", Value::Null).await;
    assert_eq!(gone.status, 204);
    assert_eq!(host.get("/hello").await.status, 404);
    assert!(host.stop().await.success());
    host.start().await;
    assert_eq!(host.get("/hello").await.status, 404);
    let kept = ask(&host, Method::GET, "/v1/services/hello/versions", Value::Null).await.json();
    assert_eq!(kept[0]["version"], 1, "{kept}");
    host.drop_file("hello.wasm", hello(2));
    says(&host, 2).await;
}

#[tokio::test]
async fn a_file_supersedes_a_canary() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let manifest = "[deploy]\ncanary = { steps = [\"50%\"], pause = \"1h\" }\n";
    let canary = deploy(&host, "hello", &hello(2), manifest, "running").await;
    host.until_shared("hello").await;
    host.drop_file("hello.wasm", hello(3));
    host.until_version("hello", 3).await;
    let service = host.service("hello").await;
    assert!(service["canary"].is_null() && service["sharing"].is_null(), "{service}");
    until_state(&host, canary["id"].as_str().expect("an id"), "superseded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_file_of_a_service_that_somebody_else_deployed_is_shown_with_it() {
    let host = Host::builder().start().await;
    deploy(&host, "hello", &hello(1), "", "serving").await;
    host.drop_file("hello.wasm", "garbage");
    host.drop_file("never.wasm", "garbage");
    host.until_refused("hello.wasm").await;
    host.until_refused("never.wasm").await;
    host.until_logged("hello.wasm").await;
    host.until_logged("never.wasm").await;
    let log = host.log();
    let still_serving = |file: &str| {
        let mut lines = log.lines();
        let line = lines.find(|line| line.contains(file) && line.contains("still_serving"));
        line.expect("it is logged").contains("\"still_serving\":true")
    };
    assert!(still_serving("hello.wasm"), "{log}");
    assert!(!still_serving("never.wasm"), "{log}");
    let status = |service: &str| {
        let output = hotdock(&host, &["status", service]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let of_hello = status("hello");
    assert!(of_hello.contains("v1") && of_hello.contains("hello.wasm is refused"), "{of_hello}");
    assert!(!of_hello.contains("never.wasm"), "{of_hello}");
    assert!(status("never").contains("never.wasm is refused"));
}
