use std::net::Ipv6Addr;

use futures_util::stream::{self, StreamExt as _};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};

use super::*;
use crate::bus::BusOptions;
use crate::http::problem::Problem;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// A bus of its own, and what takes events to it.
struct Place {
    intake: Intake,
    bus: Bus,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new(options: BusOptions, max_body: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bus = Bus::open(&folder.path().join("bus.db"), options).expect("a bus");
        let limits = IntakeLimits { max_body, body_idle: Duration::from_millis(50) };
        Self { intake: Intake::new(bus.clone(), limits), bus, _folder: folder }
    }

    fn usual() -> Self {
        Self::new(BusOptions::default(), 64 << 10)
    }

    async fn post(&self, content_type: &'static str, body: &str) -> Result<Appended, IntakeError> {
        post(&self.intake, content_type, body).await
    }
}

async fn post(
    intake: &Intake,
    content_type: &'static str,
    body: &str,
) -> Result<Appended, IntakeError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    intake.take(&headers, Full::new(Bytes::from(body.to_owned())), Sender::Operator).await
}

fn event(id: usize, event_type: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"{event_type}","data":{id}}}"#
    )
}

/// What the client is told.
fn status(error: &IntakeError) -> StatusCode {
    Problem::of_events(error).status()
}

#[tokio::test]
async fn events_are_on_the_bus_when_they_are_accepted() {
    let place = Place::usual();
    let one = place.post(STRUCTURED, &event(1, "a.b")).await.expect("taken");
    assert_eq!((one.accepted, one.repeats.len(), place.bus.last()), (1, 0, 1));
    let batch = format!("[{},{},{}]", event(2, "a.b"), event(1, "a.b"), event(3, "a.c"));
    let some = place.post(BATCH, &batch).await.expect("taken");
    assert_eq!((some.accepted, some.repeats, place.bus.last()), (2, vec![1], 3));
    assert_eq!(place.post(BATCH, "[]").await.expect("taken"), Appended::default());

    let mut headers = HeaderMap::new();
    for (name, value) in [("ce-specversion", "1.0"), ("ce-id", "4"), ("ce-source", "/s")] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert("ce-type", HeaderValue::from_static("a.b"));
    let binary =
        place.intake.take(&headers, Empty::<Bytes>::new(), Sender::Operator).await.expect("taken");
    assert_eq!((binary.accepted, place.bus.last()), (1, 4));
    place.bus.close().await;
}

#[tokio::test]
async fn a_batch_with_one_wrong_event_leaves_nothing() {
    let place = Place::usual();
    let batch = format!("[{},{}]", event(1, "a.b"), event(2, ""));
    let error = place.post(BATCH, &batch).await.expect_err("refused");
    assert_eq!(status(&error), StatusCode::BAD_REQUEST);
    let body = Problem::of_events(&error).into_response().into_body();
    let body = body.collect().await.expect("a body").to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        problem,
        serde_json::json!({
            "type": "urn:hotdock:problem:invalid-event",
            "title": "Bad Request",
            "status": 400,
            "detail": "event 1: type: must not be empty",
            "attribute": "type",
            "index": 1,
        })
    );
    assert_eq!(place.bus.last(), 0);
}

#[tokio::test]
async fn only_types_that_are_opened_are_taken() {
    let place = Place::usual();
    assert!(place.intake.only(&[]).is_none());
    let opened = ["shop.external.*", "ping"]
        .map(|text| Opened { types: text.parse().expect("a pattern"), sources: Vec::new() });
    let opened = place.intake.only(&opened).expect("some are");
    for event_type in ["shop.external.paid", "ping"] {
        post(&opened, STRUCTURED, &event(1, event_type)).await.expect("taken");
    }
    let batch = format!("[{},{}]", event(2, "ping"), event(3, "shop.order.placed"));
    let last = place.bus.last();
    let error = post(&opened, BATCH, &batch).await.expect_err("refused");
    assert_eq!(status(&error), StatusCode::FORBIDDEN);
    assert_eq!(error.to_string(), "events of type shop.order.placed are not taken here");
    assert_eq!(place.bus.last(), last, "the whole batch is refused");
    place.post(BATCH, &batch).await.expect("the other way takes all");
}

#[tokio::test]
async fn a_body_is_refused_that_is_too_large_or_in_an_unknown_format() {
    let place = Place::new(BusOptions::default(), 200);
    let large = format!("{}{}", event(1, "a"), " ".repeat(200));
    let error = place.post(STRUCTURED, &large).await.expect_err("too large");
    assert_eq!(status(&error), StatusCode::PAYLOAD_TOO_LARGE);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_LENGTH, 201.into());
    let announced = place.intake.take(&headers, Empty::<Bytes>::new(), Sender::Operator).await;
    assert_eq!(status(&announced.expect_err("too large")), StatusCode::PAYLOAD_TOO_LARGE);
    let error = place.post("application/cloudevents+xml", "<a/>").await.expect_err("unknown");
    assert_eq!(status(&error), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let error = place.post("application/json", "{}").await.expect_err("no event");
    assert!(matches!(&error, IntakeError::Invalid(invalid)
        if invalid.attribute.as_deref() == Some("specversion")));
    // Nothing of its body is waited for.
    for (content_type, expected) in [("application/cloudevents+xml", 415), ("text/plain", 400)] {
        headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let refused = place.intake.take(&headers, unfinished(1), Sender::Operator).await;
        assert_eq!(status(&refused.expect_err("refused")).as_u16(), expected, "{content_type}");
    }
}

