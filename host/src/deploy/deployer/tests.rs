mod bench;
mod folder;
mod held_up;
mod restart;

use std::fs;
use std::time::Duration;

use bench::{Bench, RUNTIME, component, digest};

use super::{Notice, Status};
use crate::deploy::check;

#[tokio::test]
async fn a_dropped_component_serves_and_a_newer_one_replaces_it() {
    let mut bench = Bench::start().await;
    bench.drop_component("cart", "one");
    assert_eq!(bench.serving().await, "cart v1 /cart");
    bench.drop_component("cart", "two");
    assert_eq!(bench.serving().await, "cart v2 /cart");
    let drained = bench.until(|notice| matches!(notice, Notice::Drained { .. })).await;
    assert!(matches!(drained, Notice::Drained { version, leases_left: 0 } if version.number == 1));
    let status = bench.status();
    let serving = status.services[0].serving.as_ref().expect("a version");
    assert_eq!((serving.version, serving.file.as_deref()), (2, Some("cart.wasm")));
    assert_eq!(serving.digest, digest("two"));
}

#[tokio::test]
async fn a_version_under_lease_drains_when_the_lease_ends() {
    let mut bench = Bench::start().await;
    bench.drop_component("cart", "one");
    bench.serving().await;
    let lease = bench.version("cart").expect("a version").lease().expect("a lease");
    bench.drop_component("cart", "two");
    bench.until(|notice| matches!(notice, Notice::Draining { leases: 1, .. })).await;
    assert_eq!(bench.status().services[0].draining[0].leases, 1);
    // The next deployment does not wait for it.
    bench.drop_component("cart", "three");
    assert_eq!(bench.serving().await, "cart v3 /cart");
    assert!(bench.status().services[0].draining.iter().any(|version| version.version == 1));
    drop(lease);
    bench
        .until(|notice| matches!(notice, Notice::Drained { version, leases_left: 0 } if version.number == 1))
        .await;
}

#[tokio::test]
async fn what_is_refused_changes_nothing_that_serves() {
    let mut bench = Bench::start().await;
    bench.drop_component("cart", "one");
    bench.serving().await;
    let whole = component("two");
    for (content, reason) in [
        (b"".as_slice(), "cart.wasm is empty"),
        (b"#!/bin/sh", "cart.wasm is not WebAssembly"),
        (b"\0asm\x01\0\0\0", "cart.wasm is a core module"),
        (&component("nothing"), "it exports nothing"),
        (&whole[..whole.len() / 2], "cart.wasm is cut short"),
        (&component("unlinkable"), "import wasi:nobody/this is not provided by the host"),
    ] {
        bench.drop_bytes("cart.wasm", content);
        let reasons = bench.refused().await;
        assert!(reasons[0].contains(reason), "{reasons:?}");
        let status = bench.status();
        assert_eq!(status.services[0].refusal.as_ref().expect("a refusal").reasons, reasons);
        assert_eq!(status.services[0].serving.as_ref().expect("a version").version, 1);
    }
    // As it was: nothing is deployed, and nothing is refused any more.
    bench.drop_component("cart", "one");
    bench.until_status(|status| status.services[0].refusal.is_none()).await;
    assert_eq!(bench.version("cart").expect("a version").id.number, 1);
}

#[tokio::test]
async fn every_reason_is_reported() {
    let mut bench = Bench::start().await;
    bench.drop_component("cart", "one");
    bench.serving().await;
    bench.drop_bytes("other.toml", b"[[route]]\npath = \"/cart\"\n[[route]]\npath = \"/other\"\n");
    bench.drop_bytes("other.wasm", &component("unlinkable"));
    let reasons = bench.refused().await;
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].contains("wasi:nobody/this"), "{reasons:?}");
    assert_eq!(reasons[1], "route /cart is already served by cart");
    let files = bench.status().files;
    assert_eq!((files.len(), files[0].file.as_str()), (1, "other.wasm"));
    bench.drop_bytes("third.toml", b"[limits]\nmemroy = 1\ncpu = 1\n");
    bench.drop_component("third", "three");
    assert_eq!(bench.refused().await.len(), 2);
}

