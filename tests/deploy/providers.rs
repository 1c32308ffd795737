//! Services that import from one another: who waits for whom, and what cannot be taken away.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::operator::{ask, deploy, hotdock};
use crate::harness::typed::{REQUESTS, component};
use crate::harness::{Host, eventually, hello};

const CARTS: &str = "get: func(id: u64) -> bool;";
const OTHER_CARTS: &str = "get: func(id: string) -> bool;";

/// An interface of the test's: `shop:<name>/api@1.0.0`.
fn package(name: &str, content: &str) -> String {
    format!("package shop:{name}@1.0.0 {{ interface api {{ {content} }} }}")
}

/// A component that takes requests, exports the one interfaces and imports the others.
fn service(exports: &[(&str, &str)], imports: &[(&str, &str)]) -> Vec<u8> {
    let list = |word: &str, all: &[(&str, &str)]| {
        let items = all.iter().map(|(name, _)| format!("{word} shop:{name}/api@1.0.0; "));
        items.collect::<String>()
    };
    let packages = exports.iter().chain(imports).map(|(name, content)| package(name, content));
    // One that it exports and imports is there once.
    let packages: BTreeSet<String> = packages.collect();
    component(
        &format!("{REQUESTS} {} {}", list("export", exports), list("import", imports)),
        &packages.into_iter().collect::<Vec<_>>().join("\n"),
    )
}

/// It exports `shop:cart/api`.
fn cart() -> Vec<u8> {
    service(&[("cart", CARTS)], &[])
}

/// It imports `shop:cart/api`.
fn order() -> Vec<u8> {
    service(&[], &[("cart", CARTS)])
}

const CALLS_CART: &str = "[capabilities]\ncalls = [\"cart\"]\n";
const MAY_BREAK: &str = "[deploy]\nallow-breaking = true\n";

