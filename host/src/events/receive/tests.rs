use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use http_body_util::{Empty, Full};

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
        Self { intake: Intake::new(bus.clone(), max_body), bus, _folder: folder }
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
    intake.take(&headers, Full::new(Bytes::from(body.to_owned()))).await
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
    assert_eq!((one.accepted, one.repeated, place.bus.last()), (1, 0, 1));
    let batch = format!("[{},{},{}]", event(2, "a.b"), event(1, "a.b"), event(3, "a.c"));
    let some = place.post(BATCH, &batch).await.expect("taken");
    assert_eq!((some.accepted, some.repeated, place.bus.last()), (2, 1, 3));
    assert_eq!(place.post(BATCH, "[]").await.expect("taken"), Appended::default());

    let mut headers = HeaderMap::new();
    for (name, value) in [("ce-specversion", "1.0"), ("ce-id", "4"), ("ce-source", "/s")] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert("ce-type", HeaderValue::from_static("a.b"));
    let binary = place.intake.take(&headers, Empty::<Bytes>::new()).await.expect("taken");
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
    let opened = ["shop.external.*", "ping"].map(|text| text.parse().expect("a pattern"));
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
    let announced = place.intake.take(&headers, Empty::<Bytes>::new()).await;
    assert_eq!(status(&announced.expect_err("too large")), StatusCode::PAYLOAD_TOO_LARGE);
    let error = place.post("application/cloudevents+xml", "<a/>").await.expect_err("unknown");
    assert_eq!(status(&error), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let error = place.post("application/json", "{}").await.expect_err("no event");
    assert!(matches!(&error, IntakeError::Invalid(invalid)
        if invalid.attribute.as_deref() == Some("specversion")));
}

#[tokio::test]
async fn a_large_batch_is_taken_as_a_whole() {
    let place = Place::new(BusOptions::default(), 4 << 20);
    let batch: Vec<String> = (0..2_000).map(|id| event(id, "a.b")).collect();
    let taken = place.post(BATCH, &format!("[{}]", batch.join(","))).await.expect("taken");
    assert_eq!((taken.accepted, place.bus.last()), (2_000, 2_000));
}

#[tokio::test]
async fn as_many_bodies_are_on_their_way_as_there_is_room_for() {
    let place = Place::usual();
    let headers = HeaderMap::new();
    let mut held = Vec::new();
    let refused = loop {
        match place.intake.room(&headers) {
            Ok(room) => held.push(room),
            Err(error) => break error,
        }
    };
    assert_eq!(held.len() as u64, BODIES_AT_ONCE);
    let response = Problem::of_events(&refused).into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    drop(held);
    place.post(STRUCTURED, &event(1, "a")).await.expect("there is room again");
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
