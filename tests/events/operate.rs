//! An operator sees what becomes of events, and decides about those that wait.

mod command_line;
mod conditions;
mod dead_letters;
mod gap;
mod lists;
mod replays;
mod waiting;

use http::Method;
use serde_json::{Value, json};

use super::event;
use crate::deploy::operator::ask;
use crate::harness::{Host, Reply, component, eventually};

/// `consumer/test.>` in a path.
const SUBSCRIPTION: &str = "/v1/subscriptions/consumer/test.%3E";

/// The consumer with this manifest alone.
async fn consumer_as(manifest: &str) -> Host {
    let (bytes, _) = component("consumer");
    let builder = Host::builder().file("consumer.wasm", bytes);
    builder.file("consumer.toml", manifest).start().await
}

async fn get(host: &Host, path: &str) -> Reply {
    ask(host, Method::GET, path, Value::Null).await
}

/// Asks for a change, which is made.
async fn post(host: &Host, path: &str, body: Value) -> Reply {
    let reply = ask(host, Method::POST, path, body).await;
    assert!(reply.status.is_success(), "{path}: {reply:?}");
    reply
}

async fn delete(host: &Host, path: &str) -> Reply {
    ask(host, Method::DELETE, path, Value::Null).await
}

/// Asserts problem details with this status, which say this.
fn refused(reply: &Reply, status: u16, says: &str) {
    assert_eq!(reply.status.as_u16(), status, "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/problem+json", "{reply:?}");
    let problem = reply.json();
    assert_eq!(problem["status"], status);
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains(says), "{detail}");
}

/// Waits until a member of a subscription's status has the value.
async fn until(host: &Host, subscription: &str, member: &str, value: Value) {
    eventually(&format!("{member} of {subscription} is {value}"), async || {
        let status = get(host, subscription).await.json();
        (status[member] == value).then_some(())
    })
    .await;
}

/// All pages of a list: what `entry` gives of each of its entries.
async fn pages(host: &Host, path: &str, list: &str, limit: usize, entry: &str) -> Vec<Value> {
    let mut found = Vec::new();
    // Events are listed from the newest on where no beginning is given.
    let mut after = if list == "events" { "&after=0".to_owned() } else { String::new() };
    loop {
        let page = get(host, &format!("{path}limit={limit}{after}")).await.json();
        let entries = page[list].as_array().unwrap_or_else(|| panic!("{page}"));
        assert!(entries.len() <= limit, "{page}");
        found.extend(entries.iter().map(|each| each[entry].clone()));
        // A list of events goes on, but not now.
        match &page["next"] {
            Value::Number(next) if page["last"] != page["next"] => after = format!("&after={next}"),
            Value::String(next) => {
                after = format!("&after={}", next.replace('>', "%3E"));
            }
            _ => return found,
        }
    }
}

/// An event that is given up at once.
fn hopeless(key: &str) -> Value {
    event(key, json!([{"do": "reject", "reason": "hopeless"}]))
}

/// Where the metrics say whether a subscription of the consumer's is in a state.
fn state_series(subscription: &str, state: &str) -> String {
    format!(
        "hotdock_subscription_state{{service=\"consumer\",subscription=\"{subscription}\",\
         state=\"{state}\"}}"
    )
}
