//! What a call does to this service: its store, its events, and its end.

use hotdock_sdk::events::{self, NewEvent};
use hotdock_sdk::kv::Bucket;
use hotdock_sdk::{params, sql, transaction};
use serde::Deserialize;

use crate::Callee;
use crate::bindings::exports::test::calls::work::{Failure, Guest};

const COUNTERS: &str = "counters";

#[derive(Deserialize)]
struct Counted {
    rows: u64,
}

impl Guest for Callee {
    fn add(one: u32, other: u32) -> u32 {
        one.wrapping_add(other)
    }

    fn count(key: String, by: u32) -> Result<u32, String> {
        let counters = Bucket::open(COUNTERS).map_err(words)?;
        let counted = read(&counters, &key)? + by;
        counters.set_json(&key, &counted).map_err(words)?;
        Ok(counted)
    }

    fn get(key: String) -> u32 {
        let counters = Bucket::open(COUNTERS).expect("a bucket of this name");
        read(&counters, &key).expect("a number")
    }

    fn insert(text: String) -> Result<u64, String> {
        let inserted = sql::execute("INSERT INTO rows (text) VALUES (?1)", &params![text]);
        inserted.map_err(words)?;
        let counted: Vec<Counted> =
            sql::query("SELECT count(*) AS rows FROM rows", &[]).map_err(words)?;
        Ok(counted[0].rows)
    }

    fn publish(text: String) -> Result<String, String> {
        let event = NewEvent::of("test.called").json(&text).map_err(words)?;
        events::publish(&event).map_err(words)
    }

    fn commit() -> Result<(), String> {
        transaction::commit().map_err(words)
    }

    fn fail(key: String) -> Result<u32, String> {
        let counted = Self::count(key, 1)?;
        Err(format!("as it was told to, at {counted}"))
    }

    fn end(how: String) -> u32 {
        end(&how)
    }

    fn end_in_words(how: String) -> Result<u32, String> {
        Ok(end(&how))
    }

    fn end_in_a_case(how: String) -> Result<u32, Failure> {
        if how == "other" { Err(Failure::Other(7)) } else { Ok(end(&how)) }
    }
}

fn read(counters: &Bucket, key: &str) -> Result<u32, String> {
    Ok(counters.get_json(key).map_err(words)?.unwrap_or_default())
}

fn end(how: &str) -> u32 {
    match how {
        "trap" => panic!("the callee was asked to trap"),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "wait" => {
            std::thread::sleep(std::time::Duration::from_secs(3_600));
            1
        }
        _ => 0,
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
