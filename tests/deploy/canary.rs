//! Canaries: those that do well, those that don't, and what a crash leaves.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::operator::{acting, ask, deploy, hotdock, until_state, upload};
use super::steering::Load;
use crate::harness::{Host, hello};

/// Quick, but otherwise as it would be.
const QUICK: &str = "canary = { pause = \"500ms\", requests = 20, slower = 3.0 }";

#[tokio::test(flavor = "multi_thread")]
async fn a_good_version_takes_the_traffic_over_step_by_step() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let load = Load::begin(&host.url("/hello"));
    host.drop_file("hello.toml", format!("[deploy]\n{QUICK}\n"));
    host.until_version("hello", 2).await;
    let done = ask(&host, Method::GET, "/v1/deployments?service=hello", Value::Null).await.json();
    let done = until_state(&host, done[0]["id"].as_str().expect("an id"), "serving").await;
    let steps = done["steps"].as_array().expect("steps");
    let weights: Vec<u64> = steps.iter().filter_map(|step| step["weight"].as_u64()).collect();
    assert_eq!(weights, [1, 10, 50, 100], "{done}");
    load.next(1).await;
    load.end().await;
}

/// What a busy machine may take for a look and for writing down what comes of it.
const SLACK: Duration = Duration::from_secs(5);

