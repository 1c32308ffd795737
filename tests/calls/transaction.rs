//! A call and the transactions on both sides of it.

use std::time::Duration;

use futures_util::future::join_all;
use hotdock::config::Config;
use http::Method;
use serde_json::json;

use super::{asked, both, clients, get, post};
use crate::harness::in_process::Folders;
use crate::harness::valve::Valve;
use crate::harness::{Reply, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_wrote_is_durable_when_it_returns_whatever_becomes_of_its_caller() {
    let mut host = both().start().await;
    for (version, client) in clients() {
        let url = host.url("/relay/call-and-trap?key=trapped");
        let reply = client.try_request(Method::POST, &url, "").await.expect("an answer");
        // Something of it stands, and the client is to know.
        let told = reply.problem(502, "may-have-taken-effect");
        assert!(told.contains("stands"), "{version}: {told}");
    }
    host.kill();
    host.start().await;
    assert_eq!(get(&host, "/relay/get?key=trapped").await, 2);
}

/// It looks as though nothing had been done: the call never returned.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_ends_while_its_callee_commits_is_told_what_comes_of_it() {
    let (folders, valve) = (Folders::new(), Valve::default());
    folders.deploy("callee");
    folders.deploy_with("relay", "[limits]\ndeadline = \"3s\"\n");
    let host = folders.host(Config::default(), valve.options()).await;
    for (version, client) in clients() {
        let before = valve.held();
        valve.set(true);
        let url = format!("http://{}/relay/count?key=held&by=1", host.address);
        let asked = tokio::spawn(async move { client.try_request(Method::POST, &url, "").await });
        eventually("its callee commits", async || (valve.held() > before).then_some(())).await;
        // The caller's time is over by then, and it was not told of anything.
        tokio::time::sleep(Duration::from_millis(3_200)).await;
        assert!(!asked.is_finished(), "{version}: what became of the call is not known");
        valve.set(false);
        let reply = asked.await.expect("no panic").expect("an answer");
        let told = reply.problem(504, "may-have-taken-effect");
        assert!(told.contains("did not answer within 3s"), "{version}: {told}");
    }
    assert_eq!(host.request(Method::GET, "/relay/get?key=held", String::new()).await.text(), "2");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_after_a_write_only_reads() {
    let host = both().start().await;
    for (_, client) in clients() {
        for call in ["count", "insert", "publish"] {
            let path = format!("/relay/write-first?call={call}");
            let answer = asked(&host, &client, Method::POST, &path).await;
            let error = answer["error"].as_str().unwrap_or_else(|| panic!("{call}: {answer}"));
            assert!(error.contains("its caller has uncommitted writes"), "{call}: {error}");
            assert!(error.contains("to commit first, or to publish an event"), "{call}: {error}");
        }
        let answer = asked(&host, &client, Method::POST, "/relay/write-first?call=get").await;
        assert_eq!(answer, json!({ "ok": "0" }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_made_while_the_writer_is_held() {
    let host = both().start().await;
    for (_, client) in clients() {
        let answer = asked(&host, &client, Method::POST, "/relay/lease-first").await;
        let error = answer["error"].as_str().expect("an error");
        assert!(error.contains("holds its store's writer: call before"), "{error}");
    }
    assert_eq!(get(&host, "/relay/get?key=leased").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_returns_an_error_leaves_nothing() {
    let host = both().start().await;
    for (_, client) in clients() {
        let answer = asked(&host, &client, Method::POST, "/relay/fail?key=failed").await;
        assert_eq!(answer, json!({ "error": "as it was told to, at 1" }));
    }
    assert_eq!(get(&host, "/relay/get?key=failed").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_writes_by_sql_and_publishes_and_commits_at_its_end_alone() {
    let host = both().start().await;
    assert_eq!(post(&host, "/relay/insert?text=a").await, json!({ "ok": 1 }));
    assert_eq!(post(&host, "/relay/insert?text=b").await, json!({ "ok": 2 }));
    let published = post(&host, "/relay/publish?text=c").await;
    assert!(published["ok"].is_string(), "{published}");
    let answer = post(&host, "/relay/commit").await;
    let error = answer["error"].as_str().expect("an error");
    assert!(error.contains("a call is not committed before its end"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_after_a_conflict_call_nobody_again() {
    let host = both().start().await;
    let replies = join_all((0..16).map(|_| host.post("/relay/contended?key=c&by=1", ""))).await;
    let answered = replies.iter().filter(|reply| reply.status == 200).count() as u64;
    // They called, and say that this may stand.
    let told = |reply: &&Reply| reply.text().contains("may-have-taken-effect");
    let conflicted = replies.iter().filter(told).count() as u64;
    assert_eq!(answered + conflicted, 16, "{replies:?}");
    // Each was counted once, those that gave up after they had called, too.
    assert_eq!(get(&host, "/relay/get?key=c").await, answered + conflicted);
    assert!(answered > 0);
}
