//! Traffic that an operator shares, promotes and rolls back, under load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::operator::{acting, ask, deploy, form, until_state, until_step};
use crate::harness::client::Client;
use crate::harness::{Host, eventually, hello};

const CONNECTIONS: usize = 32;
/// Requests per share: four standard deviations of a half are two points then.
const ENOUGH: u64 = 10_000;
const ROUNDS: usize = 20;
/// Quick, and not to be put off by what else the machine does.
const THROUGH_ALL_STEPS: &str = "[instances]\nreuse = 1000\n[deploy]\n\
    canary = { steps = [\"1%\", \"10%\", \"50%\"], pause = \"100ms\", requests = 5, slower = 50.0, \
    sticky = \"header:x-user\" }\n";
/// Requests per round: five standard deviations of a half are eight points then.
const ROUND: u64 = 1000;
const USERS: usize = 8;

type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

/// Requests without pause over keep-alive connections; each must be answered.
pub struct Load {
    counts: Counts,
    stop: Arc<AtomicBool>,
    connections: Vec<tokio::task::JoinHandle<u64>>,
}

impl Load {
    pub fn begin(url: &str) -> Self {
        let (counts, stop) = (Counts::default(), Arc::new(AtomicBool::new(false)));
        let connection = |_| {
            let (url, counts, stop) = (url.to_owned(), Arc::clone(&counts), Arc::clone(&stop));
            tokio::spawn(async move {
                let client = Client::new();
                let mut answered = 0;
                while !stop.load(Ordering::Relaxed) {
                    let reply = client.try_request(Method::GET, &url, "").await.expect("an answer");
                    assert_eq!(reply.status, 200, "{reply:?}");
                    let version = reply.header("x-version").to_owned();
                    *counts.lock().expect("counts").entry(version).or_default() += 1;
                    answered += 1;
                }
                answered
            })
        };
        let connections = (0..CONNECTIONS).map(connection).collect();
        Self { counts, stop, connections }
    }

    /// Waits for so many more requests; how they were shared.
    pub async fn next(&self, requests: u64) -> BTreeMap<String, u64> {
        self.counts.lock().expect("counts").clear();
        // By then those that were under way before are answered.
        self.until(2 * CONNECTIONS as u64).await;
        self.counts.lock().expect("counts").clear();
        self.until(requests).await
    }

    async fn until(&self, requests: u64) -> BTreeMap<String, u64> {
        eventually("requests are answered", async || {
            assert!(self.connections.iter().all(|each| !each.is_finished()), "a request failed");
            let counts = self.counts.lock().expect("counts");
            (counts.values().sum::<u64>() >= requests).then(|| counts.clone())
        })
        .await
    }

    /// Ends it; fails if one of the requests did. Returns how many there were.
    pub async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut answered = 0;
        for connection in self.connections {
            answered += connection.await.expect("no failed request");
        }
        answered
    }
}

