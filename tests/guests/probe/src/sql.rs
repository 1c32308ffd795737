//! `hotdock:sql`.
//!
//! ```text
//! /sql?mode=query|execute&sql=   the body is a JSON array of parameters, or empty
//!                                query: {"columns": [name, …], "rows": [[value, …], …]}
//!                                execute: {"changes": n, "last_insert_id": n}
//! /sql-script                    the body is [[mode, sql, [parameter, …]], …]; they are run in this
//!                                order, whatever each comes to: [{"ms", "error"} or {"ms", "rows"} or
//!                                {"ms", "changes"}, …], with its time and the number of its rows
//! /sql-slow?before=&ms=          computes, inserts a row into `probe`, computes again, answers {}
//! ```
//!
//! A blob is `{"blob": [byte, …]}`, both ways; `{"zeros": n}` is one of so many bytes, and
//! `{"repeat": text, "times": n}` a text, as parameters.

use crate::answer;
use crate::bindings::sql::{self as database, Error};
use crate::call::Call;
use crate::races::compute_for;
use crate::streams;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

pub fn sql(call: &Call, request: &IncomingRequest, outparam: ResponseOutparam) {
    let run = || -> Result<Value, Error> {
        let parameters = parameters(request)?;
        if call.text("mode") == "execute" {
            let execution = database::execute(call.text("sql"), &parameters)?;
            return Ok(
                json!({ "changes": execution.changes, "last_insert_id": execution.last_insert_id }),
            );
        }
        let rows = database::query(call.text("sql"), &parameters)?;
        let values = rows.values.into_iter().map(|row| row.into_iter().map(to_json).collect());
        Ok(json!({ "columns": rows.columns, "rows": values.collect::<Vec<Value>>() }))
    };
    answer::json(outparam, run());
}

pub fn sql_script(request: &IncomingRequest, outparam: ResponseOutparam) {
    let run = || -> Result<Value, Error> {
        let script: Vec<(String, String, Vec<Value>)> =
            serde_json::from_slice(&body(request)?).map_err(unreadable)?;
        let steps = script.into_iter().map(|(mode, sql, parameters)| {
            let parameters: Vec<_> = parameters.into_iter().map(from_json).collect();
            let began = Instant::now();
            let done = match mode.as_str() {
                "execute" => {
                    database::execute(&sql, &parameters).map(|done| ("changes", done.changes))
                }
                _ => database::query(&sql, &parameters)
                    .map(|rows| ("rows", rows.values.len() as u64)),
            };
            let ms = began.elapsed().as_secs_f64() * 1e3;
            match done {
                Ok((what, count)) => json!({ "ms": ms, what: count }),
                Err(error) => json!({ "ms": ms, "error": format!("{error:?}") }),
            }
        });
        Ok(steps.collect())
    };
    answer::json(outparam, run());
}

pub fn sql_slow(call: &Call, outparam: ResponseOutparam) {
    compute_for(Duration::from_millis(call.number("before", 0)));
    let inserted = database::execute("INSERT INTO probe (x) VALUES (1)", &[]);
    compute_for(Duration::from_millis(call.number("ms", 0)));
    answer::json(outparam, inserted.map(|_| json!({})));
}

fn parameters(request: &IncomingRequest) -> Result<Vec<database::Value>, Error> {
    let body = body(request)?;
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let values: Vec<Value> = serde_json::from_slice(&body).map_err(unreadable)?;
    Ok(values.into_iter().map(from_json).collect())
}

fn body(request: &IncomingRequest) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    let read = streams::read(request, |chunk| {
        body.extend_from_slice(chunk);
        Ok(())
    });
    read.map_err(|_| Error::Parameters("the body broke off".to_owned()))?;
    Ok(body)
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::Parameters(error.to_string())
}

fn from_json(value: Value) -> database::Value {
    match value {
        Value::Null => database::Value::Null,
        Value::Bool(truth) => database::Value::Integer(truth.into()),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => database::Value::Integer(integer),
            None => database::Value::Real(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => database::Value::Text(text),
        other => match (other["zeros"].as_u64(), other["repeat"].as_str()) {
            (Some(count), _) => database::Value::Blob(vec![0; size(count)]),
            (_, Some(text)) => {
                let times = other["times"].as_u64().unwrap_or_default();
                database::Value::Text(text.repeat(size(times)))
            }
            _ => database::Value::Blob(blob(&other)),
        },
    }
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or_default()
}

fn blob(value: &Value) -> Vec<u8> {
    let bytes = value["blob"].as_array().map(Vec::as_slice).unwrap_or_default();
    bytes.iter().filter_map(|byte| byte.as_u64()?.try_into().ok()).collect()
}

fn to_json(value: database::Value) -> Value {
    match value {
        database::Value::Null => Value::Null,
        database::Value::Integer(integer) => integer.into(),
        database::Value::Real(real) => real.into(),
        database::Value::Text(text) => text.into(),
        database::Value::Blob(bytes) => json!({ "blob": bytes }),
    }
}
