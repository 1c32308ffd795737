//! A store that stands still: it delays its own service, and no other.

use std::path::PathBuf;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::{Client, Host, component, eventually, hello};

/// Has a service's store stand still for as long as it is kept.
struct Stall {
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Stall {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { file: folder.path().join("stalled"), _folder: folder }
    }

    /// Of several, one a line.
    fn begin(&self, services: &str) {
        // At once and whole.
        let part = self.file.with_extension("part");
        std::fs::write(&part, services).expect("a file");
        std::fs::rename(part, &self.file).expect("a rename");
    }

    fn end(&self) {
        std::fs::remove_file(&self.file).expect("a file");
    }
}

/// A shop whose host has the consumer beside it.
async fn shop(stall: &Stall, arguments: &[&str]) -> Host {
    let mut builder = Host::builder().plugin("cart").plugin("order").plugin("consumer");
    for argument in arguments {
        builder = builder.argument(argument);
    }
    builder.environment("HOTDOCK_STALL", &stall.file).start().await
}

/// A checkout, and the order that follows from its event.
async fn check_out(host: &Host, user: u32) {
    let body = json!({"user_id": user, "product_id": "tea", "quantity": 1}).to_string();
    assert_eq!(host.post("/cart", body).await.status, 200);
    let reply = host.post("/cart/checkout", json!({"user_id": user}).to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    eventually("there is an order", async || {
        let orders = host.get(&format!("/order?user_id={user}")).await.json();
        (orders["orders"].as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
}

/// Hands events over that nobody subscribes to, and one for the consumer.
async fn send(host: &Host, unwanted: u32) {
    let event = |id: u32| json!({"specversion": "1.0", "id": id.to_string(), "source": "/tests", "type": "other"});
    let mut events: Vec<Value> = (0..unwanted).map(event).collect();
    events
        .push(json!({"specversion": "1.0", "id": "last", "source": "/tests", "type": "test.steps",
        "partitionkey": "k", "data": [{"do": "count", "key": "handled"}]}));
    let request = Request::post(host.admin_url("/events"))
        .header("content-type", "application/cloudevents-batch+json")
        .body(Full::new(Bytes::from(Value::Array(events).to_string())));
    let taken = host.send(request.expect("a request")).await;
    assert_eq!(taken.status, 202, "{taken:?}");
}

async fn until_handled(host: &Host) {
    eventually("the consumer has handled its event", async || {
        let value = host.get("/consumer/value?bucket=counts&key=handled").await;
        (value.status == 200 && value.text() == "1").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stands_still_delays_requests_events_and_deployments_of_its_own_alone() {
    let stall = Stall::new();
    let mut host = shop(&stall, &["--drain", "1s"]).await;
    stall.begin("consumer");
    // More than a subscription passes before its cursor is written, and one that its handler
    // gets and that cannot be committed.
    send(&host, 1_500).await;
    // A deployment that has to write there.
    let (bytes, manifest) = component("consumer");
    let more = format!("[[subscribe]]\ntype = \"more\"\n{}", manifest.expect("a manifest"));
    host.drop_file("consumer.toml", &more);

    // Longer than the host looks after what it has.
    for user in 0..3 {
        check_out(&host, user).await;
        host.drop_file("hello.wasm", hello(user));
        host.until_version("hello", u64::from(user) + 1).await;
        assert_eq!(host.get("/hello").await.status, 200);
        host.remove_file("hello.wasm");
        eventually("hello is undeployed", async || {
            let service = host.service("hello").await;
            (service.is_null() || service["state"] == "draining").then_some(())
        })
        .await;
    }
    let reasons = host.until_refused("consumer.wasm").await;
    assert!(reasons.contains("the store of consumer did not get to"), "{reasons}");
    check_out(&host, 3).await;
    let metrics = host.metrics().await;
    let late =
        metrics.lines().find(|line| line.starts_with("hotdock_store_late_total{service=\"con"));
    assert!(late.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");
    for path in ["/v1/subscriptions", "/v1/services"] {
        let reply = host.client.try_request(Method::GET, &host.admin_url(path), "").await;
        assert_eq!(reply.expect("an answer").status, 200);
    }

    let ended = host.stop().await;
    assert_eq!(ended.code(), Some(1), "{}", host.log());
    assert!(host.log().contains("the store of consumer"), "{}", host.log());
    stall.end();
    host.drop_file("consumer.wasm", bytes);
    host.start().await;
    until_handled(&host).await;
    check_out(&host, 4).await;
    assert!(host.stop().await.success(), "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_starts_beside_a_store_that_stands_still() {
    let stall = Stall::new();
    let mut host = shop(&stall, &[]).await;
    send(&host, 0).await;
    until_handled(&host).await;
    assert!(host.stop().await.success(), "{}", host.log());
    stall.begin("consumer");
    host.start().await;
    check_out(&host, 1).await;
    stall.end();
    let publish = json!([{"type": "test.steps", "key": "k",
        "data": [{"do": "count", "key": "handled"}]}]);
    eventually("the consumer is there again", async || {
        let reply = host.post("/consumer/publish", publish.to_string()).await;
        (reply.status == 200).then_some(())
    })
    .await;
    eventually("its events are handled again", async || {
        let value = host.get("/consumer/value?bucket=counts&key=handled").await;
        (value.status == 200 && value.text() == "2").then_some(())
    })
    .await;
    assert!(host.stop().await.success(), "{}", host.log());
}

/// Asks the admin listener over HTTP/1.1 or HTTP/2; what is wrong, where it is busy.
async fn late(client: &Client, method: Method, url: &str) -> Option<String> {
    let reply = client.try_request(method, url, "").await.expect("an answer");
    if reply.status == 200 {
        return None;
    }
    let problem = reply.json();
    assert_eq!((&problem["status"], problem["type"].as_str()), (&json!(503), Some("about:blank")));
    assert_eq!(reply.header("content-type"), "application/problem+json");
    problem["detail"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_stands_still_has_no_operator_wait_for_ever_and_no_client_at_all() {
    let stall = Stall::new();
    let mut host = Host::builder().environment("HOTDOCK_STALL", &stall.file).start().await;
    for version in 1..=2 {
        host.drop_file("hello.wasm", hello(version));
        host.until_version("hello", u64::from(version)).await;
    }
    let url = |path: &str| host.admin_url(&format!("/v1/services/hello{path}"));
    let (first, second) = (Client::new(), Client::h2c());
    stall.begin("host.db");
    let to_roll_back = url("/rollback");
    let rollback = late(&second, Method::POST, &to_roll_back);
    let others = async {
        // What is asked for before the change begins is answered.
        let read = eventually("the record is at the rollback", async || {
            late(&first, Method::GET, &url("/versions")).await
        });
        let read = read.await;
        assert!(read.contains("did not come to it within 10s; nothing was changed"), "{read}");
        let undeploy = late(&first, Method::DELETE, &url("")).await.expect("not done");
        assert!(undeploy.contains("another change of traffic within 20s"), "{undeploy}");
        assert!(undeploy.contains("nothing was changed"), "{undeploy}");
        assert_eq!(host.get("/hello").await.status, 200);
    };
    let (rollback, ()) = tokio::join!(rollback, others);
    let rollback = rollback.expect("it is not done yet");
    assert!(rollback.contains("host.db, is busy"), "{rollback}");
    assert!(rollback.contains("may have taken effect, or may yet"), "{rollback}");
    host.until_version("hello", 2).await;
    stall.end();
    host.until_version("hello", 1).await;
    assert_eq!(late(&first, Method::GET, &url("/versions")).await, None);
    assert!(host.stop().await.success(), "{}", host.log());
    host.start().await;
    host.until_version("hello", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_store_that_stands_still_has_no_operator_wait_for_ever() {
    let stall = Stall::new();
    let mut host = shop(&stall, &[]).await;
    send(&host, 0).await;
    until_handled(&host).await;
    host.remove_file("consumer.wasm");
    eventually("the consumer is undeployed", async || {
        host.service("consumer").await.is_null().then_some(())
    })
    .await;
    stall.begin("consumer");
    let url = host.admin_url("/v1/dead-letters?service=consumer");
    for client in [Client::new(), Client::h2c()] {
        let problem = late(&client, Method::GET, &url).await.expect("it is busy");
        assert!(problem.contains("the store of consumer"), "{problem}");
        assert!(problem.contains("did not come to it within 10s"), "{problem}");
    }
    check_out(&host, 1).await;
    stall.end();
    eventually("its dead letters are read", async || {
        late(&host.client, Method::GET, &url).await.is_none().then_some(())
    })
    .await;
    assert!(host.stop().await.success(), "{}", host.log());
}
