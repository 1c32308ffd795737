//! What an operator may say about versions that have no traffic any more.

use http::Method;
use serde_json::{Value, json};

use super::operator::{ask, hotdock};
use crate::harness::raw::Raw;
use crate::harness::{Host, component};

/// A host with a request under way on the first of two versions, and that request.
async fn draining() -> (Host, Raw) {
    let host = Host::builder()
        .file("probe.wasm", component("probe").0)
        .file("probe.toml", "[deploy]\ndrain = \"1h\"\n[limits]\ndeadline = \"1h\"\n")
        .start()
        .await;
    let mut stream = Raw::connect(host.address).await;
    stream.send("GET /probe/sse?n=1000000&ms=20 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    stream.until("data: 0").await;
    host.drop_file("probe.toml", "");
    host.until_version("probe", 2).await;
    (host, stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_a_drain_before_its_time() {
    let (host, mut stream) = draining().await;
    let before = host.service("probe").await;
    assert_eq!(before["draining"][0]["leases"], 1, "{before}");
    // With time left it goes on.
    let path = "/v1/services/probe/drain";
    let told = ask(&host, Method::POST, path, json!({"within_ms": 3_600_000})).await;
    assert_eq!(told.status, 200, "{told:?}");
    assert_ne!(told.json()["draining"][0]["until"], before["draining"][0]["until"], "{told:?}");
    let revision = told.header("etag").split('.').next().expect("a tag");
    assert_eq!(revision, format!("\"{}", before["revision"]), "traffic is as it was");
    stream.until("data: 9").await;
    let output = hotdock(&host, &["drain", "probe", "v1"]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "probe v1 drains\nprobe v1 is gone\n");
    let rest = stream.read_to_end().await;
    assert!(!rest.contains("data: 999999"), "it was cut");
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_traffic_is_not_drained() {
    let (host, _stream) = draining().await;
    let path = "/v1/services/probe/drain";
    let refused = ask(&host, Method::POST, path, json!({"version": 2})).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.text().contains("has 100 % of the traffic"), "{refused:?}");
    let none = ask(&host, Method::POST, path, json!({"version": 7})).await;
    assert_eq!(none.status, 404, "{none:?}");
    assert!(none.text().contains("there is no version 7"), "{none:?}");
    let late = http::Request::post(host.admin_url(path)).header("if-match", "\"1000\"");
    let late = host.send(late.body(http_body_util::Full::default()).expect("a request")).await;
    assert_eq!(late.status, 412, "{late:?}");
    let absent = ask(&host, Method::POST, "/v1/services/absent/drain", Value::Null).await;
    assert_eq!(absent.status, 404, "{absent:?}");
    let done = ask(&host, Method::POST, path, Value::Null).await;
    assert_eq!(done.status, 200, "{done:?}");
    host.until_idle().await;
    // There is nothing to wait for any more, and that is what was wanted.
    for arguments in [&["drain", "probe"][..], &["drain", "probe", "v1"]] {
        let output = hotdock(&host, arguments);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "probe: nothing drains\n");
    }
}
