//! The process dies at every step of a deployment, and of what an operator decides.

use std::os::unix::process::ExitStatusExt as _;

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use serde_json::{Value, json};

use super::operator::{acting, deploy, form, upload};
use crate::harness::{Host, eventually, hello};

/// Where it dies on a version's way in, and whether that version serves then.
const ON_THE_WAY_IN: [(&str, bool); 11] = [
    ("before a component is kept", false),
    ("after a component is kept", false),
    ("before code is kept", false),
    ("after compiling", false),
    ("after validating", false),
    ("after migrating", false),
    ("after warming", false),
    ("before a deployment is recorded", false),
    ("after a deployment is recorded", true),
    ("after swapping", true),
    ("after draining", true),
];

/// The same for how traffic is shared.
const WHEN_SHARING: [(&str, bool); 2] =
    [("before traffic is recorded", false), ("after traffic is recorded", true)];

/// Starts the host so that it dies at `place=<pass>`, does something, and starts it
/// again once it has died of it.
async fn dies_at(host: &mut Host, place: &str, act: impl AsyncFnOnce(&Host)) {
    host.kill();
    host.set_environment("HOTDOCK_FAILPOINT", Some(place));
    host.start().await;
    act(host).await;
    let ended = host.ended().await;
    assert_eq!(ended.signal(), Some(6), "{place}: {ended}");
    host.set_environment("HOTDOCK_FAILPOINT", None);
    host.start().await;
}

/// Asks for a change of a host that may die of it.
async fn post(host: &Host, path: &str, body: Value) {
    let request =
        http::Request::post(host.admin_url(path)).header(CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(Bytes::from(body.to_string()))).expect("a request");
    _ = host.client.send(request).await;
}

/// Each version has a migration more.
fn manifest(number: u32) -> String {
    let migration = |number| {
        format!("[[migration]]\nname = \"{number}\"\nsql = \"CREATE TABLE t{number} (x)\"\n")
    };
    (1..=number).map(migration).collect()
}

fn marker(number: u32) -> String {
    format!("VERSION-{number:08}")
}