fn share(counts: &BTreeMap<String, u64>, version: &str) -> f64 {
    let all: u64 = counts.values().sum();
    counts.get(version).copied().unwrap_or_default() as f64 / all as f64 * 100.0
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_as_the_weights_say_and_no_request_fails() {
    let host = Host::builder()
        .file("hello.wasm", hello(1))
        .file("hello.toml", "[instances]\nreuse = 1000\n")
        .start()
        .await;
    deploy(&host, "hello?canary=1", &hello(2), "[instances]\nreuse = 1000\n", "running").await;
    host.until_shared("hello").await;
    let load = Load::begin(&host.url("/hello"));
    for weight in [1, 10, 50] {
        let plan = json!({"versions": [
            {"version": 1, "weight": 100 - weight}, {"version": 2, "weight": weight}
        ]});
        let set = ask(&host, Method::PUT, "/v1/services/hello/traffic", plan).await;
        assert_eq!(set.status, 200, "{set:?}");
        let seen = share(&load.next(ENOUGH).await, "VERSION-00000002");
        eprintln!("{weight} %: {seen:.2} % of {ENOUGH} requests");
        assert!((seen - f64::from(weight)).abs() <= 2.0, "{weight} % wanted, {seen} % seen");
    }
    let done = ask(&host, Method::POST, "/v1/services/hello/rollback", Value::Null).await;
    assert_eq!(done.status, 200, "{done:?}");
    for round in 0..ROUNDS {
        // From the cache; it goes through all steps by itself, as it does well.
        let deployed = deploy(&host, "hello", &hello(2), THROUGH_ALL_STEPS, "held").await;
        let steps = deployed["steps"].as_array().expect("steps");
        let weights: Vec<u64> = steps.iter().filter_map(|step| step["weight"].as_u64()).collect();
        assert_eq!(weights, [1, 10, 50], "{deployed}");
        let seen = share(&load.next(ROUND).await, "VERSION-00000002");
        assert!((seen - 50.0).abs() <= 8.0, "round {round}: half is wanted, {seen} % seen");
        for user in 0..USERS {
            let mut versions = std::collections::BTreeSet::new();
            for _ in 0..5 {
                let request = Request::get(host.url("/hello")).header("x-user", user);
                let reply = host.send(request.body(Full::default()).expect("a request")).await;
                versions.insert(reply.header("x-version").to_owned());
            }
            assert_eq!(versions.len(), 1, "round {round}: user {user} is on {versions:?}");
        }
        for (verb, marker) in [("promote", "VERSION-00000002"), ("rollback", "VERSION-00000001")] {
            let path = format!("/v1/services/hello/{verb}");
            let done = ask(&host, Method::POST, &path, Value::Null).await;
            assert_eq!(done.status, 200, "{verb}, round {round}: {done:?}");
            assert_eq!(host.get("/hello").await.header("x-version"), marker, "at once");
        }
    }
    let answered = load.end().await;
    eprintln!("{ROUNDS} canaries, promoted and rolled back: {answered} requests, none failed");
    host.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_on_its_version() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    deploy(&host, "hello?canary=false", &hello(2), "", "serving").await;
    let share = async |sticky: Value| {
        let plan = json!({"sticky": sticky, "versions": [
            {"version": 1, "weight": 50}, {"version": 2, "weight": 50}
        ]});
        let set = ask(&host, Method::PUT, "/v1/services/hello/traffic", plan).await;
        assert_eq!(set.status, 200, "{set:?}");
    };
    let get = async |name: &str, value: &str| {
        let mut request = Request::get(host.url("/hello"));
        if !name.is_empty() {
            request = request.header(name, value);
        }
        host.send(request.body(Full::default()).expect("a request")).await
    };
    share(json!("cookie")).await;
    let mut versions = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let first = get("", "").await;
        let given =
            first.header(SET_COOKIE.as_str()).split(';').next().expect("a cookie").to_owned();
        assert!(given.starts_with("hotdock-traffic="), "{given}");
        for _ in 0..5 {
            let again = get(COOKIE.as_str(), &format!("other=1; {given}")).await;
            assert_eq!(again.header("x-version"), first.header("x-version"));
            assert!(!again.headers.contains_key(SET_COOKIE));
        }
        versions.insert(first.header("x-version").to_owned());
    }
    assert_eq!(versions.len(), 2, "both have clients");
    // While the new version is given more and more, each moves to it once and stays.
    let users: Vec<String> = (0..100).map(|user| user.to_string()).collect();
    let mut on_new = std::collections::BTreeSet::new();
    for weight in [1, 10, 50, 100] {
        let plan = json!({"sticky": {"header": "x-user"}, "versions": [
            {"version": 1, "weight": 100 - weight}, {"version": 2, "weight": weight}
        ]});
        let set = ask(&host, Method::PUT, "/v1/services/hello/traffic", plan).await;
        assert_eq!(set.status, 200, "{set:?}");
        for user in &users {
            let seen: Vec<bool> = [get("x-user", user).await, get("x-user", user).await]
                .iter()
                .map(|reply| reply.header("x-version") == "VERSION-00000002")
                .collect();
            assert_eq!(seen[0], seen[1], "{user} at {weight} %");
            assert!(seen[0] || !on_new.contains(user), "{user} went back at {weight} %");
            on_new.extend(seen[0].then_some(user));
        }
        eprintln!("{weight} %: {} of {} users, none went back", on_new.len(), users.len());
    }
    assert_eq!(on_new.len(), users.len());
}

/// A host with v1 at 100 % after v2 was tried with 10 % and given up.
async fn after_a_trial() -> Host {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    let manifest = "[deploy]\ncanary = { steps = [\"10%\"], pause = \"1h\" }\n";
    deploy(&host, "hello", &hello(2), manifest, "running").await;
    host.until_shared("hello").await;
    let plan = json!({"versions": [{"version": 1, "weight": 100}]});
    let set = ask(&host, Method::PUT, "/v1/services/hello/traffic", plan).await;
    assert_eq!(set.status, 200, "{set:?}");
    host
}

