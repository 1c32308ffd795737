//! Does what a request asks for.

#![cfg_attr(
    not(target_family = "wasm"),
    expect(dead_code, reason = "only the entry point uses it")
)]

use hotdock_sdk::events::{self, Delivery, Failure};
use hotdock_sdk::http::{Request, json};
use hotdock_sdk::id::Id;
use hotdock_sdk::kv::{self, Bucket};
use hotdock_sdk::problem::Problem;
use http::Response;
use serde_json::json as object;

use crate::call::Call;
use crate::cart::{Cart, key};
use crate::events::{Placed, checked_out};

/// The answer to a request, whole.
pub(crate) fn answer(request: &Request) -> Result<Response<Vec<u8>>, Problem> {
    Call::of(request).and_then(run)
}

fn run(call: Call) -> Result<Response<Vec<u8>>, Problem> {
    match call {
        Call::Health => json(&object!({ "status": "ok" })),
        Call::Show { user } => json(&object!({ "cart": load(&bucket()?, user.as_ref())? })),
        Call::Add { user, product, quantity } => add(user.as_ref(), &product, quantity),
        Call::Remove { user, product } => remove(user.as_ref(), &product),
        Call::CheckOut { user } => check_out(&user),
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
        save(&carts, user, &cart)?;
    }
    success()
}

/// The cart is empty and the event is there, or neither.
fn check_out(user: &Id) -> Result<Response<Vec<u8>>, Problem> {
    let carts = bucket()?;
    let cart = load(&carts, Some(user))?;
    if cart.is_empty() {
        return Err(Problem::conflict("the cart is empty"));
    }
    let checkout_id = events::publish(&checked_out(user, &cart)?)?;
    carts.delete(&key(Some(user)))?;
    json(&object!({ "message": "success", "checkout_id": checkout_id }))
}

/// An order was placed: what was ordered need not be in the cart any more.
pub(crate) fn ordered(_: &Delivery, placed: &Placed) -> Result<(), Failure> {
    let (carts, user) = (bucket()?, Some(&placed.user_id));
    let mut cart = load(&carts, user)?;
    if placed.take_from(&mut cart) {
        save(&carts, user, &cart)?;
    }
    Ok(())
}

fn success() -> Result<Response<Vec<u8>>, Problem> {
    json(&object!({ "message": "success" }))
}

/// One key per user, so that different users' requests never conflict.
fn bucket() -> Result<Bucket, kv::Error> {
    Bucket::open("carts")
}

fn load(carts: &Bucket, user: Option<&Id>) -> Result<Cart, kv::Error> {
    Ok(carts.get_json(&key(user))?.unwrap_or_default())
}

fn save(carts: &Bucket, user: Option<&Id>, cart: &Cart) -> Result<(), kv::Error> {
    if cart.is_empty() { carts.delete(&key(user)) } else { carts.set_json(&key(user), cart) }
}
