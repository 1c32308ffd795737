//! Outgoing requests and the transaction they are made in.

use std::sync::{Arc, OnceLock};

use futures_util::future::join_all;
use http::Method;

use super::upstream::{Hook, Upstream};
use super::{local, probe, send};
use crate::harness::Host;
use crate::harness::client::Client;

#[tokio::test(flavor = "multi_thread")]
async fn an_outbound_request_waits_for_no_writes_that_could_be_undone() {
    let upstream = Upstream::start().await;
    let host = local(probe(&[&upstream.origin()])).start().await;
    let url = upstream.url("/echo");
    let error = super::refusal(&host, &url, "&set=a").await;
    assert!(error.contains("while writes are pending: commit first"), "{error}");
    let error = super::refusal(&host, &url, "&sql=1").await;
    assert!(error.contains("holds its store's writer"), "{error}");
    assert!(upstream.seen().is_empty());
    host.until_logged("while writes are pending").await;
    // What is committed is no secret any more.
    assert_eq!(send(&host, &url, "&set=a&commit=1").await["status"], 200);
    // Nor is an answer that nothing was written for, or whose writes are on disk.
    assert_eq!(send(&host, &url, "&after=1").await["status"], 200);
    for written in ["&set=a", "&sql=1"] {
        let sent = send(&host, &url, &format!("&after=1{written}")).await;
        assert_eq!(sent["status"], 200, "{written}: {sent}");
    }
}

/// Changes the key that the first request's sender has read.
fn interfering(host: &Arc<OnceLock<String>>) -> Hook {
    let host = Arc::clone(host);
    Arc::new(move |number| {
        let url = host.get().cloned().unwrap_or_default();
        Box::pin(async move {
            if number == 1 {
                let url = format!("{url}/probe/increment?key=k");
                let reply = Client::new().try_request(Method::POST, &url, "").await;
                assert_eq!(reply.expect("an answer").status, 200);
            }
        })
    })
}

async fn host_with_interference() -> (Upstream, Host) {
    let address = Arc::default();
    let upstream = Upstream::with_hook(interfering(&address)).await;
    let host = local(probe(&[&upstream.origin()])).start().await;
    address.set(host.url("")).expect("set once");
    (upstream, host)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsafe_outbound_request_is_never_made_again_after_a_conflict() {
    let (upstream, host) = host_with_interference().await;
    let path = format!("/probe/send?method=POST&count=k&url={}", upstream.url("/echo"));
    host.get(&path).await.problem(500, "may-have-taken-effect");
    assert_eq!(upstream.seen().len(), 1);
    let value = host.get("/probe/kv?op=get&key=k").await.json();
    assert_eq!(value["value"], "1", "nothing of it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_safe_outbound_request_is_made_again_after_a_conflict() {
    let (upstream, host) = host_with_interference().await;
    let answer = send(&host, &upstream.url("/echo"), "&count=k").await;
    assert_eq!(answer["status"], 200, "{answer}");
    assert_eq!(upstream.seen().len(), 2);
    let value = host.get("/probe/kv?op=get&key=k").await.json();
    assert_eq!(value["value"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_commits_and_then_makes_an_outbound_request_makes_it_once_for_each_commit() {
    let upstream = Upstream::start().await;
    let host = local(probe(&[&upstream.origin()])).start().await;
    let path = format!("/probe/send?method=POST&reserve=r&url={}", upstream.url("/echo"));
    let replies = join_all((0..12).map(|_| host.get(&path))).await;
    let mut done = 0;
    for reply in replies {
        if reply.status == 503 {
            reply.problem(503, "conflict");
        } else {
            assert_eq!(reply.json()["status"], 200, "{reply:?}");
            done += 1;
        }
    }
    assert!(done > 0);
    let seen = upstream.seen();
    let mut keys: Vec<_> =
        seen.iter().map(|seen| seen.headers["idempotency-key"].clone()).collect();
    keys.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    keys.dedup();
    assert_eq!((seen.len(), keys.len()), (done, done));
    let value = host.get("/probe/kv?op=get&key=r").await.json();
    assert_eq!(value["value"], done.to_string());
}
