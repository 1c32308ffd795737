//! Does what a request asks for.

#![cfg_attr(
    not(target_family = "wasm"),
    expect(dead_code, reason = "only the entry point uses it")
)]

use hotdock_sdk::http::json;
use hotdock_sdk::id::Id;
use hotdock_sdk::kv::Bucket;
use hotdock_sdk::problem::Problem;
use http::{Request, Response};
use serde_json::json as object;

use crate::call::Call;
use crate::cart::{Cart, key};

/// The answer to a request, whole.
pub(crate) fn answer(request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
    Call::of(request).and_then(run).unwrap_or_else(Problem::into_response)
}

fn run(call: Call) -> Result<Response<Vec<u8>>, Problem> {
    match call {
        Call::Health => json(&object!({ "status": "ok" })),
        Call::Show { user } => json(&object!({ "cart": load(&bucket()?, user.as_ref())? })),
        Call::Add { user, product, quantity } => add(user.as_ref(), &product, quantity),
        Call::Remove { user, product } => remove(user.as_ref(), &product),
    }
}

/// Read, modify, write: if another request was first, the host runs this again.
fn add(user: Option<&Id>, product: &Id, quantity: i64) -> Result<Response<Vec<u8>>, Problem> {
    let carts = bucket()?;
    let mut cart = load(&carts, user)?;
    cart.add(product, quantity)?;
    carts.set_json(&key(user), &cart)?;
    success()
}

fn remove(user: Option<&Id>, product: &Id) -> Result<Response<Vec<u8>>, Problem> {
    let carts = bucket()?;
    let mut cart = load(&carts, user)?;
    if cart.remove(product) {
        if cart.is_empty() {
            carts.delete(&key(user))?;
        } else {
            carts.set_json(&key(user), &cart)?;
        }
    }
    success()
}

fn success() -> Result<Response<Vec<u8>>, Problem> {
    json(&object!({ "message": "success" }))
}

/// One key per user, so that different users' requests never conflict.
fn bucket() -> Result<Bucket, Problem> {
    Ok(Bucket::open("carts")?)
}

fn load(carts: &Bucket, user: Option<&Id>) -> Result<Cart, Problem> {
    Ok(carts.get_json(&key(user))?.unwrap_or_default())
}
