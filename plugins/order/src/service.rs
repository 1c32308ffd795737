//! Does what a request asks for.

#![cfg_attr(
    not(target_family = "wasm"),
    expect(dead_code, reason = "only the entry point uses it")
)]

use hotdock_sdk::events::{self, Delivery, Failure};
use hotdock_sdk::http::{Request, json};
use hotdock_sdk::id::Id;
use hotdock_sdk::problem::Problem;
use hotdock_sdk::{params, sql};
use http::Response;
use serde_json::json as object;

use crate::call::Call;
use crate::events::{CheckedOut, Item, Placed};
use crate::order::{Order, Page};

const INSERT: &str = "INSERT INTO orders (user_id, product_id, quantity, checkout_id, created_at)
    VALUES (?1, ?2, ?3, ?4, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))";

const SELECT: &str = "SELECT id, user_id, product_id, quantity, checkout_id, created_at
    FROM orders WHERE id = ?1";

/// The cast is the index's: it makes 7 and '7' one user.
const SELECT_PAGE: &str = "SELECT id, user_id, product_id, quantity, checkout_id, created_at
    FROM orders WHERE CAST(user_id AS TEXT) = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";

/// The answer to a request, whole.
pub(crate) fn answer(request: &Request) -> Result<Response<Vec<u8>>, Problem> {
    Call::of(request).and_then(run)
}

fn run(call: Call) -> Result<Response<Vec<u8>>, Problem> {
    match call {
        Call::Health => json(&object!({ "status": "ok" })),
        Call::List { user, limit, before } => list(&user, limit, before),
        Call::Show { id } => show(id),
        Call::Place { user, product, quantity } => {
            let item = Item { product_id: product, quantity };
            let placed = place(&user, &item, None)?;
            events::publish(&placed.event()?)?;
            json(&object!({ "message": "success", "order_id": placed.order_id }))
        }
    }
}

/// A checkout becomes an order for each of its items.
pub(crate) fn checked_out(delivery: &Delivery, checked_out: &CheckedOut) -> Result<(), Failure> {
    checked_out.check()?;
    let checkout_id = &delivery.event.id;
    let mut published = Vec::with_capacity(checked_out.items.len());
    for item in &checked_out.items {
        published.push(place(&checked_out.user_id, item, Some(checkout_id))?.event()?);
    }
    events::publish_all(&published)?;
    Ok(())
}

fn place<'a>(
    user: &'a Id,
    item: &'a Item,
    checkout_id: Option<&'a str>,
) -> Result<Placed<'a>, sql::Error> {
    let Item { product_id, quantity } = item;
    let row = params![user.clone(), product_id.clone(), *quantity, checkout_id];
    let order_id = sql::execute(INSERT, &row)?.last_insert_id;
    Ok(Placed { order_id, user_id: user, product_id, quantity: *quantity, checkout_id })
}

fn list(user: &Id, limit: i64, before: i64) -> Result<Response<Vec<u8>>, Problem> {
    // One more than asked for: it says whether another page follows.
    let orders = sql::query(SELECT_PAGE, &params![user.to_string(), before, limit + 1])?;
    let limit = usize::try_from(limit).expect("a page's limit is small and positive");
    json(&Page::of(orders, limit))
}

fn show(id: i64) -> Result<Response<Vec<u8>>, Problem> {
    let orders: Vec<Order> = sql::query(SELECT, &params![id])?;
    match orders.first() {
        Some(order) => json(order),
        None => Err(Problem::not_found(format!("there is no order {id}"))),
    }
}
