//! `hotdock:transaction`.
//!
//! ```text
//! /commit?key=&then=trap|answer  sets the key, commits, sets the key with `2` after it, then traps
//!                                or answers {}
//! /rollback?key=                 sets the key, rolls back, answers {}
//! ```
//!
//! The buckets are `commit` and `rollback`, the value is `set`.

use crate::answer;
use crate::bindings::store::{self, Error};
use crate::bindings::transaction;
use crate::call::Call;
use crate::endings;
use serde_json::{Value, json};
use wasip2::http::types::ResponseOutparam;

pub fn commit(call: &Call, outparam: ResponseOutparam) {
    let run = || -> Result<Value, Error> {
        let key = call.text("key");
        let bucket = store::open("commit")?;
        bucket.set(key, b"set")?;
        transaction::commit().map_err(other)?;
        bucket.set(&format!("{key}2"), b"set")?;
        Ok(json!({}))
    };
    let result = run();
    if call.text("then") == "trap" && result.is_ok() {
        endings::trap();
    }
    answer::json(outparam, result);
}

pub fn rollback(call: &Call, outparam: ResponseOutparam) {
    let run = || -> Result<Value, Error> {
        store::open("rollback")?.set(call.text("key"), b"set")?;
        transaction::rollback().map_err(other)?;
        Ok(json!({}))
    };
    answer::json(outparam, run());
}

fn other(error: transaction::Error) -> Error {
    Error::Other(format!("{error:?}"))
}
