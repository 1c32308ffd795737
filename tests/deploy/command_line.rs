//! The commands that steer a running host, and their exit codes.

use std::process::Output;

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
    assert_eq!(code(&["status", "hello"]), Some(6));
    assert_eq!(code(&["promote"]), Some(2));
    let garbage = folder.path().join("garbage.wasm");
    std::fs::write(&garbage, "garbage").expect("a file");
    assert_eq!(code(&["deploy", garbage.to_str().expect("text")]), Some(3));
    assert_eq!(code(&["status", "--admin", "127.0.0.1:1"]), Some(1));
    assert!(done(&["deploy", &file(3)]).contains("hello v3"));
    assert_eq!(code(&["promote", "hello"]), Some(5), "there is nothing on trial");
}
