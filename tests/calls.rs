//! Calls of one service by another: `relay` calls `callee`.

mod failures;
mod hostile;
mod once;
mod swaps;
mod transaction;
mod values;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::host::Builder;
use crate::harness::{Host, Reply, eventually};

/// A host with both of them.
fn both() -> Builder {
    Host::builder().plugin("callee").plugin("relay")
}

/// The same with more in the callee's manifest, before what is in it.
fn both_with(callee: &str) -> Builder {
    Host::builder().plugin_with("callee", callee).plugin("relay")
}

/// A client of each version of HTTP, with the name of that.
fn clients() -> [(&'static str, Client); 2] {
    [("HTTP/1.1", Client::new()), ("HTTP/2", Client::h2c())]
}

/// What the relay answers to a request that succeeds.
async fn asked(host: &Host, client: &Client, method: Method, path: &str) -> Value {
    let reply = client.try_request(method, &host.url(path), "").await.expect("an answer");
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.json()
}

async fn get(host: &Host, path: &str) -> Value {
    asked(host, &host.client, Method::GET, path).await
}

async fn post(host: &Host, path: &str) -> Value {
    asked(host, &host.client, Method::POST, path).await
}

/// A request with an `Idempotency-Key`; `None` where the connection broke.
async fn keyed(client: &Client, url: &str, key: &str) -> Option<Reply> {
    let request = Request::post(url).header("idempotency-key", format!("\"{key}\""));
    client.send(request.body(Full::default()).expect("a request")).await.ok()
}

/// Has an event delivered to the relay, which calls for it; false where that is not known to be
/// on the bus.
async fn publish(client: &Client, url: &str, id: &str, key: &str) -> bool {
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/tests", "type": "test.call",
        "partitionkey": key, "data": { "key": key, "by": 1 },
    });
    let request = Request::post(url).header("content-type", "application/cloudevents+json");
    let request = request.body(Full::new(Bytes::from(event.to_string()))).expect("a request");
    client.send(request).await.is_ok_and(|reply| reply.status == 202)
}

/// Waits until a counter of the callee's has come to this.
async fn until_counted(host: &Host, key: &str, count: u64) {
    eventually("all is counted", async || {
        (get(host, &format!("/relay/get?key={key}")).await == count).then_some(())
    })
    .await;
}
