//! A machine's clock that jumps.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{event, publish, until_value};
use crate::harness::{Host, component, eventually};

const HOUR_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Sets the host's clock so many ms ahead.
fn set(file: &Path, ahead_ms: i64) {
    let part = file.with_extension("part");
    std::fs::write(&part, ahead_ms.to_string()).expect("a file");
    std::fs::rename(part, file).expect("a rename");
}

/// How many ms a clock is ahead that strikes the hour so many ms from now.
fn before_the_hour(ms: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    (HOUR_MS - now % HOUR_MS) - ms
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_for_days_silences_no_schedule_and_holds_no_event_for_days() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = folder.path().join("clock");
    set(&clock, before_the_hour(HOUR_MS / 2));
    let (bytes, beside) = component("consumer");
    let manifest = format!(
        "[[schedule]]\nname = \"hourly\"\ncron = \"0 * * * *\"\ntype = \"test.tick\"\n\
         data = '[{{\"do\": \"count\", \"key\": \"ticks\"}}]'\n{}",
        beside.expect("a manifest").replace("attempts = 3", "attempts = 100")
    );
    let mut host = Host::builder()
        .file("consumer.wasm", bytes)
        .file("consumer.toml", manifest.as_str())
        .environment("HOTDOCK_CLOCK", &clock)
        .start()
        .await;
    // Ahead from the start on, so that nothing doubts it; an event is held, with a due time.
    set(&clock, before_the_hour(HOUR_MS / 2) + 3 * DAY_MS);
    assert!(host.stop().await.success());
    host.start().await;
    until_value(&host, "counts", "ticks", "1").await;
    let steps = json!([{"do": "fail", "times": 90}, {"do": "count", "key": "held"}]);
    publish(&host, json!([event("k", steps)])).await;
    eventually("it is held", async || {
        let path = host.admin_url("/v1/subscriptions/consumer/test.%3E");
        let reply = host.client.try_request(http::Method::GET, &path, "").await.ok()?;
        (reply.json()["held"] == 1).then_some(())
    })
    .await;

    set(&clock, before_the_hour(1_500));
    until_value(&host, "counts", "ticks", "2").await;
    until_value(&host, "counts", "held", "1").await;
    assert!(host.log().contains("it ticked in the future"), "{}", host.log());
}
