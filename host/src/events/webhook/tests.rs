//! Deliveries to an endpoint on this machine.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::{HeaderMap, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::config::OutboundConfig;
use crate::event::{TypePattern, Value};
use crate::manifest::{Backoff, StartPosition};

/// What a webhook's configuration is unless a test says otherwise.
pub(super) fn config(url: Uri, types: Vec<TypePattern>, rate: Option<NonZeroU32>) -> WebhookConfig {
    WebhookConfig {
        name: "crm".to_owned(),
        url,
        types,
        from: StartPosition::Now,
        mode: WebhookMode::Structured,
        secret_file: None,
        handshake: true,
        origin: "shop.example".to_owned(),
        rate,
        timeout: Duration::from_secs(30),
        attempts: 8,
        backoff: Backoff::default(),
        concurrency: 16,
    }
}

struct Seen {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

type Answers = Arc<Mutex<VecDeque<Response<Full<Bytes>>>>>;

/// An endpoint that answers as it was told, and what it has seen.
struct Endpoint {
    address: SocketAddr,
    answers: Answers,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Endpoint {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (answers, seen) = (Answers::default(), Arc::<Mutex<Vec<Seen>>>::default());
        let (queue, log) = (Arc::clone(&answers), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (queue, log) = (Arc::clone(&queue), Arc::clone(&log));
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (queue, log) = (Arc::clone(&queue), Arc::clone(&log));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.expect("a body").to_bytes();
                        let target = head.uri.to_string();
                        let seen =
                            Seen { method: head.method, target, headers: head.headers, body };
                        log.lock().expect("unpoisoned").push(seen);
                        let answer = queue.lock().expect("unpoisoned").pop_front();
                        Ok::<_, Infallible>(answer.unwrap_or_default())
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, answers, seen }
    }

    fn config(&self) -> WebhookConfig {
        let url = format!("http://{}/in?shop=1", self.address);
        let types = vec![">".parse().expect("a pattern")];
        config(url.parse().expect("a URL"), types, None)
    }

    /// Answers the next request so, after those that were told before.
    fn answer(&self, status: u16, headers: &[(&str, &str)]) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(Full::default()).expect("a response");
        self.answers.lock().expect("unpoisoned").push_back(response);
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().expect("unpoisoned"))
    }
}

fn outbound() -> Outbound {
    let allow_private = vec!["127.0.0.1".parse().expect("a network")];
    Outbound::new(OutboundConfig { allow_private, ..OutboundConfig::default() })
}

fn target(config: WebhookConfig) -> WebhookTarget {
    WebhookTarget::new(config, outbound()).expect("good keys")
}

fn event() -> Event {
    let json = br#"{"specversion":"1.0","id":"1","source":"/s","type":"shop.order.placed",
        "partitionkey":"a b","data":{"n" : 1}}"#;
    Event::from_json(json).expect("an event")
}

#[tokio::test]
async fn an_endpoint_is_asked_once_and_then_sent_events() {
    let endpoint = Endpoint::start().await;
    let rate = NonZeroU32::new(60_000);
    let target = target(WebhookConfig { rate, ..endpoint.config() });
    endpoint
        .answer(405, &[("webhook-allowed-origin", "shop.example"), ("webhook-allowed-rate", "*")]);
    endpoint.answer(202, &[]);
    assert_eq!(deliver(&target, &event()).await, WebhookOutcome::Delivered);
    assert_eq!(deliver(&target, &event()).await, WebhookOutcome::Delivered);
    let seen = endpoint.seen();
    let methods: Vec<_> = seen.iter().map(|seen| seen.method.as_str()).collect();
    assert_eq!(methods, ["OPTIONS", "POST", "POST"]);
    assert!(seen.iter().all(|seen| seen.target == "/in?shop=1"));
    assert!(seen.iter().all(|seen| seen.headers["webhook-request-origin"] == "shop.example"));
    assert_eq!(seen[0].headers["webhook-request-rate"], "60000");
    let (first, second) = (&seen[1], &seen[2]);
    assert_eq!(first.headers["content-type"], "application/cloudevents+json; charset=utf-8");
    assert_eq!(Event::from_json(&first.body), Ok(event()));
    assert_eq!(first.headers["idempotency-key"], first.headers["webhook-id"]);
    assert_eq!(first.headers["webhook-id"], second.headers["webhook-id"]);
    assert!(!first.headers.contains_key("webhook-signature"));
    let other = Event { id: "2".into(), ..event() };
    assert_ne!(id(&other), id(&event()));
}

