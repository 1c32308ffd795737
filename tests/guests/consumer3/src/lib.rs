//! Handles events, and awaits while it does. It takes no requests.
//!
//! What is done with an event says its type; what came of it is published as `test.done`, with
//! steps for `consumer` as its data.
//!
//! ```text
//! test3.wait      waits 10 ms
//! test3.retry     asks for another attempt until the third
//! test3.trap      traps
//! test3.late      a task left behind waits until after the answer, then publishes, and prints
//!                 what it is told
//! test3.end       `{"rounds","then"}`: computes; a task left behind does then what `then` says: `trap`,
//!                 `spin`, `wait`, `compute` (as long again), or nothing
//! ```

#[path = "../../compute/src/work.rs"]
mod work;

use hotdock_sdk::events::{self, Delivery, Error, Failure, NewEvent};
use serde_json::{Value, json};
use wasip3::clocks::monotonic_clock;
use work::compute;

const PAUSE_NS: u64 = 10_000_000;

hotdock_sdk::async_event_handler! {
    "test3.wait" => wait,
    "test3.retry" => retry,
    "test3.trap" => trap,
    "test3.late" => late,
    "test3.end" => end,
}

async fn wait(delivery: Delivery, _: Value) -> Result<(), Failure> {
    monotonic_clock::wait_for(PAUSE_NS).await;
    publish_done(&delivery)
}

async fn retry(delivery: Delivery, _: Value) -> Result<(), Failure> {
    if delivery.attempt < 3 {
        return Err(Failure::Retry("not yet".to_owned()));
    }
    publish_done(&delivery)
}

async fn trap(_: Delivery, _: Value) -> Result<(), Failure> {
    panic!("the consumer was asked to trap")
}

async fn late(delivery: Delivery, _: Value) -> Result<(), Failure> {
    wasip3::spawn_local(async {
        monotonic_clock::wait_for(PAUSE_NS).await;
        let told = done("late").and_then(|done| events::publish(&done));
        eprintln!("late: {told:?}");
    });
    publish_done(&delivery)
}

async fn end(delivery: Delivery, told: Value) -> Result<(), Failure> {
    let rounds = told["rounds"].as_u64().unwrap_or_default();
    let then = told["then"].as_str().unwrap_or_default().to_owned();
    compute(rounds);
    wasip3::spawn_local(async move {
        // After the answer.
        monotonic_clock::wait_for(PAUSE_NS).await;
        match &*then {
            "trap" => panic!("the consumer was asked to trap"),
            "spin" => loop {
                std::hint::black_box(());
            },
            "wait" => monotonic_clock::wait_for(u64::MAX / 2).await,
            "compute" => _ = compute(rounds),
            _ => {}
        }
    });
    publish_done(&delivery)
}

fn publish_done(delivery: &Delivery) -> Result<(), Failure> {
    events::publish(&done(delivery.event_type())?)?;
    Ok(())
}

fn done(what: &str) -> Result<NewEvent, Error> {
    NewEvent::of("test.done").json(&json!([{ "do": "count", "key": what }]))
}