#[tokio::test]
async fn the_manifest_alone_makes_a_version_and_its_removal_another() {
    let mut bench = Bench::start().await;
    bench.drop_component("cart", "one");
    assert_eq!(bench.serving().await, "cart v1 /cart");
    bench.drop_bytes("cart.toml", b"[[route]]\npath = \"/basket\"\n");
    assert_eq!(bench.serving().await, "cart v2 /basket");
    bench.remove("cart.toml");
    assert_eq!(bench.serving().await, "cart v3 /cart");
    bench.drop_bytes("cart.toml", b"[service]\nname = \"basket\"\n[[route]]\npath = \"/cart\"\n");
    assert_eq!(bench.serving().await, "basket v1 /cart");
    assert!(bench.version("cart").is_none());
}

#[tokio::test]
async fn a_removed_file_undeploys_and_a_restored_one_deploys_again() {
    let mut bench = Bench::start().await;
    bench.drop_component("cart", "one");
    bench.serving().await;
    bench.remove("cart.wasm");
    bench.until(|notice| matches!(notice, Notice::Undeployed { .. })).await;
    assert!(bench.version("cart").is_none());
    bench.drop_component("cart", "one");
    assert_eq!(bench.serving().await, "cart v2 /cart");
}

#[tokio::test]
async fn a_second_file_of_a_service_is_refused_until_the_first_is_gone() {
    let mut bench = Bench::start().await;
    bench.drop_component("cart", "one");
    bench.serving().await;
    bench.drop_bytes("cart2.toml", b"[service]\nname = \"cart\"\n");
    bench.drop_component("cart2", "two");
    assert_eq!(bench.refused().await, ["service cart is already deployed from cart.wasm"]);
    bench.remove("cart.wasm");
    assert_eq!(bench.serving().await, "cart v2 /cart");
}

#[tokio::test]
async fn of_two_services_that_claim_a_route_the_second_waits_for_the_first_to_go() {
    let mut bench = Bench::start().await;
    bench.drop_component("cart", "one");
    bench.serving().await;
    bench.drop_bytes("basket.toml", b"[[route]]\npath = \"/cart\"\n");
    bench.drop_component("basket", "two");
    assert_eq!(bench.refused().await, ["route /cart is already served by cart"]);
    bench.remove("cart.wasm");
    assert_eq!(bench.serving().await, "basket v1 /cart");
    assert!(bench.status().files.is_empty());
}

#[tokio::test]
async fn a_renamed_file_keeps_its_service_without_a_gap() {
    let mut bench = Bench::start().await;
    bench.drop_bytes("a.toml", b"[service]\nname = \"cart\"\n");
    bench.drop_component("a", "one");
    bench.serving().await;
    let watching = bench.watch_for_a_gap("cart");
    fs::rename(bench.path("a.toml"), bench.path("b.toml")).expect("renamed");
    fs::rename(bench.path("a.wasm"), bench.path("b.wasm")).expect("renamed");
    assert_eq!(bench.serving().await, "cart v2 /cart");
    bench.until_status(|status| status.files.is_empty()).await;
    assert!(!watching.had_a_gap(), "the service was gone for a moment");
}

#[tokio::test]
async fn a_compiler_that_fails_is_the_reason() {
    let mut bench = Bench::start().await;
    bench.drop_bytes("cart.wasm", &[component("one").as_slice(), b"\0\x05\x04nope"].concat());
    let reasons = bench.refused().await;
    assert!(reasons[0].starts_with("it does not compile: not prepared"), "{reasons:?}");
}

#[tokio::test]
async fn a_newer_file_supersedes_one_that_waits_for_the_compiler() {
    let mut bench = Bench::start().await;
    bench.close_compiler(true);
    bench.drop_component("cart", "one");
    bench.until(|notice| matches!(notice, Notice::Compiling { .. })).await;
    bench.drop_component("order", "two");
    let waits = |status: &Status| {
        let order = status.files.iter().find(|file| file.file == "order.wasm");
        order.and_then(|file| file.candidate.as_ref()).map(|candidate| candidate.digest.clone())
    };
    bench.until_status(|status| waits(status) == Some(digest("two"))).await;
    bench.drop_component("order", "three");
    // What comes after it in the folder has been noted, so it has been, too.
    bench.drop_bytes("later.wasm", b"garbage");
    bench.refused().await;
    bench.close_compiler(false);
    assert_eq!(bench.serving().await, "cart v1 /cart");
    assert_eq!(bench.serving().await, "order v1 /order");
    assert_eq!(bench.version("order").expect("a version").digest.to_string(), digest("three"));
}

