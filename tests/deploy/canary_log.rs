//! What the log has of a canary: its start, its shares after a restart, and its end by another.

use http::Method;
use serde_json::Value;

use crate::deploy::operator::{ask, deploy};
use crate::harness::{Host, hello};

#[tokio::test]
async fn a_canary_is_in_the_log_from_its_start_to_the_version_that_supersedes_it() {
    let mut host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let manifest = "[deploy]\ncanary = { steps = [\"30%\", \"100%\"], pause = \"1h\" }\n";
    deploy(&host, "hello", &hello(2), manifest, "running").await;
    host.until_shared("hello").await;
    host.until_logged("\"message\":\"canary begins\"").await;
    host.kill();
    host.start().await;
    host.until_logged("v1 70 %, v2 30 %").await;
    assert!(!host.log().contains("canary begins"), "it goes on: {}", host.log());
    deploy(&host, "hello", &hello(3), "", "serving").await;
    host.until_logged("\"message\":\"canary is superseded\"").await;
    let log = host.log();
    let line = log.lines().find(|line| line.contains("canary is superseded")).expect("a line");
    assert!(line.contains("\"version\":2") && line.contains("\"by\":3"), "{line}");
    let service = ask(&host, Method::GET, "/v1/services/hello", Value::Null).await.json();
    assert_eq!(service["serving"]["version"], 3, "{service}");
}
