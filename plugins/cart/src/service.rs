//! Answers requests, and handles what others did.

use hotdock_sdk::events::{self, Delivery, Failure};
use hotdock_sdk::http::{Request, Response, json};
use hotdock_sdk::problem::Problem;
use hotdock_sdk::routes;
use serde_json::json as object;
use shop::Id;

use crate::events::{Placed, checked_out};
use crate::request::{Add, Remove};
use crate::store::Carts;

pub(crate) fn answer(request: &Request) -> Response {
    routes!(request, {
        "/cart" => { GET: show, POST: add, DELETE: remove },
        "/cart/checkout" => { POST: check_out },
        "/cart/health" => { GET: health },
    })
}

fn health() -> Result<Response, Problem> {
    json(&object!({ "status": "ok" }))
}

fn show(request: &Request) -> Result<Response, Problem> {
    let user: Option<Id> = request.query().optional("user_id")?;
    json(&object!({ "cart": Carts::open()?.load(user.as_ref())? }))
}

/// Read, modify, write: if another request was first, the host runs this again.
fn add(request: &Request) -> Result<Response, Problem> {
    let Add { user, product, quantity } = Add::of(request)?;
    let carts = Carts::open()?;
    let mut cart = carts.load(user.as_ref())?;
    cart.add(&product, quantity)?;
    carts.save(user.as_ref(), &cart)?;
    success()
}

fn remove(request: &Request) -> Result<Response, Problem> {
    let Remove { user, product } = Remove::of(request)?;
    let carts = Carts::open()?;
    let mut cart = carts.load(user.as_ref())?;
    if cart.remove(&product) {
        carts.save(user.as_ref(), &cart)?;
    }
    success()
}

/// The cart is empty and the event is there, or neither. There are no orders of anonymous
/// visitors.
fn check_out(request: &Request) -> Result<Response, Problem> {
    let user: Id = request.fields()?.required("user_id")?;
    let carts = Carts::open()?;
    let cart = carts.load(Some(&user))?;
    if cart.is_empty() {
        return Err(Problem::conflict("the cart is empty"));
    }
    let checkout_id = events::publish(&checked_out(&user, &cart)?)?;
    carts.delete(Some(&user))?;
    json(&object!({ "message": "success", "checkout_id": checkout_id }))
}

/// An order was placed: what was ordered need not be in the cart any more.
pub(crate) fn ordered(_: &Delivery, placed: &Placed) -> Result<(), Failure> {
    let (carts, user) = (Carts::open()?, Some(&placed.user_id));
    let mut cart = carts.load(user)?;
    if placed.take_from(&mut cart) {
        carts.save(user, &cart)?;
    }
    Ok(())
}

fn success() -> Result<Response, Problem> {
    json(&object!({ "message": "success" }))
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
            (r#"{"quantity":1}"#, "product_id"),
            (r#"{"product_id":null,"quantity":1}"#, "product_id"),
            (r#"{"product_id":"","quantity":1}"#, "product_id"),
            (r#"{"product_id":1}"#, "quantity"),
            (r#"{"product_id":1,"quantity":0}"#, "quantity"),
            (r#"{"product_id":1,"quantity":-1}"#, "quantity"),
            (r#"{"product_id":1,"quantity":1.5}"#, "quantity"),
            (r#"{"product_id":1,"quantity":"1"}"#, "quantity"),
            (r#"{"product_id":1,"quantity":1000001}"#, "quantity"),
            (r#"{"user_id":[],"product_id":1,"quantity":1}"#, "user_id"),
        ];
        for (body, field) in cases {
            assert_eq!(refused("POST", "/cart", body), (400, Some(field.to_owned())), "{body}");
        }
        for body in ["", "no", "[]", "product_id=1&quantity=1"] {
            assert_eq!(refused("POST", "/cart", body), (400, None), "{body}");
        }
        assert_eq!(refused("DELETE", "/cart", ""), (400, Some("product_id".to_owned())));
    }

    #[test]
    fn a_checkout_needs_a_user() {
        for body in ["{}", r#"{"user_id":null}"#] {
            let refused = refused("POST", "/cart/checkout", body);
            assert_eq!(refused, (400, Some("user_id".to_owned())), "{body}");
        }
        assert_eq!(refused("POST", "/cart/checkout?user_id=7", ""), (400, None));
    }

    #[test]
    fn health_is_answered_without_a_look_at_the_store() {
        for method in ["GET", "HEAD"] {
            let answer = answered(method, "/cart/health", "");
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.body().as_slice(), br#"{"status":"ok"}"#);
        }
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        for uri in ["/cart/7", "/cart/", "/", "/carts"] {
            assert_eq!(refused("POST", uri, "{}"), (404, None), "{uri}");
        }
        let methods = [
            ("PUT", "/cart", "GET, HEAD, POST, DELETE"),
            ("GET", "/cart/checkout", "POST"),
            ("POST", "/cart/health", "GET, HEAD"),
            ("OPTIONS", "/cart/health", "GET, HEAD"),
        ];
        for (method, uri, allow) in methods {
            let refused = answered(method, uri, "");
            assert_eq!(refused.status(), 405, "{method} {uri}");
            assert_eq!(refused.headers()["allow"], allow, "{method} {uri}");
            let expected = format!(
                r#"{{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"{method} is not among {allow}"}}"#
            );
            assert_eq!(String::from_utf8_lossy(refused.body()), expected);
        }
    }
}
