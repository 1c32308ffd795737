//! Requests.

use crate::publish::{self, Told};
use crate::steps;
use crate::work::compute;
use hotdock_sdk::http::{Request, json};
use hotdock_sdk::kv::Bucket;
use hotdock_sdk::problem::Problem;
use hotdock_sdk::{sql, transaction};
use http::Response;

pub fn answer(request: &Request) -> Result<Response<Vec<u8>>, Problem> {
    let query = request.query();
    let text = |name| Ok::<_, Problem>(query.get(name)?.unwrap_or_default());
    match request.path() {
        "/consumer/publish" => {
            let told: Vec<Told> = serde_json::from_slice(request.body()?)
                .map_err(|error| Problem::malformed(error.to_string()))?;
            let at_once = text("at-once")? == "true";
            // As it is told, not as a client should see it.
            match publish::publish(told, at_once) {
                Ok(ids) => json(&ids),
                Err(error) => Err(Problem::conflict(error.to_string())),
            }
        }
        "/consumer/value" => {
            let value = Bucket::open(text("bucket")?)?.get(text("key")?)?;
            value.map(Response::new).ok_or_else(|| Problem::not_found("no value"))
        }
        "/consumer/end" => {
            let rounds = query.integer("rounds", &(0..=i64::MAX))?.unwrap_or_default();
            compute(rounds.unsigned_abs());
            if let Some(key) = query.get("key")? {
                Bucket::open("end")?.set(key, b"set")?;
            }
            if text("commit")? == "true" {
                // As it is told, not as a client should see it.
                transaction::commit().map_err(|error| Problem::conflict(error.to_string()))?;
            }
            steps::end(text("then")?);
            Ok(Response::new(b"ended\n".to_vec()))
        }
        "/consumer/careless" => {
            // It writes before it knows whether the body is whole, and doesn't care.
            Bucket::open("careless")?.set(text("key")?, b"written")?;
            let length = request.body().map_or(0, <[u8]>::len);
            json(&length)
        }
        "/consumer/effects" => {
            let rows = sql::rows("SELECT id || ' ' || text FROM effects ORDER BY rowid", &[])?;
            let texts: Vec<String> = rows.values.iter().map(|row| format!("{row:?}")).collect();
            json(&texts)
        }
        path => Err(Problem::not_found(format!("there is nothing at {path}"))),
    }
}