/// Rolls back; the version that serves then.
async fn rollback(host: &Host, body: Value) -> Value {
    let done = ask(host, Method::POST, "/v1/services/hello/rollback", body).await;
    assert_eq!(done.status, 200, "{done:?}");
    done.json()["serving"]["version"].clone()
}

#[tokio::test]
async fn a_rollback_leads_to_what_served_before_and_not_to_what_was_tried() {
    let mut host = after_a_trial().await;
    deploy(&host, "hello", &hello(3), "", "serving").await;
    assert!(host.stop().await.success());
    host.start().await;
    assert_eq!(rollback(&host, Value::Null).await, 1);
}

#[tokio::test]
async fn a_second_rollback_leads_to_what_served_before_too() {
    let host = after_a_trial().await;
    for number in 3..=4 {
        deploy(&host, "hello", &hello(number), "", "serving").await;
    }
    assert_eq!(rollback(&host, Value::Null).await, 3);
    assert_eq!(rollback(&host, Value::Null).await, 1, "v2 was only tried");
    let none = ask(&host, Method::POST, "/v1/services/hello/rollback", Value::Null).await;
    assert!(
        none.status == 409 && none.text().contains("no version of hello before v1"),
        "{none:?}"
    );
}

#[tokio::test]
async fn a_rollback_leads_to_what_an_earlier_rollback_named() {
    let host = after_a_trial().await;
    deploy(&host, "hello", &hello(3), "", "serving").await;
    assert_eq!(rollback(&host, json!({"version": 1})).await, 1);
    deploy(&host, "hello", &hello(4), "", "serving").await;
    assert_eq!(rollback(&host, Value::Null).await, 1);
}

#[tokio::test]
async fn a_rollback_leads_to_the_version_that_has_most_of_the_traffic() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    for number in 2..=3 {
        deploy(&host, "hello", &hello(number), "", "serving").await;
    }
    let plan = json!({"versions": [{"version": 1, "weight": 90}, {"version": 3, "weight": 10}]});
    let set = ask(&host, Method::PUT, "/v1/services/hello/traffic", plan).await;
    assert_eq!(set.status, 200, "{set:?}");
    assert_eq!(rollback(&host, Value::Null).await, 1);
}

#[tokio::test]
async fn a_deployment_does_not_undo_what_was_decided_while_it_was_warmed() {
    let host = Host::builder().plugin("probe").start().await;
    let (component, manifest) = acting("version = \"2\"", "");
    deploy(&host, "probe", &component, &manifest, "serving").await;
    let tag = format!("\"{}\"", host.service("probe").await["revision"]);
    let upload = async |matches: Option<&str>| {
        let (component, manifest) = acting("version = \"3\"", "health = \"/probe/sleep?ms=3000\"");
        let mut request = form(&host, "probe", &component, &manifest);
        if let Some(tag) = matches {
            request.headers_mut().insert("if-match", tag.parse().expect("a tag"));
        }
        let reply = host.send(request).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        let id = reply.json()["id"].as_str().expect("an id").to_owned();
        until_step(&host, &id, "warming").await;
        id
    };
    let steer = async |verb: &str, version: u64| {
        let path = format!("/v1/services/probe/{verb}");
        let done = ask(&host, Method::POST, &path, json!({"version": version})).await;
        assert_eq!(done.status, 200, "{done:?}");
    };
    let late = upload(Some(&tag)).await;
    steer("rollback", 1).await;
    let ended = until_state(&host, &late, "superseded").await;
    let reason = ended["reasons"][0].as_str().expect("a reason");
    assert_eq!(reason, "an operator rolled probe back meanwhile");
    assert_eq!(host.service("probe").await["serving"]["version"], 1);
    // Without a condition the last to be done decides.
    let last = upload(None).await;
    steer("promote", 2).await;
    until_state(&host, &last, "serving").await;
    assert_eq!(host.service("probe").await["serving"]["version"], 4);
}