/// What answers, and has all the traffic.
async fn serving(host: &Host) -> String {
    let service = host.service("hello").await;
    assert_eq!(service["serving"]["weight"], 100, "{service}");
    assert!(service["sharing"].is_null(), "{service}");
    let answer = host.get("/hello").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("x-version").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_on_an_uploads_way_in_leaves_the_old_version_or_the_new() {
    let mut host = Host::builder().start().await;
    deploy(&host, "hello", &hello(1), &manifest(1), "serving").await;
    for (number, (place, has_come)) in (2..).zip(ON_THE_WAY_IN) {
        dies_at(&mut host, &format!("{place}=1"), async |host| {
            let request = form(host, "hello", &hello(number), &manifest(number));
            _ = host.client.send(request).await;
        })
        .await;
        let expected = if has_come { number } else { number - 1 };
        assert_eq!(serving(&host).await, marker(expected), "{place}");
        // What is left of it is in nobody's way.
        deploy(&host, "hello", &hello(number), &manifest(number), "serving").await;
        assert_eq!(serving(&host).await, marker(number), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_on_a_files_way_in_delays_it_and_nothing_else() {
    let mut host =
        Host::builder().file("hello.wasm", hello(1)).file("hello.toml", manifest(1)).start().await;
    for (number, (place, _)) in (2..).zip(ON_THE_WAY_IN) {
        dies_at(&mut host, &format!("{place}=1"), async |host| {
            host.drop_file("hello.toml", manifest(number));
            host.drop_file("hello.wasm", hello(number));
        })
        .await;
        assert_eq!(serving(&host).await, marker(number), "{place}: the file acts at the start");
    }
}

/// A host whose second version waits at a tenth of the traffic for its operator.
async fn on_trial() -> Host {
    let host = Host::builder().start().await;
    deploy(&host, "hello", &hello(1), "", "serving").await;
    let held = "[deploy]\ncanary = { steps = [\"10%\"], pause = \"1h\" }\n";
    deploy(&host, "hello", &hello(2), held, "running").await;
    host.until_shared("hello").await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_of_an_operators_decision_leaves_the_traffic_as_before_or_as_decided() {
    for (place, is_decided) in WHEN_SHARING {
        for (verb, version) in [("promote", 2), ("rollback", 1)] {
            let mut host = on_trial().await;
            let before = host.service("hello").await;
            dies_at(&mut host, &format!("{place}=1"), async |host| {
                post(host, &format!("/v1/services/hello/{verb}"), json!({})).await;
            })
            .await;
            if is_decided {
                assert_eq!(serving(&host).await, marker(version), "{verb}, {place}");
                assert!(host.service("hello").await["canary"].is_null(), "{verb}, {place}");
            } else {
                let after = host.service("hello").await;
                assert_eq!(after["traffic"], before["traffic"], "{verb}, {place}");
                assert_eq!(after["canary"], before["canary"], "{verb}, {place}");
                assert_eq!(host.get("/hello").await.status, 200);
            }
        }
    }
}

/// The shares that a canary goes through.
const SHARES: [u64; 3] = [50, 90, 100];

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_a_canarys_step_leaves_it_there_or_one_further() {
    let canary = "[deploy]\ncanary = { steps = [\"50%\", \"90%\", \"100%\"], pause = \"100ms\", \
                  requests = 2, slower = 50.0, wait = \"1h\" }\n";
    for (place, has_gone_on) in WHEN_SHARING {
        for step in 1..SHARES.len() {
            let mut host = Host::builder().start().await;
            deploy(&host, "hello", &hello(1), "", "serving").await;
            dies_at(&mut host, &format!("{place}={step}"), async |host| {
                upload(host, "hello", &hello(2), canary).await;
                until_it_dies(host).await;
            })
            .await;
            let expected = SHARES[if has_gone_on { step } else { step - 1 }];
            let service = host.service("hello").await;
            let shares = service["traffic"]["versions"].as_array().expect("versions");
            let new = shares.iter().find(|share| share["version"] == 2).expect("a share");
            assert_eq!(new["weight"], expected, "{place}, step {step}: {service}");
            eventually("the canary goes on to its end", async || {
                assert_eq!(host.get("/hello").await.status, 200);
                let service = host.service("hello").await;
                (service["serving"]["version"] == 2 && service["canary"].is_null()).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_when_a_bad_version_is_rolled_back_rolls_it_back_now_or_later() {
    let canary = "canary = { steps = [\"50%\", \"100%\"], pause = \"1h\" }";
    for (place, is_rolled_back) in WHEN_SHARING {
        let mut host = Host::builder().start().await;
        let (bytes, manifest) = acting("name = \"old\"", "");
        deploy(&host, "probe", &bytes, &manifest, "serving").await;
        let (bytes, manifest) = acting("name = \"new\", fail = \"100\"", canary);
        dies_at(&mut host, &format!("{place}=1"), async |host| {
            upload(host, "probe", &bytes, &manifest).await;
            until_it_dies_of(host, "/probe/act").await;
        })
        .await;
        let service = host.service("probe").await;
        assert_eq!(service["canary"].is_null(), is_rolled_back, "{place}: {service}");
        eventually("the old version has it all again", async || {
            _ = host.get("/probe/act").await;
            let service = host.service("probe").await;
            (service["serving"]["version"] == 1 && service["sharing"].is_null()).then_some(())
        })
        .await;
        assert_eq!(host.get("/probe/act").await.text(), "old");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_when_a_service_is_undeployed_leaves_it_undeployed() {
    let mut host = Host::builder().start().await;
    deploy(&host, "hello", &hello(1), "", "serving").await;
    dies_at(&mut host, "after an undeployment is recorded=1", async |host| {
        let request = http::Request::delete(host.admin_url("/v1/services/hello"));
        _ = host.client.send(request.body(Full::default()).expect("a request")).await;
    })
    .await;
    assert_eq!(host.get("/hello").await.status, 404);
}

async fn until_it_dies(host: &Host) {
    until_it_dies_of(host, "/hello").await;
}

/// Sends requests to what a canary has to see at work.
async fn until_it_dies_of(host: &Host, path: &str) {
    eventually("it dies", async || {
        let asked = host.client.try_request(Method::GET, &host.url(path), "").await;
        asked.is_err().then_some(())
    })
    .await;
}