/// Deploys a version that acts so while there is load; why it was rolled back.
async fn rolled_back(config: &str) -> String {
    let (bytes, manifest) = acting("name = \"old\", slow = \"20\"", "");
    let host = Host::builder().file("probe.wasm", bytes).file("probe.toml", manifest).start().await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let connections: Vec<_> = (0..8)
        .map(|_| {
            let (url, stop) = (host.url("/probe/act"), std::sync::Arc::clone(&stop));
            tokio::spawn(async move {
                let client = crate::harness::client::Client::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    client.try_request(Method::GET, &url, "").await.expect("an answer");
                }
            })
        })
        .collect();
    let canary = "canary = { steps = [\"50%\", \"100%\"], pause = \"20s\" }";
    let (bytes, manifest) = acting(config, canary);
    let ended = deploy(&host, "probe", &bytes, &manifest, "rolled-back").await;
    let moment = |text: &Value| {
        let text = text.as_str().expect("a time");
        humantime::parse_rfc3339(text).expect("RFC 3339")
    };
    let step = ended["steps"].as_array().and_then(|steps| steps.last()).expect("a step");
    assert_eq!(step["weight"], 50, "{ended}");
    let took = moment(&ended["ended_at"]).duration_since(moment(&step["at"])).expect("after it");
    assert!(took < Duration::from_secs(20) + SLACK, "within its step, not {took:?} after: {ended}");
    let service = host.service("probe").await;
    assert_eq!(service["serving"]["version"], 1, "{service}");
    assert!(service["sharing"].is_null(), "{service}");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for connection in connections {
        connection.await.expect("answers");
    }
    assert_eq!(host.get("/probe/act").await.text(), "old");
    let kept = ask(&host, Method::GET, "/v1/services/probe/versions", Value::Null).await.json();
    assert_eq!(kept[0]["rolled_back"], ended["reasons"][0], "{kept}");
    ended["reasons"][0].as_str().expect("a reason").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_more_is_rolled_back() {
    let reason = rolled_back("name = \"new\", slow = \"20\", fail = \"30\"").await;
    assert!(reason.contains("% of its requests failed"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_slower_is_rolled_back() {
    let reason = rolled_back("name = \"new\", slow = \"100\"").await;
    assert!(reason.contains("the median of its"), "{reason}");
}

#[tokio::test]
async fn what_traps_at_its_start_or_fails_to_migrate_never_gets_traffic() {
    let (bytes, manifest) = acting("name = \"old\"", "");
    let host = Host::builder().file("probe.wasm", bytes).file("probe.toml", manifest).start().await;
    let (bytes, manifest) = acting("name = \"new\"", "health = \"/probe/trap\"\ncanary = true");
    let refused = deploy(&host, "probe", &bytes, &manifest, "refused").await;
    assert!(
        refused["reasons"][0].as_str().expect("text").contains("/probe/trap failed"),
        "{refused}"
    );
    let (bytes, manifest) = acting("name = \"new\"", "canary = true");
    let manifest = format!("{manifest}\n[[migration]]\nname = \"9\"\nsql = \"CREATE TABL x\"\n");
    let refused = deploy(&host, "probe", &bytes, &manifest, "refused").await;
    assert!(
        refused["reasons"][0].as_str().expect("text").contains("migration 9 failed"),
        "{refused}"
    );
    assert_eq!(host.get("/probe/act").await.text(), "old");
}

#[tokio::test]
async fn with_too_little_traffic_it_waits_and_then_asks_also_after_a_crash() {
    let mut host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let manifest =
        "[deploy]\ncanary = { steps = [\"10%\", \"100%\"], pause = \"100ms\", wait = \"200ms\" }\n";
    let held = deploy(&host, "hello", &hello(2), manifest, "held").await;
    assert!(held["reasons"][0].as_str().expect("text").contains("are needed to compare"), "{held}");
    let service = host.service("hello").await;
    assert_eq!(service["canary"]["held"], true, "{service}");
    assert_eq!(service["sharing"][0]["weight"], 10, "{service}");
    host.kill();
    host.start().await;
    let id = held["id"].as_str().expect("an id");
    let still = ask(&host, Method::GET, &format!("/v1/deployments/{id}"), Value::Null).await.json();
    assert_eq!((&still["state"], &still["reasons"]), (&held["state"], &held["reasons"]), "{still}");
    let promoted = ask(&host, Method::POST, "/v1/services/hello/promote", Value::Null).await;
    assert_eq!(promoted.json()["serving"]["version"], 2, "{promoted:?}");
    until_state(&host, id, "serving").await;
}

/// Between two requests of whoever finds a version bad.
const PACE: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_turns_bad_while_it_is_held_is_rolled_back_soon() {
    let (bytes, manifest) = acting("name = \"old\"", "");
    let host = Host::builder().file("probe.wasm", bytes).file("probe.toml", manifest).start().await;
    let canary = "canary = { steps = [\"50%\"], pause = \"100ms\", errors = \"10%\", \
                  slower = 1000.0, sticky = \"header:x-user\" }";
    let (bytes, manifest) = acting("name = \"new\"", canary);
    let running = deploy(&host, "probe", &bytes, &manifest, "running").await;
    host.until_shared("probe").await;
    let get = async |path: &str, user: u32| {
        let request = Request::get(host.url(path)).header("x-user", user.to_string());
        host.send(request.body(Full::default()).expect("a request")).await
    };
    // Users stay on their version.
    let (mut on_old, mut on_new) = (None, None);
    for user in 0.. {
        let of_this =
            if get("/probe/act", user).await.text() == "new" { &mut on_new } else { &mut on_old };
        of_this.get_or_insert(user);
        if on_old.is_some() && on_new.is_some() {
            break;
        }
    }
    let (on_old, on_new) = on_old.zip(on_new).expect("both have users");
    let good = async || {
        for user in [on_old, on_new] {
            assert_eq!(get("/probe/act", user).await.status, 200);
        }
    };
    let path = format!("/v1/deployments/{}", running["id"].as_str().expect("an id"));
    let state = async || ask(&host, Method::GET, &path, Value::Null).await.json()["state"].clone();
    while state().await == "running" {
        good().await;
    }
    assert_eq!(state().await, "held");
    for _ in 0..1000 {
        good().await;
    }
    let mut failed = 0;
    while state().await == "held" {
        assert_eq!(get("/probe/act", on_old).await.status, 200);
        assert_eq!(get("/probe/trap", on_new).await.status, 502);
        failed += 1;
        // The judge of a busy machine is late.
        tokio::time::sleep(5 * PACE).await;
        // Of all that it was given while it is held, these are less than a tenth.
        assert!(failed < 100, "it is still held");
    }
    assert_eq!(state().await, "rolled-back");
}

#[tokio::test]
async fn a_version_on_trial_that_cannot_be_restored_leaves_the_old_one_serving() {
    let secrets = tempfile::tempdir().expect("a folder");
    let key = secrets.path().join("hello/KEY");
    std::fs::create_dir(secrets.path().join("hello")).expect("a folder");
    std::fs::write(&key, "tea").expect("a file");
    let mut host = Host::builder()
        .file("hello.wasm", hello(1))
        .argument("--secrets")
        .argument(secrets.path().to_str().expect("text"))
        .start()
        .await;
    let manifest = "[capabilities]\nsecrets = [\"KEY\"]\n[deploy]\n\
                    canary = { steps = [\"10%\", \"100%\"], pause = \"1h\" }\n";
    let running = deploy(&host, "hello", &hello(2), manifest, "running").await;
    host.until_shared("hello").await;
    host.kill();
    std::fs::remove_file(&key).expect("a file");
    host.start().await;
    assert_eq!(host.get("/hello").await.header("x-version"), "VERSION-00000001");
    let id = running["id"].as_str().expect("an id");
    let reason = until_state(&host, id, "rolled-back").await["reasons"][0].clone();
    assert!(reason.as_str().expect("text").contains("secret KEY is not supplied"), "{reason}");
    let kept = ask(&host, Method::GET, "/v1/services/hello/versions", Value::Null).await.json();
    assert_eq!(kept[0]["rolled_back"], reason, "{kept}");
    // It stays so, whatever there is at the next start.
    std::fs::write(&key, "tea").expect("a file");
    host.kill();
    host.start().await;
    let service = host.service("hello").await;
    assert_eq!(
        (&service["serving"]["version"], &service["serving"]["weight"]),
        (&1.into(), &100.into())
    );
    assert!(service["canary"].is_null() && service["lost"].is_null(), "{service}");
}

#[tokio::test]
async fn a_service_that_cannot_be_restored_is_shown_with_the_reason() {
    let secrets = tempfile::tempdir().expect("a folder");
    let key = secrets.path().join("hello/KEY");
    std::fs::create_dir(secrets.path().join("hello")).expect("a folder");
    std::fs::write(&key, "tea").expect("a file");
    let mut host = Host::builder()
        .argument("--secrets")
        .argument(secrets.path().to_str().expect("text"))
        .start()
        .await;
    deploy(&host, "hello", &hello(1), "[capabilities]\nsecrets = [\"KEY\"]\n", "serving").await;
    host.kill();
    std::fs::remove_file(&key).expect("a file");
    host.start().await;
    let service = host.service("hello").await;
    assert_eq!(service["state"], "lost", "{service}");
    let status = hotdock(&host, &["status"]);
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(said.contains("hello could not be restored: hello v1: secret KEY is not"), "{said}");
    std::fs::write(&key, "tea").expect("a file");
    host.kill();
    host.start().await;
    let service = host.service("hello").await;
    assert_eq!(service["state"], "serving", "{service}");
    assert!(service["lost"].is_null(), "{service}");
}

#[tokio::test]
async fn a_canary_survives_a_crash() {
    let mut host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let manifest = "[deploy]\ncanary = { steps = [\"30%\", \"100%\"], pause = \"1h\" }\n";
    let running = deploy(&host, "hello", &hello(2), manifest, "running").await;
    host.until_shared("hello").await;
    let before = host.service("hello").await;
    host.kill();
    host.start().await;
    let after = host.service("hello").await;
    assert_eq!(after["traffic"], before["traffic"]);
    assert_eq!(after["canary"], before["canary"]);
    assert_eq!(after["canary"]["deployment"], running["id"]);
    let back =
        ask(&host, Method::POST, "/v1/services/hello/rollback", json!({"reason": "no"})).await;
    assert_eq!(back.json()["serving"]["version"], 1, "{back:?}");
    until_state(&host, running["id"].as_str().expect("an id"), "rolled-back").await;
}

#[tokio::test]
async fn a_crash_at_any_moment_leaves_the_old_state_or_the_new() {
    let mut host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let mut before = "VERSION-00000001".to_owned();
    for (round, delay) in [0, 3, 10, 30, 100, 300, 1000].into_iter().enumerate() {
        let number = u32::try_from(round).expect("few") + 2;
        let new = format!("VERSION-{number:08}");
        let reply = upload(&host, "hello", &hello(number), "").await;
        assert_eq!(reply.status, 202, "{reply:?}");
        // The moment is the point, not what has happened by then.
        tokio::time::sleep(Duration::from_millis(delay)).await;
        host.kill();
        host.start().await;
        let now = host.get("/hello").await;
        assert_eq!(now.status, 200);
        let now = now.header("x-version").to_owned();
        assert!(now == before || now == new, "{now} after {before} and {new}");
        let service = host.service("hello").await;
        assert_eq!(service["serving"]["weight"], 100, "{service}");
        before = now;
    }
}