#[tokio::test]
async fn an_endpoint_that_does_not_consent_is_sent_nothing() {
    let endpoint = Endpoint::start().await;
    let target = target(endpoint.config());
    endpoint.answer(200, &[("allow", "POST")]);
    let WebhookOutcome::Blocked(reason) = deliver(&target, &event()).await else {
        panic!("no consent");
    };
    assert!(reason.contains("no WebHook-Allowed-Origin"), "{reason}");
    // Nor is it asked again at once, unless somebody says so.
    let again = deliver(&target, &event()).await;
    assert!(matches!(again, WebhookOutcome::Wait { pause, .. } if pause <= REST));
    assert_eq!(endpoint.seen().len(), 1);
    assert!(target.wake(), "it was sent nothing");
    assert!(!target.wake(), "it is sent events again");
    endpoint.answer(200, &[("webhook-allowed-origin", "*")]);
    assert_eq!(deliver(&target, &event()).await, WebhookOutcome::Delivered);
}

#[tokio::test]
async fn many_at_once_ask_once() {
    let endpoint = Endpoint::start().await;
    let target = Arc::new(target(endpoint.config()));
    endpoint.answer(204, &[("webhook-allowed-origin", "*")]);
    let deliveries = (0..8).map(|_| {
        let target = Arc::clone(&target);
        async move { deliver(&target, &event()).await }
    });
    let outcomes = futures_util::future::join_all(deliveries).await;
    assert!(outcomes.iter().all(|outcome| *outcome == WebhookOutcome::Delivered));
    let seen = endpoint.seen();
    assert_eq!(seen.iter().filter(|seen| seen.method == Method::OPTIONS).count(), 1);
    assert_eq!(seen.len(), 9);
}

#[tokio::test]
async fn binary_mode_has_the_attributes_in_headers_and_its_body_is_signed() {
    let endpoint = Endpoint::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    std::fs::write(&key, "a key of at least 24 bytes\n").expect("a key");
    let target = target(WebhookConfig {
        mode: WebhookMode::Binary,
        handshake: false,
        secret_file: Some(key.clone()),
        ..endpoint.config()
    });
    assert_eq!(deliver(&target, &event()).await, WebhookOutcome::Delivered);
    let [seen] = endpoint.seen().try_into().ok().expect("one request");
    assert_eq!(seen.headers["ce-type"], "shop.order.placed");
    assert_eq!(seen.headers["ce-partitionkey"], "a%20b");
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.body, "{\"n\" : 1}");
    assert!(!seen.headers.contains_key("webhook-request-origin"));
    let text = |name: &str| seen.headers[name].to_str().expect("ASCII");
    let timestamp = text("webhook-timestamp").parse().expect("seconds");
    let keys = Keys::read("crm", &key).expect("a key");
    let signature = keys.sign(text("webhook-id"), timestamp, &seen.body);
    assert_eq!(seen.headers["webhook-signature"], signature);

    let nothing = Event { data: None, ..event() };
    assert_eq!(deliver(&target, &nothing).await, WebhookOutcome::Delivered);
    let [seen] = endpoint.seen().try_into().ok().expect("one request");
    assert_eq!(Event::from_json(&seen.body), Ok(nothing), "a request has a body");
}

