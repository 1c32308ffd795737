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
    let start = "[[subscribe]] shop.> has nothing to deliver to: the component exports neither \
         hotdock:events/handler@0.1.x nor hotdock:events/async-handler@0.1.x, but ";
    assert!(reasons.starts_with(start), "{reasons}");
    assert!(
        reasons.contains("wasi:http/incoming-handler@0.2."),
        "it says what there is: {reasons}"
    );
}

#[tokio::test]
async fn a_route_and_a_health_path_need_an_answer() {
    // Also a route that is what there would be by default: this one was asked for.
    for path in ["/a", "/consumer3"] {
        let manifest =
            format!("[[route]]\npath = \"{path}\"\n[deploy]\nhealth = \"{path}/health\"\n");
        let host = Host::builder().plugin_with("consumer3", &manifest).start().await;
        let reasons = host.until_refused("consumer3.wasm").await;
        let start = "the component exports none of hotdock:http/handler@0.1.x, \
                     wasi:http/incoming-handler@0.2.x and wasi:http/handler@0.3.x, but ";
        for expected in [
            format!("[[route]] {path} has no answer: {start}"),
            format!("[deploy] health = \"{path}/health\" has no answer: {start}"),
            "hotdock:events/async-handler@0.1.".to_owned(),
        ] {
            assert!(reasons.contains(&expected), "{reasons}");
        }
        // Without a host, too.
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("consumer3.wasm");
        std::fs::write(&file, component("consumer3").0).expect("a file");
        std::fs::write(folder.path().join("consumer3.toml"), &manifest).expect("a file");
        let output = Command::new(env!("CARGO_BIN_EXE_hotdock")).arg("check").arg(&file).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(&format!("[[route]] {path} has no answer")), "{said}");
    }
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
