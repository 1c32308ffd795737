//! Migrations: committed once the candidate is well, and kept as they were applied.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::operator::{acting, ask, deploy, hotdock, until_state, upload};
use crate::harness::{Host, component, eventually};

const FIRST: &str = "[[migration]]\nname = \"0001_probe\"";

fn with(name: &str, sql: &str) -> String {
    format!("\n[[migration]]\nname = \"{name}\"\nsql = \"{sql}\"\n")
}

async fn refusal(host: &Host, deploy_keys: &str, more: &str) -> String {
    let (bytes, manifest) = acting("name = \"new\"", deploy_keys);
    let refused = deploy(host, "probe", &bytes, &format!("{manifest}{more}"), "refused").await;
    refused["reasons"].to_string()
}

#[tokio::test]
async fn migrations_of_a_version_that_is_not_well_leave_the_store_as_it_was() {
    let host = Host::builder().plugin("probe").start().await;
    let two = with("0002_two", "CREATE TABLE two (id INTEGER PRIMARY KEY)");
    let reasons = refusal(&host, "health = \"/probe/trap\"", &two).await;
    assert!(reasons.contains("/probe/trap failed"), "{reasons}");
    // The same name with other text would be refused had it been applied.
    let other = with("0002_two", "CREATE TABLE two (id INTEGER PRIMARY KEY, more TEXT)");
    let (bytes, manifest) = acting("name = \"new\"", "health = \"/probe/act\"");
    deploy(&host, "probe", &bytes, &format!("{manifest}{other}"), "serving").await;
}

#[tokio::test]
async fn health_is_asked_on_the_migrations_that_come_with_it() {
    let host = Host::builder().start().await;
    let (bytes, manifest) = component("consumer");
    // It reads a table that only its own migration makes.
    let manifest = manifest.expect("the consumer has one");
    let manifest = format!("[deploy]\nhealth = \"/consumer/effects\"\n{manifest}");
    deploy(&host, "consumer", &bytes, &manifest, "serving").await;
    assert_eq!(host.get("/consumer/effects").await.text(), "[]");
}

#[tokio::test]
async fn a_migration_that_is_gone_or_moved_is_refused() {
    let host = Host::builder().plugin("probe").start().await;
    let (bytes, manifest) = acting("name = \"new\"", "");
    let without = manifest.split("[[migration]]").next().expect("what is before it");
    let refused = deploy(&host, "probe", &bytes, without, "refused").await["reasons"].to_string();
    assert!(refused.contains("migration 0001_probe was applied at"), "{refused}");
    assert!(refused.contains("and is gone"), "{refused}");
    let zero = with("0000_zero", "CREATE TABLE zero (id INTEGER PRIMARY KEY)");
    let before = manifest.replace(FIRST, &format!("{zero}{FIRST}"));
    let refused = deploy(&host, "probe", &bytes, &before, "refused").await["reasons"].to_string();
    assert!(refused.contains("comes after others now"), "{refused}");
    let services = ask(&host, Method::GET, "/v1/services/probe", Value::Null).await.json();
    assert_eq!(services["serving"]["version"], 1, "{services}");
}

/// The version that serves waits for the writer that the migration has.
#[tokio::test]
async fn a_deployment_that_is_called_off_computes_no_further() {
    let host = Host::builder().plugin_with("probe", "[limits]\ndeadline = \"2s\"\n").start().await;
    let (bytes, manifest) = acting("name = \"new\"", "");
    let endless = with(
        "0002",
        "INSERT INTO probe (x) WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) \
         SELECT x FROM n WHERE x < 0",
    );
    let manifest = format!("{manifest}{endless}");
    for (method, path, body) in [
        (Method::POST, "/v1/services/probe/rollback", json!({})),
        (Method::DELETE, "/v1/services/probe", Value::Null),
    ] {
        let begun = upload(&host, "probe", &bytes, &manifest).await.json();
        eventually("it computes", async || {
            let reply = host.post("/probe/increment?key=k", "").await;
            (reply.status != 200).then_some(())
        })
        .await;
        // What is not done calls nothing off.
        let other = Request::delete(host.admin_url("/v1/services/probe"));
        let other = other.header("if-match", "\"99\"").body(Full::default());
        assert_eq!(host.send(other.expect("a request")).await.status, 412);
        let path_of_it = format!("/v1/deployments/{}", begun["id"].as_str().expect("an id"));
        let still = ask(&host, Method::GET, &path_of_it, Value::Null).await.json();
        assert_eq!(still["state"], "running", "{still}");
        let called_off = ask(&host, method.clone(), path, body).await;
        assert!(called_off.status.is_success(), "{called_off:?}");
        until_state(&host, begun["id"].as_str().expect("an id"), "superseded").await;
        if method == Method::POST {
            assert_eq!(host.post("/probe/increment?key=k", "").await.status, 200);
        }
    }
}

#[tokio::test]
async fn check_says_what_deploy_would() {
    let host = Host::builder().start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let wasm = folder.path().join("probe.wasm");
    let (bytes, manifest) = acting("name = \"new\"", "");
    std::fs::write(&wasm, bytes).expect("written");
    let checked = |manifest: &str| {
        std::fs::write(folder.path().join("probe.toml"), manifest).expect("written");
        let output = hotdock(&host, &["check", wasm.to_str().expect("text")]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = checked(&manifest);
    assert_eq!(code, Some(0), "{said}");
    for (change, reason) in [
        (with("0002", "CREATE TABL x"), "migration 0002 failed"),
        ("\n[[route]]\npath = \"/x/...\"\n".to_owned(), "write `/x`"),
        ("\n[[route]]\npath = \"/x/:id\"\n".to_owned(), "write `/x`"),
        ("\n[[route]]\npath = \"/x%2Fy\"\n".to_owned(), "write `/x/y`"),
    ] {
        let (code, said) = checked(&format!("{manifest}{change}"));
        assert!(code == Some(3) && said.contains(reason), "{reason}: {said}");
    }
    let (code, said) = checked(&format!("[deploy]\nhealth = \"/probe/nothing\"\n{}", {
        let (_, rest) = manifest.split_once("[deploy]\n\n").expect("it begins so");
        rest
    }));
    assert!(code == Some(3) && said.contains("its health path /probe/nothing"), "{said}");
}