#[tokio::test]
async fn an_endpoint_that_has_enough_is_left_alone() {
    let endpoint = Endpoint::start().await;
    let target = target(WebhookConfig { handshake: false, ..endpoint.config() });
    endpoint.answer(429, &[("retry-after", "100")]);
    let wait = deliver(&target, &event()).await;
    assert!(
        matches!(wait, WebhookOutcome::Wait { pause, .. } if pause == Duration::from_secs(100))
    );
    let wait = deliver(&target, &event()).await;
    assert!(matches!(wait, WebhookOutcome::Wait { pause, .. } if pause > Duration::ZERO));
    assert_eq!(endpoint.seen().len(), 1);
}

#[tokio::test]
async fn more_than_the_rate_waits() {
    let endpoint = Endpoint::start().await;
    let rate = NonZeroU32::new(1);
    let target = target(WebhookConfig { handshake: false, rate, ..endpoint.config() });
    assert_eq!(deliver(&target, &event()).await, WebhookOutcome::Delivered);
    let WebhookOutcome::Wait { reason, pause } = deliver(&target, &event()).await else {
        panic!("one a minute");
    };
    assert_eq!(reason, "the endpoint takes 1 events a minute");
    assert!(pause > Duration::from_secs(1));
    assert_eq!(endpoint.seen().len(), 1);
}

#[tokio::test]
async fn what_fails_says_why() {
    let endpoint = Endpoint::start().await;
    let structured = target(WebhookConfig { handshake: false, ..endpoint.config() });
    endpoint.answer(308, &[("location", "http://127.0.0.1/elsewhere")]);
    let redirected = deliver(&structured, &event()).await;
    assert!(matches!(redirected, WebhookOutcome::Retry { reason, .. } if reason.contains("url")));
    endpoint.answer(410, &[]);
    for _ in 0..2 {
        assert_eq!(deliver(&structured, &event()).await, WebhookOutcome::Gone, "asked once");
    }
    let wrong = Event { id: "".into(), ..event() };
    let binary = WebhookConfig { handshake: false, mode: WebhookMode::Binary, ..endpoint.config() };
    let rejected = deliver(&target(binary), &wrong).await;
    assert!(matches!(rejected, WebhookOutcome::Reject(reason) if reason.contains("id: must not")));
    assert_eq!(endpoint.seen().len(), 2);
}

#[tokio::test]
async fn an_address_that_is_not_open_is_not_connected_to() {
    let endpoint = Endpoint::start().await;
    let config = WebhookConfig { handshake: false, ..endpoint.config() };
    let closed = Outbound::new(OutboundConfig::default());
    let target = WebhookTarget::new(config, closed).expect("no keys");
    let WebhookOutcome::Blocked(reason) = deliver(&target, &event()).await else {
        panic!("loopback is closed");
    };
    assert!(reason.contains("loopback") && reason.contains("allow-private"), "{reason}");
    assert!(endpoint.seen().is_empty());
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let url: Uri = format!("http://{address}/").parse().expect("a URL");
    let silent = WebhookConfig {
        handshake: false,
        timeout: Duration::from_millis(20),
        ..config(url, Vec::new(), None)
    };
    let late = deliver(&target(silent.clone()), &event()).await;
    assert!(
        matches!(late, WebhookOutcome::Retry { reason, .. } if reason == "no answer within 20ms")
    );
    drop(listener);
    let refused = WebhookConfig { timeout: Duration::from_secs(30), ..silent };
    let refused = deliver(&target(refused), &event()).await;
    assert!(matches!(refused, WebhookOutcome::Retry { reason, .. } if reason.contains("refused")));
}

#[test]
fn an_id_is_of_source_and_id_together() {
    let event = |source: &str, id: &str| Event { source: source.into(), id: id.into(), ..event() };
    assert_ne!(id(&event("/a", "bc")), id(&event("/ab", "c")));
    let mut same = event("/a", "b");
    same.extensions.insert("sequence".into(), Value::Text("1".into()));
    assert_eq!(id(&same), id(&event("/a", "b")));
}