#[tokio::test]
async fn a_canary_over_shared_traffic_says_who_loses_a_share_by_it() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    deploy(&host, "hello?canary=false", &hello(2), "", "serving").await;
    let plan = json!({"versions": [{"version": 1, "weight": 40}, {"version": 2, "weight": 60}]});
    let set = ask(&host, Method::PUT, "/v1/services/hello/traffic", plan).await;
    assert_eq!(set.status, 200, "{set:?}");
    deploy(&host, "hello?canary=10", &hello(3), "", "running").await;
    host.until_shared("hello").await;
    let running = eventually("it has its share", async || {
        let all = ask(&host, Method::GET, "/v1/deployments?service=hello", Value::Null).await;
        let newest = all.json()[0].clone();
        newest["version"].is_u64().then_some(newest)
    })
    .await;
    let step = running["steps"].as_array().and_then(|steps| steps.last()).expect("a step");
    assert_eq!((&step["weight"], &step["note"]), (&10.into(), &"v1 loses its 40 %".into()));
    let service = host.service("hello").await;
    let plan = json!([{"version": 2, "weight": 90}, {"version": 3, "weight": 10}]);
    assert_eq!(service["traffic"]["versions"], plan, "{service}");
}

#[tokio::test]
async fn a_service_that_comes_back_has_no_revision_that_it_had() {
    let mut host = Host::builder().start().await;
    deploy(&host, "hello", &hello(1), "", "serving").await;
    deploy(&host, "hello", &hello(2), "", "serving").await;
    let known = host.service("hello").await["revision"].as_u64().expect("a number");
    let undeploy = async |host: &Host, tag: &str| {
        let request = Request::delete(host.admin_url("/v1/services/hello"));
        let request = request.header("if-match", tag).body(Full::default());
        host.send(request.expect("a request")).await.status.as_u16()
    };
    assert_eq!(undeploy(&host, &format!("\"{known}\"")).await, 204);
    assert!(host.stop().await.success());
    host.start().await;
    deploy(&host, "hello", &hello(3), "", "serving").await;
    let now = host.service("hello").await["revision"].as_u64().expect("a number");
    assert!(now > known, "{now} after {known}");
    for earlier in 1..=known {
        assert_eq!(undeploy(&host, &format!("\"{earlier}\"")).await, 412, "{earlier}");
    }
}

#[tokio::test]
async fn two_operators_do_not_undo_each_other() {
    let host = Host::builder().file("hello.wasm", hello(1)).start().await;
    deploy(&host, "hello", &hello(2), "", "serving").await;
    let service = ask(&host, Method::GET, "/v1/services/hello", Value::Null).await;
    let tag = service.header("etag").to_owned();
    let rollback = async || {
        let request = Request::post(host.admin_url("/v1/services/hello/rollback"));
        let request = request.header("if-match", &tag).body(Full::default());
        host.send(request.expect("a request")).await
    };
    let done = rollback().await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_ne!(done.header("etag"), tag);
    assert_eq!(done.json()["serving"]["version"], 1);
    let late = rollback().await;
    assert_eq!(late.status, 412, "{late:?}");
    assert_eq!(late.header("content-type"), "application/problem+json");
    // The other changes ask the same.
    let whole = json!({"versions": [{"version": 2, "weight": 100}]});
    for (method, path, body) in [
        (Method::POST, "/promote", json!({"version": 2})),
        (Method::PUT, "/traffic", whole),
        (Method::DELETE, "", Value::Null),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(host.admin_url(&format!("/v1/services/hello{path}")))
            .header("if-match", &tag)
            .header("content-type", "application/json");
        let body = Full::new(Bytes::from(body.to_string()));
        let late = host.send(request.body(body).expect("a request")).await;
        assert_eq!(late.status, 412, "{path}: {late:?}");
    }
    let mut late = form(&host, "hello", &hello(3), "");
    late.headers_mut().insert("if-match", tag.parse().expect("a tag"));
    let late = host.send(late).await;
    assert_eq!(late.status, 412, "{late:?}");
    assert_eq!(host.service("hello").await["serving"]["version"], 1);
    // What is nonsense is refused with its reason.
    for (plan, status, said) in [
        (json!({"versions": [{"version": 1, "weight": 99}]}), 422, "sum up to 99"),
        (json!({"versions": [{"version": 9, "weight": 100}]}), 404, "no version 9"),
        (json!({"versions": 1}), 422, "versions"),
    ] {
        let refused = ask(&host, Method::PUT, "/v1/services/hello/traffic", plan).await;
        assert_eq!(refused.status, status, "{refused:?}");
        assert!(refused.text().contains(said), "{refused:?}");
    }
    let api = ask(&host, Method::GET, "/v1/openapi.json", Value::Null).await.json();
    assert!(api["openapi"].as_str().expect("a version").starts_with("3.1"), "{api}");
    assert!(api["paths"]["/v1/services/{name}/traffic"]["put"].is_object(), "{api}");
}
