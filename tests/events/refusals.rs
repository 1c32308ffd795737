//! Manifests that ask for what their component has no entry for.

use std::process::Command;

use crate::harness::{Host, component, hello};

#[tokio::test]
async fn a_subscription_needs_a_handler() {
    let host = Host::builder()
        .file("hello.wasm", hello(1))
        .file("hello.toml", "[[subscribe]]\ntype = \"shop.>\"\n")
        .start()
        .await;
    let reasons = host.until_refused("hello.wasm").await;
    assert_eq!(
        reasons,
        "[[subscribe]] shop.> has nothing to deliver to: the component exports neither \
         hotdock:events/handler nor hotdock:events/async-handler"
    );
}

#[tokio::test]
async fn a_route_and_a_health_path_need_an_answer() {
    let manifest = "[[route]]\npath = \"/a\"\n[deploy]\nhealth = \"/a/health\"\n";
    let host = Host::builder().plugin_with("consumer3", manifest).start().await;
    let reasons = host.until_refused("consumer3.wasm").await;
    let exports = "the component exports none of hotdock:http/handler, wasi:http/incoming-handler and wasi:http/handler";
    let expected = format!(
        "[[route]] /a has no answer: {exports}\n\
         [deploy] health = \"/a/health\" has no answer: {exports}"
    );
    assert_eq!(reasons, expected);
}

#[test]
fn check_says_how_events_reach_a_service_and_that_none_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("consumer3.wasm");
    let (wasm, manifest) = component("consumer3");
    std::fs::write(&file, wasm).expect("a file");
    let check = || {
        let output = Command::new(env!("CARGO_BIN_EXE_hotdock")).arg("check").arg(&file).output();
        String::from_utf8(output.expect("it runs").stdout).expect("text")
    };
    let said = check();
    assert!(said.contains("serves      hotdock:events (async)"), "{said}");
    assert!(said.contains("routes      none"), "{said}");
    assert!(said.contains("note        no event reaches it"), "{said}");
    std::fs::write(folder.path().join("consumer3.toml"), manifest.expect("one")).expect("a file");
    let said = check();
    assert!(said.contains("subscribes  test3.>"), "{said}");
    assert!(!said.contains("note "), "{said}");
}
