//! What cannot be deployed: said why, and nothing that serves is disturbed.

use std::path::Path;

use crate::harness::{Host, component, eventually, hello, migrations};

/// Drops `bytes` over a running hello; returns why they are refused.
async fn refused(bytes: &[u8]) -> String {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    host.drop_file("hello.wasm", bytes);
    let reasons = host.until_refused("hello.wasm").await;
    let reply = host.get("/hello").await;
    assert_eq!(reply.header("x-version"), "VERSION-00000001", "the old version goes on");
    host.until_logged("hello.wasm").await;
    reasons
}

#[tokio::test]
async fn garbage_is_refused() {
    assert!(refused(b"this is not WebAssembly").await.contains("WebAssembly"));
    assert!(refused(b"").await.contains("empty"));
}

#[tokio::test]
async fn a_truncated_component_is_refused() {
    let bytes = hello(2);
    assert!(!refused(&bytes[..bytes.len() / 2]).await.is_empty());
}

#[tokio::test]
async fn a_core_module_is_refused_as_what_it_is() {
    let module = b"\0asm\x01\0\0\0";
    assert!(refused(module).await.contains("module"));
}

#[tokio::test]
async fn a_component_that_exports_nothing_servable_is_refused() {
    let empty_component = b"\0asm\x0d\0\x01\0";
    assert!(refused(empty_component).await.contains("it exports nothing"));
}

#[tokio::test]
async fn an_import_that_nobody_provides_is_refused_by_name() {
    // The same length, so that every size in the file stays true.
    let (mut bytes, _) = component("hello");
    let (from, to) = (b"wasi:http/types@0.2", b"evil:http/types@0.2");
    let mut replaced = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            replaced += 1;
        }
    }
    assert!(replaced > 0);
    assert!(refused(&bytes).await.contains("evil:http/types@0.2"));
}

#[tokio::test]
async fn two_services_cannot_claim_one_route() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    host.drop_file("rival.toml", "[[route]]\npath = \"/hello\"\n");
    host.drop_file("rival.wasm", hello(2));
    let reasons = host.until_refused("rival.wasm").await;
    assert!(reasons.contains("route /hello is already served by hello"), "{reasons}");
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000001");
    host.remove_file("hello.wasm");
    host.drop_file("rival.toml", "[[route]]\npath = \"/hello\" # now it is free\n");
    host.until_version("rival", 1).await;
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000002");
}

#[tokio::test]
async fn a_bad_manifest_is_refused_with_its_line_and_the_nearest_key() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    host.drop_file("hello.toml", "[limits]\nmemroy = \"1MiB\"\n");
    let reasons = host.until_refused("hello.wasm").await;
    assert!(reasons.contains("hello.toml:2:1") && reasons.contains("memory"), "{reasons}");
    assert_eq!(host.get("/hello").await.status, 200);
}

#[tokio::test]
async fn a_failing_or_changed_migration_is_refused() {
    let host = Host::builder().plugin("cart").plugin("order").start().await;
    let (_, manifest) = component("order");
    let manifest = manifest.expect("order has one");
    let broken = format!("{manifest}\n[[migration]]\nname = \"9999\"\nsql = \"CREATE TABL x\"\n");
    host.drop_file("order.toml", broken);
    assert!(host.until_refused("order.wasm").await.contains("migration 9999 failed"));
    host.drop_file(
        "order.toml",
        manifest.replacen("CREATE TABLE orders", "CREATE TABLE  orders", 1),
    );
    eventually("the change is refused", async || {
        let reasons = host.until_refused("order.wasm").await;
        reasons.contains("was changed after it was applied").then_some(())
    })
    .await;
    let body = r#"{"user_id": 1, "product_id": 1, "quantity": 1}"#;
    assert_eq!(host.post("/order", body).await.status, 200);
}

#[tokio::test]
async fn an_unhealthy_candidate_is_refused() {
    let host = Host::builder().plugin("probe").start().await;
    for (path, said) in [("/probe/status?code=500", "500"), ("/probe/trap", "failed")] {
        let health = format!(
            "[deploy]\nhealth = \"{path}\"\n[[route]]\npath = \"/probe\"\n{}",
            migrations("probe")
        );
        host.drop_file("probe.toml", health);
        eventually("it is refused", async || {
            host.until_refused("probe.wasm").await.contains(said).then_some(())
        })
        .await;
        assert_eq!(host.service("probe").await["serving"]["version"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_in_which_the_host_panics_ends_and_its_file_is_looked_at_again() {
    for place in ["in a deployment=1", "in a look at a file=1"] {
        let host = Host::builder().environment("HOTDOCK_FAILPOINT", Path::new(place)).start().await;
        host.drop_file("hello.wasm", hello(1));
        let reasons = host.until_refused("hello.wasm").await;
        assert!(reasons.contains("the host panicked"), "{place}: {reasons}");
        host.drop_file("hello.wasm", hello(1));
        eventually("it serves", async || {
            (host.get("/hello").await.header("x-version") == "VERSION-00000001").then_some(())
        })
        .await;
        assert!(host.service("hello").await["refusal"].is_null(), "{place}");
    }
}
