//! A newer version that lacks or changes what the one before it has for others.

use http::Method;
use serde_json::{Value, json};

use super::operator::{ask, deploy, hotdock, upload};
use crate::harness::typed::{EVENT_HANDLER, REQUESTS, component, stock};
use crate::harness::{Host, hello};

const CONTENT: &str = "find: func(id: u64) -> bool; count: func() -> u32;";
const LESS: &str = "find: func(id: u32) -> bool;";
const MORE: &str = "find: func(id: u64) -> bool; count: func() -> u32; name: func() -> string;";

#[tokio::test]
async fn a_file_that_breaks_the_service_is_refused_with_every_reason_unless_its_manifest_allows_it()
{
    let host = Host::builder().file("stock.wasm", stock("1.0.0", CONTENT)).start().await;
    host.drop_file("stock.wasm", stock("1.0.0", LESS));
    let reasons = host.until_refused("stock.wasm").await;
    for reason in [
        "not compatible with stock v1: export shop:stock/stock@1.0.0: count is gone",
        "find was func(id: u64) -> bool, is func(id: u32) -> bool",
        "allow-breaking = true",
    ] {
        assert!(reasons.contains(reason), "{reasons}");
    }
    assert_eq!(host.service("stock").await["serving"]["version"], 1);
    host.drop_file("stock.toml", "[deploy]\nallow-breaking = true\n");
    host.until_version("stock", 2).await;
    host.until_logged("a breaking change, as allowed").await;
}

#[tokio::test]
async fn a_compatible_change_is_deployed_and_going_back_from_it_is_never_refused() {
    let host = Host::builder().file("stock.wasm", stock("1.0.0", CONTENT)).start().await;
    host.drop_file("stock.wasm", stock("1.1.0", MORE));
    host.until_version("stock", 2).await;
    let path = "/v1/services/stock/rollback";
    let back = ask(&host, Method::POST, path, json!({})).await;
    assert_eq!(back.status, 200, "{back:?}");
    assert_eq!(host.service("stock").await["serving"]["version"], 1);
}

#[tokio::test]
async fn another_major_version_is_breaking_and_one_beside_the_old_is_not() {
    let host = Host::builder().file("stock.wasm", stock("1.0.0", CONTENT)).start().await;
    host.drop_file("stock.wasm", stock("2.0.0", CONTENT));
    let reasons = host.until_refused("stock.wasm").await;
    assert!(reasons.contains("shop:stock/stock@2.0.0 is not compatible with it"), "{reasons}");
    let both = component(
        &format!("{REQUESTS} export shop:stock/stock@1.0.0; export shop:stock/stock@2.0.0;"),
        &format!(
            "package shop:stock@1.0.0 {{ interface stock {{ {CONTENT} }} }}
             package shop:stock@2.0.0 {{ interface stock {{ {LESS} }} }}"
        ),
    );
    host.drop_file("stock.wasm", both);
    host.until_version("stock", 2).await;
}

#[tokio::test]
async fn an_upload_that_breaks_the_service_is_refused_unless_the_operator_allows_it() {
    let host = Host::builder().start().await;
    deploy(&host, "stock", &stock("1.0.0", CONTENT), "", "serving").await;
    let refused = deploy(&host, "stock", &stock("1.0.0", LESS), "", "refused").await;
    assert_eq!(refused["reasons"].as_array().expect("reasons").len(), 3, "{refused}");
    let allowed = "stock?allow_breaking=true";
    let serving = deploy(&host, allowed, &stock("1.0.0", LESS), "", "serving").await;
    assert_eq!(serving["version"], 2, "numbers are given to what is warmed only");
    let wrong = upload(&host, "stock?allow_breaking=maybe", &stock("1.0.0", LESS), "").await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
}

#[tokio::test]
async fn the_command_says_what_would_break_and_does_it_when_told_to() {
    let host = Host::builder().file("stock.wasm", stock("1.0.0", CONTENT)).start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stock.wasm");
    std::fs::write(&path, stock("1.0.0", LESS)).expect("a component");
    let file = path.to_str().expect("text");
    let refused = hotdock(&host, &["deploy", file]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("count is gone") && said.contains("--allow-breaking"), "{said}");
    let allowed = hotdock(&host, &["deploy", file, "--allow-breaking"]);
    assert!(allowed.status.success(), "{allowed:?}");
    assert_eq!(host.service("stock").await["serving"]["version"], 2);
}

#[tokio::test]
async fn a_lost_handler_is_breaking_where_something_reaches_it() {
    let both = component(&format!("{REQUESTS} {EVENT_HANDLER}"), "");
    let subscribing = "[[subscribe]]\ntype = \"shop.>\"\nname = \"all\"\n";
    let host = Host::builder().start().await;
    deploy(&host, "both", &both, subscribing, "serving").await;
    let reasons = |refused: &Value| refused["reasons"].to_string();
    let refused = deploy(&host, "both", &hello(1), "", "refused").await;
    assert!(reasons(&refused).contains("events of its subscriptions (all)"), "{refused}");
    let events = component(EVENT_HANDLER, "");
    let refused = deploy(&host, "both", &events, subscribing, "refused").await;
    assert!(reasons(&refused).contains("requests to /both have no answer"), "{refused}");
    // Without a subscription no event reached it.
    deploy(&host, "none", &both, "", "serving").await;
    deploy(&host, "none", &hello(1), "", "serving").await;
}

#[tokio::test]
async fn requests_by_another_interface_are_requests_all_the_same() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let (hello3, _) = crate::harness::component("hello3");
    host.drop_file("hello.wasm", hello3);
    host.until_version("hello", 2).await;
    assert_eq!(host.get("/hello").await.status, 200);
}
