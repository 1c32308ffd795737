//! `wasi:keyvalue`, in bucket `default`. An error is answered 500 with `{"error": text}`.

use crate::answer;
use crate::bindings::store::{self, Error};
use crate::call::Call;
use serde_json::{Value, json};
use wasip3::http::types::Response;

pub fn kv(call: &Call) -> Response {
    let run = || -> Result<Value, Error> {
        let bucket = store::open("default")?;
        let key = call.text("key");
        match call.text("op") {
            "get" => {
                let value = bucket.get(key)?;
                let text = value.map(|value| String::from_utf8_lossy(&value).into_owned());
                Ok(json!({ "value": text }))
            }
            "set" => {
                bucket.set(key, call.text("value").as_bytes())?;
                Ok(json!({}))
            }
            unknown => Err(Error::Other(format!("no such op: {unknown}"))),
        }
    };
    answer::json(run())
}

pub fn increment(call: &Call) -> Response {
    let run = || -> Result<Value, Error> {
        let bucket = store::open("default")?;
        let key = call.text("key");
        let text = bucket.get(key)?.unwrap_or_else(|| b"0".to_vec());
        let text = String::from_utf8_lossy(&text).into_owned();
        let value: i64 =
            text.parse().map_err(|_| Error::Other(format!("{key} is no number: {text}")))?;
        bucket.set(key, (value + 1).to_string().as_bytes())?;
        Ok(json!(value + 1))
    };
    answer::json(run())
}
