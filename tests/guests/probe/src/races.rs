//! Read-modify-write without any care for others: what a store must make serializable.
//!
//! ```text
//! /transfer?from=&to=&amount=  moves between two numbers of bucket `accounts`, below zero never;
//!                              {"moved": bool, "from": balance, "to": balance}
//! /increment?key=&spin_us=&sleep_ms=
//!                              get, compute and wait for so long, set (bucket `default`); the new value
//! /skew?mine=&other=           bucket `skew`: if both together are 1 or more, decrements mine;
//!                              answers whether it did
//! /book?name=&seats=           bucket `seats`: if it has fewer keys than seats, sets name; answers
//!                              whether it did
//! ```

use crate::answer;
use crate::bindings::store::{self, Error};
use crate::call::Call;
use crate::keyvalue::{keys, number, set_number};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use wasip2::http::types::ResponseOutparam;

pub fn transfer(call: &Call, outparam: ResponseOutparam) {
    let run = || -> Result<Value, Error> {
        let accounts = store::open("accounts")?;
        let (from, to, amount) = (call.text("from"), call.text("to"), call.number("amount", 1));
        let (source, target) = (number(&accounts, from)?, number(&accounts, to)?);
        if source < amount || from == to {
            return Ok(json!({ "moved": false, "from": source, "to": target }));
        }
        set_number(&accounts, from, source - amount)?;
        set_number(&accounts, to, target + amount)?;
        Ok(json!({ "moved": true, "from": source - amount, "to": target + amount }))
    };
    answer::json(outparam, run());
}

pub fn increment(call: &Call, outparam: ResponseOutparam) {
    let run = || -> Result<Value, Error> {
        let bucket = store::open("default")?;
        let value = number(&bucket, call.text("key"))? + 1;
        compute_for(Duration::from_micros(call.number("spin_us", 0)));
        std::thread::sleep(Duration::from_millis(call.number("sleep_ms", 0)));
        set_number(&bucket, call.text("key"), value)?;
        Ok(json!(value))
    };
    answer::json(outparam, run());
}

pub fn skew(call: &Call, outparam: ResponseOutparam) {
    let run = || -> Result<Value, Error> {
        let bucket = store::open("skew")?;
        let mine = number(&bucket, call.text("mine"))?;
        let other = number(&bucket, call.text("other"))?;
        let enough = mine + other >= 1;
        if enough {
            set_number(&bucket, call.text("mine"), mine - 1)?;
        }
        Ok(json!(enough))
    };
    answer::json(outparam, run());
}

pub fn book(call: &Call, outparam: ResponseOutparam) {
    let run = || -> Result<Value, Error> {
        let bucket = store::open("seats")?;
        let free = keys(&bucket)?.len() < call.number("seats", 1);
        if free {
            bucket.set(call.text("name"), b"booked")?;
        }
        Ok(json!(free))
    };
    answer::json(outparam, run());
}

/// Keeps the processor busy, unlike a sleep.
pub fn compute_for(duration: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < duration {
        std::hint::black_box(begin);
    }
}
