//! Webhooks: what an endpoint is sent, over refusals and a crash.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::deploy::operator::{ask, hotdock};
use crate::harness::{Host, eventually};

const KEY: &str = "a key of the tests' own, long enough";

/// An endpoint, and what it has been sent.
#[derive(Clone)]
struct Endpoint {
    address: SocketAddr,
    answers: Arc<Mutex<StatusCode>>,
    consents: Arc<AtomicBool>,
    retry_after: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Clone)]
struct Seen {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl Endpoint {
    /// One that answers so, until it is told otherwise.
    async fn answering(status: StatusCode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let endpoint = Self {
            address,
            answers: Arc::new(Mutex::new(status)),
            consents: Arc::new(AtomicBool::new(true)),
            retry_after: Arc::default(),
            seen: Arc::default(),
        };
        let served = endpoint.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = served.clone();
                let service = service_fn(move |request| {
                    let served = served.clone();
                    async move { Ok::<_, Infallible>(served.serve(request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        endpoint
    }

    async fn serve(&self, request: Request<Incoming>) -> Response<Empty<Bytes>> {
        let (head, body) = request.into_parts();
        // Its host may be killed before it has sent all of it.
        if let Ok(body) = body.collect().await {
            let seen = Seen { method: head.method, headers: head.headers, body: body.to_bytes() };
            self.seen.lock().expect("a lock").push(seen);
        }
        let origin = if self.consents.load(Ordering::Relaxed) { "*" } else { "elsewhere" };
        let mut response = Response::builder()
            .status(*self.answers.lock().expect("a lock"))
            .header("webhook-allowed-origin", origin);
        if self.retry_after.load(Ordering::Relaxed) {
            response = response.header("retry-after", "99999999");
        }
        response.body(Empty::new()).expect("a response")
    }

    fn answer(&self, status: StatusCode) {
        *self.answers.lock().expect("a lock") = status;
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("a lock").clone()
    }

    async fn until_seen(&self, count: usize) -> Vec<Seen> {
        eventually(&format!("the endpoint is asked {count} times"), async || {
            let seen = self.seen();
            (seen.len() >= count).then_some(seen)
        })
        .await
    }

    /// A host whose webhook sends here.
    async fn host(&self, webhook: &str) -> Host {
        self.host_with("{ first = \"10ms\", max = \"20ms\" }", webhook).await
    }

    async fn host_with(&self, backoff: &str, webhook: &str) -> Host {
        let address = self.address;
        let settings = format!(
            "[[webhook]]\nname = \"crm\"\nurl = \"http://{address}/in\"\ntypes = [\"shop.>\"]\n\
             backoff = {backoff}\n{webhook}\n"
        );
        let local = "--outbound-allow-private=127.0.0.0/8";
        Host::builder().settings(&settings).argument(local).start().await
    }
}

async fn send(host: &Host, id: &str) {
    let event = json!({"specversion": "1.0", "id": id, "source": "/tests",
        "type": "shop.order.placed", "data": {"quantity": 3}});
    let request = Request::post(host.admin_url("/events"))
        .header("content-type", "application/cloudevents+json")
        .body(Full::new(Bytes::from(event.to_string())));
    let taken = host.send(request.expect("a request")).await;
    assert_eq!(taken.status, 202, "{taken:?}");
}

/// What the key's holder makes of a request.
fn signature(seen: &Seen) -> String {
    let header = |name: &str| seen.headers[name].to_str().expect("text");
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("any length");
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&seen.body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn an_event_goes_out_signed_to_an_endpoint_that_consented() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("key");
    std::fs::write(&secret, KEY).expect("a file");
    let endpoint = Endpoint::answering(StatusCode::OK).await;
    let webhook = format!("secret-file = {secret:?}\norigin = \"shop.example\"");
    let host = endpoint.host(&webhook).await;
    send(&host, "1").await;
    let seen = endpoint.until_seen(2).await;
    assert_eq!((&seen[0].method, &seen[1].method), (&Method::OPTIONS, &Method::POST));
    assert_eq!(seen[0].headers["webhook-request-origin"], "shop.example");
    assert_eq!(seen[1].headers["content-type"], "application/cloudevents+json; charset=utf-8");
    let body: Value = serde_json::from_slice(&seen[1].body).expect("JSON");
    assert_eq!((&body["id"], &body["data"]), (&json!("1"), &json!({"quantity": 3})));
    assert_eq!(seen[1].headers["webhook-signature"], signature(&seen[1]).as_str());
    until_delivered(&host, 1).await;
    assert_eq!(endpoint.seen().len(), 2, "it is sent once");
}

#[tokio::test]
async fn an_event_that_is_never_taken_becomes_a_dead_letter_and_can_be_sent_again() {
    let endpoint = Endpoint::answering(StatusCode::INTERNAL_SERVER_ERROR).await;
    let host = endpoint.host("attempts = 3\nhandshake = false").await;
    send(&host, "1").await;
    let id = eventually("it is given up", async || {
        let list = ask(&host, Method::GET, "/v1/dead-letters", Value::Null).await.json();
        let letter = list["dead_letters"].as_array()?.first()?.clone();
        assert_eq!((&letter["attempts"], &letter["event"]["id"]), (&json!(3), &json!("1")));
        let reason = letter["reason"].as_str().expect("a reason").to_owned();
        assert!(reason.contains("the endpoint answered 500"), "{reason}");
        Some(letter["id"].as_str().expect("an id").to_owned())
    })
    .await;
    assert_eq!(endpoint.seen().len(), 3);
    endpoint.answer(StatusCode::PAYLOAD_TOO_LARGE);
    send(&host, "2").await;
    endpoint.until_seen(4).await;
    eventually("what it never takes is given up at once", async || {
        let list = ask(&host, Method::GET, "/v1/dead-letters", Value::Null).await.json();
        (list["dead_letters"].as_array()?.len() == 2).then_some(())
    })
    .await;
    endpoint.answer(StatusCode::NO_CONTENT);
    let retry = format!("/v1/dead-letters/{id}/retry");
    assert!(ask(&host, Method::POST, &retry, Value::Null).await.status.is_success());
    until_delivered(&host, 1).await;
    let keys: Vec<_> =
        endpoint.seen().iter().map(|seen| seen.headers["idempotency-key"].clone()).collect();
    assert_eq!(keys.len(), 5);
    assert!([1, 2, 4].iter().all(|again| keys[*again] == keys[0]), "the same event: {keys:?}");
    assert_ne!(keys[3], keys[0], "another event");
}

/// One that fails does not say for how long its events wait: `backoff` does.
#[tokio::test]
async fn an_endpoint_that_fails_puts_nothing_off_for_longer_than_backoff() {
    let endpoint = Endpoint::answering(StatusCode::INTERNAL_SERVER_ERROR).await;
    endpoint.retry_after.store(true, Ordering::Relaxed);
    let host = endpoint.host("attempts = 1000\nhandshake = false").await;
    send(&host, "1").await;
    endpoint.until_seen(3).await;
    endpoint.answer(StatusCode::OK);
    until_delivered(&host, 1).await;
}

/// What waits for its turn has it when an operator says so.
#[tokio::test]
async fn what_is_resumed_is_delivered_at_once() {
    let endpoint = Endpoint::answering(StatusCode::INTERNAL_SERVER_ERROR).await;
    let slow = "handshake = false\nattempts = 1000";
    let host = endpoint.host_with("{ first = \"1h\", max = \"1h\" }", slow).await;
    send(&host, "1").await;
    endpoint.until_seen(1).await;
    eventually("it waits", async || {
        crm(&host).await.filter(|crm| crm["held"] == 1 && crm["in_flight"] == 0).map(drop)
    })
    .await;
    endpoint.answer(StatusCode::OK);
    resume(&host).await;
    until_delivered(&host, 1).await;
}

#[tokio::test]
async fn a_host_that_dies_goes_on_with_what_its_endpoint_has_not_taken() {
    let endpoint = Endpoint::answering(StatusCode::SERVICE_UNAVAILABLE).await;
    let mut host = endpoint.host("attempts = 1000\nhandshake = false").await;
    send(&host, "1").await;
    send(&host, "2").await;
    let key = |seen: &Seen| seen.headers["idempotency-key"].clone();
    eventually("both are tried", async || {
        let keys: HashSet<_> = endpoint.seen().iter().map(key).collect();
        (keys.len() == 2).then_some(())
    })
    .await;
    host.kill();
    endpoint.answer(StatusCode::OK);
    let before = endpoint.seen();
    host.start().await;
    let seen = endpoint.until_seen(before.len() + 2).await;
    until_delivered(&host, 2).await;
    let mut taken: Vec<_> = seen[before.len()..].iter().map(key).collect();
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 2, "each once");
    assert!(taken.iter().all(|taken| before.iter().any(|seen| key(seen) == *taken)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_sent_nothing_until_somebody_says_so() {
    let endpoint = Endpoint::answering(StatusCode::GONE).await;
    let mut host = endpoint.host("handshake = false").await;
    send(&host, "1").await;
    until_paused(&host, "the endpoint answered 410 Gone").await;
    assert_eq!(warnings(&host), 1);
    endpoint.answer(StatusCode::OK);
    assert!(host.stop().await.success());

    host.start().await;
    until_paused(&host, "the endpoint answered 410 Gone").await;
    assert_eq!(warnings(&host), 1, "at the start, too");
    let printed = hotdock(&host, &["events", "subscriptions"]).stdout;
    let printed = String::from_utf8(printed).expect("text");
    assert!(printed.contains("_webhooks/crm: its last failure: the endpoint answered 410"));
    send(&host, "2").await;
    assert_eq!(endpoint.seen().len(), 1, "nothing was sent since");
    resume(&host).await;
    until_delivered(&host, 2).await;
    assert_eq!(endpoint.seen().len(), 3);
    let now = crm(&host).await.expect("a status");
    assert!(now["last_error"].is_null(), "nothing is to be done any more: {now}");
    host.until_logged("it is sent events again: it was resumed").await;

    assert!(host.stop().await.success());
    host.start().await;
    send(&host, "3").await;
    until_delivered(&host, 1).await;
}

#[tokio::test]
async fn a_dead_letter_of_a_webhook_that_was_taken_out_says_so() {
    let endpoint = Endpoint::answering(StatusCode::PAYLOAD_TOO_LARGE).await;
    let host = endpoint.host("handshake = false").await;
    send(&host, "1").await;
    eventually("it is given up", async || {
        crm(&host).await.filter(|crm| crm["dead"] == 1).map(drop)
    })
    .await;
    std::fs::write(host.plugins().with_file_name("hotdock.toml"), "").expect("written");
    host.signal("HUP");
    eventually("its webhook is gone", async || {
        crm(&host).await.is_none_or(|crm| crm["state"] == "gone").then_some(())
    })
    .await;
    let retry = "/v1/dead-letters/_webhooks/1/retry";
    let reply = ask(&host, Method::POST, retry, Value::Null).await;
    assert_eq!(reply.status, 409, "{reply:?}");
    let detail = reply.json()["detail"].to_string();
    assert!(detail.contains("hotdock.toml has no such webhook any more"), "{detail}");
}

#[tokio::test]
async fn webhooks_are_read_anew_at_a_hangup() {
    let endpoints = [
        Endpoint::answering(StatusCode::NO_CONTENT).await,
        Endpoint::answering(StatusCode::NO_CONTENT).await,
    ];
    let local = "--outbound-allow-private=127.0.0.0/8";
    let host = Host::builder().argument(local).start().await;
    let mut hangups = 0;
    let mut reload = async |endpoint: Option<&Endpoint>| {
        let webhook = |endpoint: &Endpoint| {
            let address = endpoint.address;
            format!(
                "[[webhook]]\nname = \"crm\"\nurl = \"http://{address}/in\"\n\
                 types = [\"shop.>\"]\nhandshake = false\n"
            )
        };
        let text = endpoint.map(webhook).unwrap_or_default();
        let settings = host.plugins().with_file_name("hotdock.toml");
        std::fs::write(settings, text).expect("written");
        hangups += 1;
        host.signal("HUP");
        eventually("it is read anew", async || {
            let log = host.log();
            let lines = log.lines().filter(|line| line.contains("read anew (SIGHUP)"));
            let (taken, restarts) =
                (lines.clone().count(), lines.filter(|line| line.contains("restart")).count());
            assert_eq!(restarts, 0, "{log}");
            (taken == hangups).then_some(())
        })
        .await;
    };
    let ids = |endpoint: &Endpoint| {
        let bodies = endpoint.seen().into_iter().map(|seen| seen.body);
        let event = |body: Bytes| serde_json::from_slice::<Value>(&body).expect("an event");
        bodies.map(|body| event(body)["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    // One that is new begins with what comes then.
    send(&host, "before").await;
    reload(Some(&endpoints[0])).await;
    eventually("it is at work", async || {
        crm(&host).await.filter(|crm| crm["state"] == "running").map(drop)
    })
    .await;
    send(&host, "first").await;
    endpoints[0].until_seen(1).await;
    // One that changed goes on where it was.
    reload(Some(&endpoints[1])).await;
    send(&host, "second").await;
    endpoints[1].until_seen(1).await;
    assert_eq!(
        (ids(&endpoints[0]), ids(&endpoints[1])),
        (vec!["first".into()], vec!["second".into()])
    );
    // One that is gone has what it has not read wait, until it is there again.
    reload(None).await;
    eventually("it is gone", async || {
        crm(&host).await.is_none_or(|crm| crm["state"] == "gone").then_some(())
    })
    .await;
    send(&host, "third").await;
    reload(Some(&endpoints[0])).await;
    endpoints[0].until_seen(2).await;
    assert_eq!(ids(&endpoints[0]), ["first", "third"]);
    assert_eq!(ids(&endpoints[1]), ["second"]);
}

#[tokio::test]
async fn a_host_that_stops_closes_the_webhooks_store() {
    let endpoint = Endpoint::answering(StatusCode::OK).await;
    let mut host = endpoint.host("handshake = false").await;
    send(&host, "1").await;
    until_delivered(&host, 1).await;
    let stores = host.data().join("stores");
    assert!(stores.join("_webhooks.db-wal").exists(), "it is open");
    assert!(host.stop().await.success());
    let left: Vec<_> = std::fs::read_dir(stores).expect("the stores").collect();
    let names: Vec<_> = left.into_iter().map(|each| each.expect("an entry").file_name()).collect();
    assert_eq!(names, ["_webhooks.db"]);
}

#[tokio::test]
async fn an_endpoint_that_does_not_consent_is_asked_again_when_somebody_says_so() {
    let endpoint = Endpoint::answering(StatusCode::OK).await;
    endpoint.consents.store(false, Ordering::Relaxed);
    let host = endpoint.host("origin = \"shop.example\"").await;
    let began = Instant::now();
    send(&host, "1").await;
    until_paused(&host, "the endpoint does not consent to events from shop.example").await;
    // The log is written after the answer that says so.
    eventually("it is warned of", async || (warnings(&host) > 0).then_some(())).await;
    assert_eq!(warnings(&host), 1);
    endpoint.consents.store(true, Ordering::Relaxed);
    resume(&host).await;
    until_delivered(&host, 1).await;
    assert!(began.elapsed() < Duration::from_secs(50), "long before it would be by itself");
    let methods: Vec<_> = endpoint.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, [Method::OPTIONS, Method::OPTIONS, Method::POST]);
}

/// The webhook, as operators see it.
async fn crm(host: &Host) -> Option<Value> {
    let list = ask(host, Method::GET, "/v1/subscriptions", Value::Null).await.json();
    let mut all = list["subscriptions"].as_array()?.iter();
    all.find(|each| each["name"] == "_webhooks/crm").cloned()
}

/// Waits until the endpoint has so many, and nothing waits for it.
async fn until_delivered(host: &Host, count: u64) {
    eventually(&format!("{count} are delivered"), async || {
        let crm = crm(host).await?;
        (crm["delivered"] == count && crm["held"] == 0).then_some(())
    })
    .await;
}

/// Waits until it is paused for this reason, without an attempt.
async fn until_paused(host: &Host, reason: &str) {
    eventually(&format!("it is paused: {reason}"), async || {
        let crm = crm(host).await.filter(|crm| crm["state"] == "paused")?;
        assert_eq!((&crm["attempts"], &crm["held"]), (&json!(0), &json!(0)), "{crm}");
        crm["last_error"].as_str()?.starts_with(reason).then_some(())
    })
    .await;
}

async fn resume(host: &Host) {
    let path = "/v1/subscriptions/_webhooks/crm/resume";
    assert_eq!(ask(host, Method::POST, path, Value::Null).await.status, 200);
}

/// How often the log says that nothing is sent.
fn warnings(host: &Host) -> usize {
    host.log().matches("\"nothing is sent\"").count()
}
