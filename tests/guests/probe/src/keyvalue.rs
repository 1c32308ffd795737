//! `/kv?op=&bucket=&key=&value=`: one call to `wasi:keyvalue`, answered as JSON.
//!
//! ```text
//! get          {"value": text or null}
//! set, delete  {}
//! exists       {"exists": bool}
//! list         {"keys": [key, …]}, following the cursor to the end
//! increment    {"value": sum}; `value` is the delta, 1 if missing
//! cas          {"current": text or null, "swapped": bool}; swaps only if the current value is
//!              `expect`, or whatever it is without `expect`
//! get-many     {"values": [[key, text] or null, …]}
//! set-many, delete-many  {}
//! ```
//!
//! The default bucket is `default`. Keys and values of `-many` are separated by commas. An error is
//! answered 500 with `{"error": text}`.

use crate::answer;
use crate::bindings::{atomics, batch, store};
use crate::call::Call;
use serde_json::{Value, json};
use store::{Bucket, Error};
use wasip2::http::types::ResponseOutparam;

pub fn kv(call: &Call, outparam: ResponseOutparam) {
    answer::json(outparam, run(call));
}

/// A decimal number; zero if the key is missing.
pub fn number(bucket: &Bucket, key: &str) -> Result<i64, Error> {
    let Some(value) = bucket.get(key)? else {
        return Ok(0);
    };
    let text = String::from_utf8_lossy(&value);
    text.parse().map_err(|_| Error::Other(format!("{key} is no number: {text}")))
}

pub fn set_number(bucket: &Bucket, key: &str, number: i64) -> Result<(), Error> {
    bucket.set(key, number.to_string().as_bytes())
}

/// All keys of the bucket.
pub fn keys(bucket: &Bucket) -> Result<Vec<String>, Error> {
    let mut page = bucket.list_keys(None)?;
    let mut keys = page.keys;
    while let Some(cursor) = page.cursor.take() {
        page = bucket.list_keys(Some(&cursor))?;
        keys.append(&mut page.keys);
    }
    Ok(keys)
}

fn run(call: &Call) -> Result<Value, Error> {
    let bucket = store::open(call.get("bucket").unwrap_or("default"))?;
    let (key, value) = (call.text("key"), call.text("value"));
    let (keys_given, values_given) = (call.list("key"), call.list("value"));
    Ok(match call.text("op") {
        "get" => json!({ "value": bucket.get(key)?.map(text) }),
        "set" => done(bucket.set(key, value.as_bytes())?),
        "delete" => done(bucket.delete(key)?),
        "exists" => json!({ "exists": bucket.exists(key)? }),
        "list" => json!({ "keys": keys(&bucket)? }),
        "increment" => {
            json!({ "value": atomics::increment(&bucket, key, call.number("value", 1))? })
        }
        "cas" => compare_and_swap(&bucket, key, call.get("expect"), value)?,
        "get-many" => {
            let values = batch::get_many(&bucket, &keys_given)?;
            let pairs = values.into_iter().map(|pair| pair.map(|(key, value)| (key, text(value))));
            json!({ "values": pairs.collect::<Vec<_>>() })
        }
        "set-many" => {
            let values = values_given.into_iter().map(String::into_bytes);
            let pairs: Vec<_> = keys_given.into_iter().zip(values).collect();
            done(batch::set_many(&bucket, &pairs)?)
        }
        "delete-many" => done(batch::delete_many(&bucket, &keys_given)?),
        unknown => return Err(Error::Other(format!("no such op: {unknown}"))),
    })
}

fn compare_and_swap(
    bucket: &Bucket,
    key: &str,
    expected: Option<&str>,
    value: &str,
) -> Result<Value, Error> {
    let cas = atomics::Cas::new(bucket, key)?;
    let current = cas.current()?.map(text);
    let as_expected = expected.is_none() || expected == current.as_deref();
    let swapped = as_expected
        && match atomics::swap(cas, value.as_bytes()) {
            Ok(()) => true,
            Err(atomics::CasError::CasFailed(_)) => false,
            Err(atomics::CasError::StoreError(error)) => return Err(error),
        };
    Ok(json!({ "current": current, "swapped": swapped }))
}

fn done((): ()) -> Value {
    json!({})
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
