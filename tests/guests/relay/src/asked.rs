//! What a request has it call.

use hotdock_sdk::http::{Request, Response, json};
use hotdock_sdk::kv::Bucket;
use hotdock_sdk::problem::Problem;
use hotdock_sdk::{params, sql};
use serde::{Deserialize, Serialize};
use serde_json::json as value;

use crate::bindings::test::calls::work::Failure;
use crate::bindings::test::calls::{deep, values as far, work};
use crate::matrix;

type Answer = Result<Response, Problem>;

/// A parameter, or nothing.
fn text(request: &Request, name: &str) -> Result<String, Problem> {
    Ok(request.query().get(name)?.unwrap_or_default().into_owned())
}

fn number(request: &Request, name: &str) -> Result<u32, Problem> {
    let number = request.query().integer(name, &(0..=i64::from(u32::MAX)))?;
    Ok(number.map_or(0, |number| u32::try_from(number).expect("it is in the range")))
}

/// How often a call is made: once, where that is not said.
fn times(request: &Request) -> Result<i64, Problem> {
    Ok(request.query().integer("times", &(0..=10_000))?.unwrap_or(1))
}

/// `{"ok": …}` or `{"error": …}`
fn told<T: Serialize>(result: Result<T, String>) -> Answer {
    match result {
        Ok(ok) => json(&value!({ "ok": ok })),
        Err(error) => json(&value!({ "error": error })),
    }
}

pub fn add(request: &Request) -> Answer {
    let (one, other) = (number(request, "one")?, number(request, "other")?);
    let mut sum = 0;
    for _ in 0..times(request)? {
        sum = work::add(one, other);
    }
    json(&sum)
}

pub fn values(_: &Request) -> Answer {
    json(&matrix::differences())
}

pub fn bytes(request: &Request) -> Answer {
    let length = number(request, "length")? as usize;
    let sent: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
    let mut back = Vec::new();
    for _ in 0..times(request)? {
        back = far::bytes(&sent);
    }
    json(&value!({ "length": back.len(), "same": back == sent }))
}

/// Calls `count`, and notes what it came to in a row of its own.
pub fn count_and_note(key: &str, by: u32) -> Result<u32, String> {
    let counted = work::count(key, by)?;
    let row = "INSERT INTO calls (key, result) VALUES (?1, ?2)";
    sql::execute(row, &params![key, i64::from(counted)]).map_err(|error| error.to_string())?;
    Ok(counted)
}

pub fn count(request: &Request) -> Answer {
    told(count_and_note(&text(request, "key")?, number(request, "by")?))
}

pub fn contended(request: &Request) -> Answer {
    let own = Bucket::open("own")?;
    let seen: u32 = own.get_json("seen")?.unwrap_or_default();
    let counted = work::count(&text(request, "key")?, number(request, "by")?);
    own.set_json("seen", &(seen + 1))?;
    told(counted)
}

pub fn write_first(request: &Request) -> Answer {
    Bucket::open("own")?.set_json("written", &true)?;
    told(match text(request, "call")?.as_str() {
        "get" => Ok(work::get("first").to_string()),
        "count" => work::count("first", 1).map(|counted| counted.to_string()),
        "insert" => work::insert("first").map(|counted| counted.to_string()),
        _ => work::publish("first"),
    })
}

pub fn lease_first(_: &Request) -> Answer {
    sql::execute("INSERT INTO calls (key, result) VALUES ('leased', 0)", &[])?;
    told(work::count("leased", 1))
}

pub fn call_and_trap(request: &Request) -> Answer {
    let counted = work::count(&text(request, "key")?, 1);
    panic!("after {counted:?}")
}

pub fn publish(request: &Request) -> Answer {
    told(work::publish(&text(request, "text")?))
}

pub fn fail(request: &Request) -> Answer {
    told(work::fail(&text(request, "key")?))
}

pub fn commit(_: &Request) -> Answer {
    told(work::commit())
}

pub fn insert(request: &Request) -> Answer {
    told(work::insert(&text(request, "text")?))
}

pub fn get(request: &Request) -> Answer {
    let key = text(request, "key")?;
    let mut got = 0;
    for _ in 0..times(request)? {
        got = work::get(&key);
    }
    json(&got)
}

pub fn end(request: &Request) -> Answer {
    let how = text(request, "how")?;
    match text(request, "by")?.as_str() {
        "words" => told(work::end_in_words(&how)),
        "case" => told(work::end_in_a_case(&how).map_err(|failure| match failure {
            Failure::Other(code) => format!("other {code}"),
            Failure::Unavailable(words) => format!("unavailable: {words}"),
        })),
        _ => json(&work::end(&how)),
    }
}

pub fn down(request: &Request) -> Answer {
    told(deep::down(number(request, "left")?))
}

pub fn calls(_: &Request) -> Answer {
    #[derive(Deserialize)]
    struct Row {
        call: String,
    }

    let rows = "SELECT key || '=' || result AS call FROM calls ORDER BY id";
    let rows: Vec<Row> = sql::query(rows, &[])?;
    json(&rows.into_iter().map(|row| row.call).collect::<Vec<_>>())
}