#[tokio::test]
async fn a_large_batch_is_taken_as_a_whole() {
    let place = Place::new(BusOptions::default(), 4 << 20);
    let batch: Vec<String> = (0..2_000).map(|id| event(id, "a.b")).collect();
    let taken = place.post(BATCH, &format!("[{}]", batch.join(","))).await.expect("taken");
    assert_eq!((taken.accepted, place.bus.last()), (2_000, 2_000));
}

/// A body that has begun and doesn't come to its end.
fn unfinished(bytes: usize) -> impl Body<Data = Bytes, Error = IntakeError> + Unpin {
    let first = Ok(Frame::data(Bytes::from(vec![b' '; bytes])));
    StreamBody::new(stream::iter([first]).chain(stream::pending()))
}

#[tokio::test]
async fn bodies_that_have_not_come_take_no_room_and_those_that_stall_give_it_back() {
    let place = Place::usual();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
    let stalled = (0..1_000).map(|_| {
        let (intake, headers) = (place.intake.clone(), headers.clone());
        tokio::spawn(async move { intake.take(&headers, unfinished(1), Sender::Operator).await })
    });
    let stalled: Vec<_> = stalled.collect();
    while place.intake.room.taken() == 0 {
        tokio::task::yield_now().await;
    }
    place.post(STRUCTURED, &event(1, "a")).await.expect("there is room");
    for stalled in stalled {
        let error = stalled.await.expect("no panic").expect_err("it stalled");
        assert_eq!(status(&error), StatusCode::REQUEST_TIMEOUT, "{error}");
    }
    assert_eq!(place.intake.room.taken(), 0);
}

#[tokio::test]
async fn one_sender_leaves_room_to_others_and_the_public_leaves_the_operators() {
    let place = Place::usual();
    let opened = Opened { types: ">".parse().expect("a pattern"), sources: Vec::new() };
    let public = place.intake.only(&[opened]).expect("it is open");
    let anybody = |number: u128| Sender::Anybody(Ipv6Addr::from_bits(number));
    let mut senders = 0;
    let mut held = Vec::new();
    // As many senders as it takes, each with as much as one may have.
    while public.room.taken() < public.room.part(anybody(0)).map_or(0, |_| 15 * (64 << 10)) {
        senders += 1;
        let mut part = public.room.part(anybody(senders)).expect("room for the next");
        while part.grow(1 << 10).is_ok() {}
        held.push(part);
    }
    assert!(senders >= 4, "{senders}");
    while let Ok(part) = public.room.part(anybody(1_000_000 + held.len() as u128)) {
        held.push(part);
    }
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
    let body = || Full::new(Bytes::from(event(1, "a")));
    let refused = public.take(&headers, body(), anybody(0)).await.expect_err("no room");
    let response = Problem::of_events(&refused).into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    place.post(STRUCTURED, &event(1, "a")).await.expect("the operator has room");
    drop(held);
    public.take(&headers, body(), anybody(0)).await.expect("there is room again");
}

#[tokio::test]
async fn anybodys_event_does_not_make_the_operators_a_repeat() {
    let place = Place::usual();
    let opened = Opened { types: ">".parse().expect("a pattern"), sources: Vec::new() };
    let public = place.intake.only(&[opened]).expect("it is open");
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
    for sender in [1, 2] {
        let body = Full::new(Bytes::from(event(1, "a")));
        let sender = Sender::Anybody(Ipv6Addr::from_bits(sender));
        let taken = public.take(&headers, body, sender).await.expect("taken");
        assert_eq!((taken.accepted, taken.repeats), (1, vec![]), "{sender:?}");
    }
    assert_eq!(place.post(STRUCTURED, &event(1, "a")).await.expect("taken").accepted, 1);
    assert_eq!(place.post(STRUCTURED, &event(1, "a")).await.expect("taken").repeats, [0]);
}

#[tokio::test]
async fn what_only_the_host_says_is_refused_from_outside() {
    let place = Place::usual();
    let with = |source: &str, extension: &str| {
        format!(
            r#"[{},{{"specversion":"1.0","id":"1","source":"{source}","type":"a"{extension}}}]"#,
            event(7, "a")
        )
    };
    for (body, expected) in [
        (with("/services/cart", ""), (403, "source-reserved", "source")),
        (with("/%73ervices/cart", ""), (403, "source-reserved", "source")),
        (with("/s", r#","sequence":"1""#), (400, "invalid-event", "sequence")),
    ] {
        let error = place.post(BATCH, &body).await.expect_err("refused");
        let body = Problem::of_events(&error).into_response().into_body();
        let body = body.collect().await.expect("a body").to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(problem["status"], expected.0, "{problem}");
        assert_eq!(problem["type"], format!("urn:hotdock:problem:{}", expected.1));
        assert_eq!((&problem["attribute"], &problem["index"]), (&expected.2.into(), &1.into()));
    }
    assert_eq!(place.bus.last(), 0);
}

#[tokio::test]
async fn a_full_bus_is_unavailable_for_now() {
    let place = Place::new(BusOptions { max_bytes: 100, ..BusOptions::default() }, 64 << 10);
    let batch = format!("[{},{}]", event(1, "a.b"), event(2, "a.b"));
    let error = place.post(BATCH, &batch).await.expect_err("full");
    assert!(matches!(error, IntakeError::Bus(BusError::Full(_))), "{error}");
    let response = Problem::of_events(&error).into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(place.bus.last(), 0);
}