/// What is taken back while it is compiled is not migrated.
#[tokio::test]
async fn a_newer_file_supersedes_one_that_is_compiled() {
    let mut bench = Bench::start().await;
    bench.close_compiler(true);
    bench.drop_component("cart", "one");
    bench.until(|notice| matches!(notice, Notice::Compiling { .. })).await;
    bench.drop_component("cart", "two");
    bench.drop_bytes("later.wasm", b"garbage");
    bench.refused().await;
    bench.close_compiler(false);
    assert_eq!(bench.serving().await, "cart v1 /cart");
    assert_eq!(bench.version("cart").expect("a version").digest.to_string(), digest("two"));
}

#[tokio::test]
async fn migrations_are_tried_before_and_applied_while_warming() {
    let mut bench = Bench::start().await;
    let table = "[[migration]]\nname = \"1\"\nsql = \"CREATE TABLE orders (id INTEGER)\"\n";
    bench.drop_bytes("cart.toml", table.as_bytes());
    bench.drop_component("cart", "one");
    assert_eq!(bench.serving().await, "cart v1 /cart");
    let broken =
        format!("{table}[[migration]]\nname = \"2\"\nsql = \"CREATE TABLE orders (id)\"\n");
    bench.drop_bytes("cart.toml", broken.as_bytes());
    let reasons = bench.refused().await;
    assert!(reasons[0].starts_with("migration 2 failed"), "{reasons:?}");
    let next = format!("{table}[[migration]]\nname = \"2\"\nsql = \"CREATE TABLE lines (id)\"\n");
    bench.drop_bytes("cart.toml", next.as_bytes());
    assert_eq!(bench.serving().await, "cart v2 /cart");
}

#[tokio::test]
async fn a_candidate_that_is_not_healthy_gets_no_traffic() {
    let mut bench = Bench::start().await;
    bench.drop_component("cart", "one");
    bench.serving().await;
    bench.drop_bytes("cart.toml", b"[deploy]\nhealth = \"/cart/health\"\n");
    let reasons = bench.refused().await;
    assert!(reasons[0].contains("health path /cart/health"), "{reasons:?}");
    assert_eq!(bench.version("cart").expect("a version").id.number, 1);
    // The number that was used up for it is not given again.
    bench.drop_bytes("cart.toml", b"[limits]\nqueue = 1\n");
    assert_eq!(bench.serving().await, "cart v3 /cart");
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let mut bench = Bench::start().await;
    bench.drop_bytes("cart.toml", b"[deploy]\ndrain = \"1ms\"\n");
    bench.drop_component("cart", "one");
    bench.serving().await;
    let _lease = bench.version("cart").expect("a version").lease().expect("a lease");
    bench.drop_component("cart", "two");
    bench.until(|notice| matches!(notice, Notice::Drained { leases_left: 1, .. })).await;
    bench.until_status(|status| status.services[0].draining.is_empty()).await;
}

#[tokio::test]
async fn a_check_tells_what_a_deployment_would() {
    let bench = Bench::start().await;
    let folder = bench.folders.path();
    let compiler = folder.join("compiler");
    let checked = async |name: &str, content: &[u8]| {
        let file = folder.join("cart.wasm");
        fs::write(&file, content).expect(name);
        Box::pin(check(&RUNTIME, &compiler, Duration::from_secs(60), &file)).await
    };
    let checked_one = checked("one", &component("one")).await.expect("it could be deployed");
    let description = checked_one.component;
    assert_eq!(checked_one.secrets, [""; 0]);
    assert_eq!(
        (description.service.as_str(), description.serves.as_str()),
        ("cart", "wasi:http 0.2")
    );
    assert_eq!(description.exports, ["wasi:http/incoming-handler@0.2.0"]);
    assert_eq!(description.routes, ["/cart"]);
    fs::write(folder.join("cart.toml"), "[limits]\ncpu = 1\nqueue = -1\n").expect("written");
    let reasons = checked("unlinkable", &component("unlinkable")).await.expect_err("reasons");
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    let reasons = checked("garbage", b"garbage").await.expect_err("reasons");
    assert!(reasons[0].contains("is not WebAssembly"), "{reasons:?}");
}
