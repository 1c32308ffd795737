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
//! ```

wit_bindgen::generate!({
    inline: "
        package consumer3:consumer3;
        world consumer3 {
            import hotdock:events/publisher@0.1.0;
            export hotdock:events/async-handler@0.1.0;
        }
    ",
    path: "../../../wit/hotdock-events",
    world: "consumer3:consumer3/consumer3",
    generate_all,
});

use exports::hotdock::events::async_handler::Guest;
use hotdock::events::publisher::{self, NewEvent};
use hotdock::events::types::{Delivery, Failure};
use wasip3::clocks::monotonic_clock;

const PAUSE_NS: u64 = 10_000_000;

struct Consumer;

export!(Consumer);

impl Guest for Consumer {
    async fn handle(delivery: Delivery) -> Result<(), Failure> {
        match delivery.event.type_.as_str() {
            "test3.wait" => monotonic_clock::wait_for(PAUSE_NS).await,
            "test3.retry" if delivery.attempt < 3 => {
                return Err(Failure::Retry("not yet".to_owned()));
            }
            "test3.retry" => {}
            "test3.trap" => panic!("the consumer was asked to trap"),
            "test3.late" => {
                wasip3::spawn_local(async {
                    monotonic_clock::wait_for(PAUSE_NS).await;
                    let told = publisher::publish(&done("late"));
                    eprintln!("late: {told:?}");
                });
            }
            other => return Err(Failure::Reject(format!("{other} is not known"))),
        }
        let told = publisher::publish(&done(&delivery.event.type_));
        told.map(|_| ()).map_err(|error| Failure::Retry(format!("{error:?}")))
    }
}

fn done(what: &str) -> NewEvent {
    let steps = serde_json::json!([{ "do": "count", "key": what }]);
    NewEvent {
        id: None,
        type_: "test.done".to_owned(),
        subject: None,
        time: None,
        data_content_type: None,
        data_schema: None,
        partition_key: None,
        extensions: Vec::new(),
        data: Some(steps.to_string().into_bytes()),
    }
}
