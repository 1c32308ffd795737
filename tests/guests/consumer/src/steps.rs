//! What an event has its handler do.

use crate::publish::{self, Told};
use crate::work::compute;
use hotdock_sdk::events::{Delivery, Failure};
use hotdock_sdk::kv::Bucket;
use hotdock_sdk::{params, sql, transaction};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use wstd::http::{Body, Client, Request};

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Step {
    Count { key: String },
    Log { key: String, text: String },
    Sql { text: String },
    Execute { sql: String },
    Seen,
    Publish { events: Vec<Told> },
    Read { bucket: Option<String>, key: String },
    Compute { rounds: u64 },
    Spin,
    Trap,
    Sleep { ms: u64 },
    Commit,
    Send { url: String },
    Fail { times: u32 },
    Retry { reason: String },
    Reject { reason: String },
}

pub fn handle(delivery: &Delivery) -> Result<(), Failure> {
    let steps: Vec<Step> = delivery.json()?;
    steps.into_iter().try_for_each(|step| run(step, delivery))
}

fn run(step: Step, delivery: &Delivery) -> Result<(), Failure> {
    match step {
        Step::Count { key } => {
            let counts = Bucket::open("counts")?;
            let count: u64 = counts.get_json(&key)?.unwrap_or_default();
            counts.set_json(&key, &(count + 1))?;
        }
        Step::Log { key, text } => {
            let logs = Bucket::open("logs")?;
            let mut log = logs.get(&key)?.unwrap_or_default();
            log.extend(format!("{text} ").bytes());
            logs.set(&key, &log)?;
        }
        Step::Sql { text } => {
            sql::execute(
                "INSERT INTO effects VALUES (?1, ?2)",
                &params![delivery.event.id.clone(), text],
            )?;
        }
        Step::Execute { sql } => _ = sql::execute(&sql, &[])?,
        Step::Seen => seen(delivery)?,
        Step::Publish { events } => _ = publish::publish(events, false)?,
        Step::Read { bucket, key } => {
            _ = Bucket::open(bucket.as_deref().unwrap_or("counts"))?.get(&key)?;
        }
        Step::Compute { rounds } => _ = compute(rounds),
        Step::Spin => end("spin"),
        Step::Trap => end("trap"),
        Step::Sleep { ms } => std::thread::sleep(Duration::from_millis(ms)),
        Step::Commit => {
            let told = format!("{:?}", transaction::commit());
            Bucket::open("seen")?.set("commit", told.as_bytes())?;
        }
        Step::Send { url } => send(&url)?,
        Step::Fail { times } if delivery.attempt <= times => {
            return Err(Failure::Retry(format!("attempt {} fails", delivery.attempt)));
        }
        Step::Fail { .. } => {}
        Step::Retry { reason } => return Err(Failure::Retry(reason)),
        Step::Reject { reason } => return Err(Failure::Reject(reason)),
    }
    Ok(())
}

/// Ends the invocation so, before it has an answer, or not at all.
pub fn end(how: &str) {
    match how {
        "trap" => panic!("the consumer was asked to trap"),
        "spin" => loop {
            std::hint::black_box(());
        },
        "wait" => std::thread::sleep(Duration::from_hours(1)),
        _ => {}
    }
}

fn seen(delivery: &Delivery) -> Result<(), Failure> {
    let Delivery { event, subscription, position, attempt } = delivery;
    let extensions: Vec<String> = event
        .extensions
        .iter()
        .map(|extension| format!("{} {:?}", extension.name, extension.value))
        .collect();
    let seen = json!({
        "id": event.id,
        "source": event.source,
        "type": event.type_,
        "subject": event.subject,
        "time": event.time,
        "datacontenttype": event.data_content_type,
        "dataschema": event.data_schema,
        "key": event.partition_key,
        "extensions": extensions,
        "subscription": subscription,
        "position": position,
        "attempt": attempt,
    });
    Ok(Bucket::open("seen")?.set_json(&event.id, &seen)?)
}

fn send(url: &str) -> Result<(), Failure> {
    wstd::runtime::block_on(async {
        let request = Request::post(url).body(Body::empty());
        let sent = Client::new().send(request.expect("a good request")).await;
        sent.map(|_| ()).map_err(|error| Failure::Retry(format!("{error:?}")))
    })
}
