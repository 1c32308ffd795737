//! Requests.

use crate::publish::{self, Told};
use crate::steps;
use crate::work::compute;
use hotdock_sdk::http::{Request, Response, json};
use hotdock_sdk::kv::Bucket;
use hotdock_sdk::problem::Problem;
use hotdock_sdk::{sql, transaction};
use serde::Deserialize;

hotdock_sdk::http_handler! {
    "/consumer/publish" => { POST: publish },
    "/consumer/value" => { GET: value },
    "/consumer/end" => { GET: end, POST: end },
    "/consumer/careless" => { POST: careless },
    "/consumer/effects" => { GET: effects },
}

fn publish(request: &Request) -> Result<Response, Problem> {
    let at_once = request.query().optional("at-once")?.unwrap_or(false);
    let told: Vec<Told> = request.json()?;
    // As it is told, not as a client should see it.
    match publish::publish(told, at_once) {
        Ok(ids) => json(&ids),
        Err(error) => Err(Problem::conflict(error.to_string())),
    }
}

#[derive(Deserialize)]
struct Value {
    bucket: String,
    key: String,
}

fn value(request: &Request) -> Result<Response, Problem> {
    let Value { bucket, key } = request.query().parse()?;
    let value = Bucket::open(&bucket)?.get(&key)?;
    value.map(Response::new).ok_or_else(|| Problem::not_found("no value"))
}

#[derive(Deserialize)]
struct End {
    #[serde(default)]
    rounds: u64,
    key: Option<String>,
    #[serde(default)]
    commit: bool,
    #[serde(default)]
    then: String,
}

fn end(request: &Request) -> Result<Response, Problem> {
    let End { rounds, key, commit, then } = request.query().parse()?;
    compute(rounds);
    if let Some(key) = key {
        Bucket::open("end")?.set(&key, b"set")?;
    }
    if commit {
        // As it is told, not as a client should see it.
        transaction::commit().map_err(|error| Problem::conflict(error.to_string()))?;
    }
    steps::end(&then);
    Ok(Response::new(b"ended\n".to_vec()))
}

fn careless(request: &Request) -> Result<Response, Problem> {
    // It writes before it knows whether the body is whole, and doesn't care.
    Bucket::open("careless")?.set(&request.query().required::<String>("key")?, b"written")?;
    let length = request.body().map_or(0, <[u8]>::len);
    json(&length)
}

fn effects() -> Result<Response, Problem> {
    let rows = sql::rows("SELECT id || ' ' || text FROM effects ORDER BY rowid", &[])?;
    let texts: Vec<String> = rows.values.iter().map(|row| format!("{row:?}")).collect();
    json(&texts)
}