fn lists(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A host with cart, and order that calls it.
async fn shop() -> Host {
    Host::builder()
        .file("order.toml", CALLS_CART)
        .file("order.wasm", order())
        .file("cart.wasm", cart())
        .start()
        .await
}

#[tokio::test]
async fn a_file_waits_for_who_exports_what_it_imports_and_goes_live_by_itself() {
    let host = Host::builder().start().await;
    host.drop_file("order.toml", CALLS_CART);
    host.drop_file("order.wasm", order());
    let waits = "waits for a service that exports shop:cart/api@1.x: cart is not deployed";
    assert_eq!(host.until_pending("order.wasm").await, waits);
    let said = hotdock(&host, &["status"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains(&format!("order.wasm is pending: {waits}")), "{said}");
    // One that does not export it is not the one.
    host.drop_file("cart.wasm", hello(1));
    host.until_version("cart", 1).await;
    eventually("it is looked at again", async || {
        host.until_pending("order.wasm").await.contains("cart does not export it").then_some(())
    })
    .await;
    host.drop_file("cart.wasm", cart());
    host.drop_file("cart.toml", MAY_BREAK);
    host.until_version("order", 1).await;
    let status = host.service("order").await;
    assert!(status["pending"].is_null(), "{status}");
    assert_eq!(lists(&status["callees"]), ["cart"]);
}

#[tokio::test]
async fn the_order_in_which_files_are_found_is_no_matter() {
    let host = shop().await;
    assert_eq!(host.service("order").await["state"], "serving", "it is ready with all of them");
    assert_eq!(lists(&host.service("cart").await["callers"]), ["order"]);
}

#[tokio::test]
async fn a_host_is_ready_while_files_only_wait_and_knows_them_after_a_restart() {
    let mut host = Host::builder()
        .file("order.toml", CALLS_CART)
        .file("order.wasm", order())
        .file("hello.wasm", hello(1))
        .start()
        .await;
    host.until_pending("order.wasm").await;
    assert_eq!(host.get("/hello").await.status, 200);
    assert!(host.stop().await.success());
    host.start().await;
    host.until_pending("order.wasm").await;
    host.drop_file("cart.wasm", cart());
    host.until_version("order", 1).await;
}

#[tokio::test]
async fn services_that_call_each_other_go_live_together() {
    let (a, b) = (("a", CARTS), ("b", CARTS));
    let host = Host::builder().start().await;
    host.drop_file("one.toml", "[capabilities]\ncalls = [\"two\"]\n");
    host.drop_file("one.wasm", service(&[a], &[b]));
    assert!(host.until_pending("one.wasm").await.contains("two is not deployed"));
    host.drop_file("two.toml", "[capabilities]\ncalls = [\"one\"]\n");
    host.drop_file("two.wasm", service(&[b], &[a]));
    host.until_version("one", 1).await;
    host.until_version("two", 1).await;
    // One calls itself.
    host.drop_file("self.toml", "[capabilities]\ncalls = [\"self\"]\n");
    host.drop_file("self.wasm", service(&[("c", CARTS)], &[("c", CARTS)]));
    host.until_version("self", 1).await;
    assert_eq!(lists(&host.service("self").await["callers"]), ["self"]);
}

#[tokio::test]
async fn who_needs_a_candidate_that_fails_goes_back_to_waiting_and_what_serves_goes_on() {
    let (a, b) = (("a", CARTS), ("b", CARTS));
    let host = Host::builder().file("one.wasm", hello(1)).start().await;
    host.drop_file("one.toml", "[capabilities]\ncalls = [\"two\"]\n");
    host.until_version("one", 2).await;
    host.drop_file("one.wasm", service(&[a], &[b]));
    host.until_pending("one.wasm").await;
    // It traps when it is asked how it is.
    let calls_one = "[capabilities]\ncalls = [\"one\"]\n";
    host.drop_file("two.toml", format!("{calls_one}[deploy]\nhealth = \"/two\"\n"));
    host.drop_file("two.wasm", service(&[b], &[a]));
    host.until_refused("two.wasm").await;
    let one = host.service("one").await;
    assert_eq!(one["serving"]["version"], 2, "{one}");
    host.until_pending("one.wasm").await;
    assert_eq!(host.get("/one").await.header("x-version"), "VERSION-00000001");
    host.drop_file("two.toml", calls_one);
    // The first number was that of the one that failed.
    host.until_version("two", 2).await;
    eventually("one has its new version", async || {
        let one = host.service("one").await;
        (lists(&one["callees"]) == ["two"] && one["pending"].is_null()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upload_may_bring_the_last_of_a_circle() {
    let (a, b) = (("a", CARTS), ("b", CARTS));
    let host = Host::builder().start().await;
    let calls_one = "[capabilities]\ncalls = [\"one\"]\n";
    let two = service(&[b], &[a]);
    let refused = deploy(&host, "two", &two, calls_one, "refused").await;
    let reasons = refused["reasons"].to_string();
    assert!(reasons.contains("one is not deployed; deploy that one first"), "{reasons}");
    host.drop_file("one.toml", "[capabilities]\ncalls = [\"two\"]\n");
    host.drop_file("one.wasm", service(&[a], &[b]));
    host.until_pending("one.wasm").await;
    deploy(&host, "two", &two, calls_one, "serving").await;
    host.until_version("one", 1).await;
}

#[tokio::test]
async fn what_is_not_granted_not_clear_or_of_other_types_is_refused() {
    let host = shop().await;
    host.drop_file("bare.wasm", order());
    let reasons = host.until_refused("bare.wasm").await;
    assert!(reasons.contains("add `cart` to `[capabilities] calls`"), "{reasons}");
    host.drop_file("other.toml", CALLS_CART);
    host.drop_file("other.wasm", service(&[], &[("cart", OTHER_CARTS)]));
    let reasons = host.until_refused("other.wasm").await;
    let misfit = "get is func(id: u64) -> bool, and func(id: string) -> bool is wanted";
    assert!(reasons.contains(misfit), "{reasons}");
    host.drop_file("second.wasm", cart());
    host.until_version("second", 1).await;
    let both = "[capabilities]\ncalls = [\"cart\", \"second\"]\n";
    host.drop_file("both.toml", both);
    host.drop_file("both.wasm", order());
    let reasons = host.until_refused("both.wasm").await;
    assert!(reasons.contains("exported by cart and second"), "{reasons}");
    host.drop_file("both.toml", format!("{both}[imports]\n\"shop:cart/api\" = \"second\"\n"));
    host.until_version("both", 1).await;
    assert_eq!(lists(&host.service("both").await["callees"]), ["second"]);
    host.drop_file("evil.wasm", service(&[], &[("unknown", CARTS)]));
    let reasons = host.until_refused("evil.wasm").await;
    assert!(reasons.contains("import shop:unknown/api@1.0.0 is not provided by the host"));
}

#[tokio::test]
async fn what_others_import_cannot_be_taken_away() {
    let host = shop().await;
    host.drop_file("cart.toml", MAY_BREAK);
    host.until_version("cart", 2).await;
    host.drop_file("cart.wasm", hello(1));
    let reasons = host.until_refused("cart.wasm").await;
    let named = "order imports shop:cart/api@1.0.0 from cart, and no service that it may call \
                 would export it; deploy a version of order that does without that first";
    assert!(reasons.contains(named), "{reasons}");
    let allowed = "cart?allow_breaking=true";
    let changed = service(&[("cart", OTHER_CARTS)], &[]);
    let refused = deploy(&host, allowed, &changed, "", "refused").await["reasons"].to_string();
    assert!(refused.contains("func(id: u64) -> bool is wanted"), "{refused}");
    assert_eq!(host.service("cart").await["serving"]["version"], 2);
    // It comes once nobody needs it.
    host.drop_file("order.wasm", hello(2));
    host.until_version("order", 2).await;
    host.until_version("cart", 3).await;
}

#[tokio::test]
async fn check_and_diff_say_who_would_lose_what() {
    let host = shop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    std::fs::create_dir(folder.path().join("new")).expect("a folder");
    let (old, new) = (path("cart.wasm"), path("new/cart.wasm"));
    std::fs::write(&old, cart()).expect("a component");
    std::fs::write(&new, service(&[("cart", OTHER_CARTS)], &[])).expect("a component");
    let lost = "order imports shop:cart/api@1.0.0: get is func(id: string) -> bool, and func(id: \
                u64) -> bool is wanted";
    for (arguments, code, said) in [
        (vec!["check", &new], 0, false),
        (vec!["check", "--dependents", &new], 3, true),
        (vec!["check", "--dependents", &old], 0, false),
        (vec!["diff", &old, &new], 8, false),
        (vec!["diff", "--dependents", &old, &new], 8, true),
    ] {
        let output = hotdock(&host, &arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(words.contains(lost), said, "{arguments:?}: {words}");
    }
}

#[tokio::test]
async fn an_undeployment_that_others_suffer_from_is_by_force_only() {
    let host = shop().await;
    let refused = hotdock(&host, &["undeploy", "cart"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(said.contains("order imports shop:cart/api@1.0.0 from cart"), "{said}");
    assert!(said.contains("hotdock undeploy --force cart"), "{said}");
    let refused = ask(&host, Method::DELETE, "/v1/services/cart?force=false", Value::Null).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let forced = hotdock(&host, &["undeploy", "--force", "cart"]);
    assert!(forced.status.success(), "{forced:?}");
    let uses = host.service("order").await["uses"][0].clone();
    assert!(uses["from"].is_null(), "{uses}");
    assert!(uses["problem"].to_string().contains("cart is not deployed"), "{uses}");
    deploy(&host, "cart", &cart(), "", "serving").await;
    assert_eq!(host.service("order").await["uses"][0]["from"], "cart");
}

#[tokio::test]
async fn no_traffic_goes_back_to_a_version_without_what_others_import() {
    let host = Host::builder().file("cart.wasm", hello(1)).start().await;
    host.drop_file("cart.toml", MAY_BREAK);
    host.until_version("cart", 2).await;
    host.drop_file("cart.wasm", cart());
    host.until_version("cart", 3).await;
    host.drop_file("order.toml", CALLS_CART);
    host.drop_file("order.wasm", order());
    host.until_version("order", 1).await;
    let plan = json!({ "versions": [
        {"version": 3, "weight": 90}, {"version": 2, "weight": 10}
    ]});
    for (method, path, body) in [
        (Method::POST, "rollback", json!({})),
        (Method::POST, "promote", json!({"version": 1})),
        (Method::PUT, "traffic", plan),
    ] {
        let refused = ask(&host, method, &format!("/v1/services/cart/{path}"), body).await;
        assert_eq!(refused.status, 422, "{path}: {refused:?}");
        let reasons = refused.json()["reasons"].to_string();
        assert!(reasons.contains("order imports shop:cart/api@1.0.0"), "{path}: {reasons}");
    }
    assert_eq!(host.service("cart").await["serving"]["version"], 3);
    // What a version imports has to be there as well.
    host.remove_file("order.wasm");
    eventually("order is gone", async || {
        let services = host.status().await["services"].clone();
        services.as_array()?.iter().all(|each| each["name"] != "order").then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_calls_whom_is_shown() {
    let host = shop().await;
    let (cart, order) = (host.service("cart").await, host.service("order").await);
    let functions = json!({"get": "func(id: u64) -> bool"});
    let provided = json!([{"interface": "shop:cart/api@1.0.0", "functions": functions}]);
    assert_eq!(cart["provides"], provided);
    let used =
        json!([{"interface": "shop:cart/api@1.0.0", "functions": functions, "from": "cart"}]);
    assert_eq!(order["uses"], used);
    assert_eq!(lists(&order["may_call"]), ["cart"]);
    let graph = hotdock(&host, &["graph"]);
    let words = String::from_utf8_lossy(&graph.stdout).into_owned();
    let expected = "cart\n  called by  order: shop:cart/api@1.0.0\norder\n  calls      cart: \
                    shop:cart/api@1.0.0\n";
    assert_eq!(words, expected);
    let graph = hotdock(&host, &["graph", "--format", "json"]);
    let graph: Value = serde_json::from_slice(&graph.stdout).expect("JSON");
    let call = json!({"from": "order", "to": "cart", "interface": "shop:cart/api@1.0.0"});
    assert_eq!(graph, json!({"services": ["cart", "order"], "calls": [call], "events": []}));
    for (format, begin) in [("mermaid", "flowchart LR"), ("dot", "digraph")] {
        let graph = hotdock(&host, &["graph", "--format", format]);
        assert!(String::from_utf8_lossy(&graph.stdout).starts_with(begin), "{graph:?}");
    }
}
