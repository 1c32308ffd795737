//! Answers requests, and handles what others did.

use hotdock_sdk::events::{self, Delivery, Failure};
use hotdock_sdk::http::{Request, Response, json};
use hotdock_sdk::problem::Problem;
use hotdock_sdk::{params, routes, sql};
use serde_json::json as object;
use shop::Id;

use crate::call::{List, Place};
use crate::events::{CheckedOut, Item, Placed};
use crate::order::{Order, OrderId, Page};

const INSERT: &str = "INSERT INTO orders (user_id, product_id, quantity, checkout_id, created_at)
    VALUES (?1, ?2, ?3, ?4, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))";

const SELECT: &str = "SELECT id, user_id, product_id, quantity, checkout_id, created_at
    FROM orders WHERE id = ?1";

/// The cast is the index's: it makes 7 and '7' one user.
const SELECT_PAGE: &str = "SELECT id, user_id, product_id, quantity, checkout_id, created_at
    FROM orders WHERE CAST(user_id AS TEXT) = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";

pub(crate) fn answer(request: &Request) -> Response {
    routes!(request, {
        "/order" => { GET: list, POST: order },
        "/order/health" => { GET: health },
        "/order/{id}" => { GET: show },
    })
}

fn health() -> Result<Response, Problem> {
    json(&object!({ "status": "ok" }))
}

fn list(request: &Request) -> Result<Response, Problem> {
    let List { user, limit, before } = List::of(request)?;
    // One more than asked for: it says whether another page follows.
    let orders = sql::query(SELECT_PAGE, &params![user.to_string(), before, limit + 1])?;
    let limit = usize::try_from(limit).expect("a page's limit is small and positive");
    json(&Page::of(orders, limit))
}

fn show(_: &Request, OrderId(id): OrderId) -> Result<Response, Problem> {
    let orders: Vec<Order> = sql::query(SELECT, &params![id])?;
    match orders.first() {
        Some(order) => json(order),
        None => Err(Problem::not_found(format!("there is no order {id}"))),
    }
}

fn order(request: &Request) -> Result<Response, Problem> {
    let Place { user, item } = Place::of(request)?;
    let placed = place(&user, &item, None)?;
    events::publish(&placed.event()?)?;
    json(&object!({ "message": "success", "order_id": placed.order_id }))
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

#[cfg(test)]
mod tests {
    use hotdock_sdk::http::Response;
    use hotdock_sdk::testing::{refusal, request};

    use super::answer;

    fn answered(method: &str, uri: &str, body: &str) -> Response {
        answer(&request(method, uri, body))
    }

    fn refused(method: &str, uri: &str, body: &str) -> (u16, Option<String>) {
        refusal(answered(method, uri, body))
    }

    #[test]
    fn bad_input_names_its_field() {
        let cases = [
            (r#"{"product_id":1,"quantity":1}"#, "user_id"),
            (r#"{"user_id":true,"product_id":1,"quantity":1}"#, "user_id"),
            (r#"{"user_id":1,"quantity":1}"#, "product_id"),
            (r#"{"user_id":1,"product_id":1.5,"quantity":1}"#, "product_id"),
            (r#"{"user_id":1,"product_id":1}"#, "quantity"),
            (r#"{"user_id":1,"product_id":1,"quantity":0}"#, "quantity"),
            (r#"{"user_id":1,"product_id":1,"quantity":1000001}"#, "quantity"),
            (r#"{"user_id":1,"product_id":1,"quantity":"1"}"#, "quantity"),
        ];
        for (body, field) in cases {
            assert_eq!(refused("POST", "/order", body), (400, Some(field.to_owned())), "{body}");
        }
        for body in ["", "{", "[]"] {
            assert_eq!(refused("POST", "/order", body), (400, None), "{body}");
        }
        let cases = [
            ("/order", "user_id"),
            ("/order?user_id=", "user_id"),
            ("/order?user_id=7&limit=501", "limit"),
            ("/order?user_id=7&limit=0", "limit"),
            ("/order?user_id=7&before=x", "before"),
        ];
        for (uri, field) in cases {
            assert_eq!(refused("GET", uri, ""), (400, Some(field.to_owned())), "{uri}");
        }
    }

    #[test]
    fn health_is_answered_without_a_look_at_the_store() {
        for method in ["GET", "HEAD"] {
            let answer = answered(method, "/order/health", "");
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.body().as_slice(), br#"{"status":"ok"}"#);
        }
    }

    #[test]
    fn what_is_no_orders_path_has_nothing_whatever_the_method() {
        for uri in [
            "/order/",
            "/order/x",
            "/order/+1",
            "/order/-1",
            "/order/%31",
            "/order/1/2",
            "/orders",
            "/order/99999999999999999999",
            "/order/9223372036854775808",
        ] {
            for method in ["GET", "PUT"] {
                assert_eq!(refused(method, uri, ""), (404, None), "{method} {uri}");
            }
        }
    }

    #[test]
    fn other_methods_are_refused() {
        let methods = [
            ("PUT", "/order", "GET, HEAD, POST"),
            ("DELETE", "/order/1", "GET, HEAD"),
            ("POST", "/order/health", "GET, HEAD"),
        ];
        for (method, uri, allow) in methods {
            let refused = answered(method, uri, "{}");
            assert_eq!(refused.status(), 405, "{method} {uri}");
            assert_eq!(refused.headers()["allow"], allow, "{method} {uri}");
        }
    }
}
