//! Answers requests, and handles what others did.

use hotdock_sdk::events::{Delivery, Failure};
use hotdock_sdk::http::{Request, Response, json};
use hotdock_sdk::problem::Problem;
use hotdock_sdk::routes;
use serde_json::json as object;
use shop::Id;

use crate::events::CheckedOut;
use crate::order::OrderId;
use crate::request::{List, Place};
use crate::{calls, store};

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
    json(&store::page(List::of(request)?)?)
}

fn show(_: &Request, id: OrderId) -> Result<Response, Problem> {
    match store::find(id)? {
        Some(order) => json(&order),
        None => Err(Problem::not_found(format!("there is no order {}", id.0))),
    }
}

fn order(request: &Request) -> Result<Response, Problem> {
    match Place::of(request)? {
        Place::Item { user, item } => {
            let order_id = store::place::<Problem>(&user, &item)?;
            json(&object!({ "message": "success", "order_id": order_id }))
        }
        Place::Cart { user } => order_cart(&user),
    }
}

/// The call comes before anything is written, as calls have to. From it on only this service
/// knows what is to be ordered, so it answers nothing but that it was: an answer would be kept
/// under the request's key. Where it ends without one, a repetition under the key gets the same
/// checkout and tries again.
fn order_cart(user: &Id) -> Result<Response, Problem> {
    let (checkout_id, items) = calls::check_out(user)?;
    let order_ids =
        store::place_all::<Problem>(user, &items, &checkout_id).unwrap_or_else(|problem| {
            panic!("checkout {checkout_id} cannot be ordered: {}", problem.detail())
        });
    json(&object!({
        "message": "success",
        "checkout_id": checkout_id,
        "order_ids": order_ids,
    }))
}

/// A checkout becomes an order for each of its items.
pub(crate) fn checked_out(delivery: &Delivery, checked_out: &CheckedOut) -> Result<(), Failure> {
    checked_out.check()?;
    store::place_all(&checked_out.user_id, &checked_out.items, &delivery.event.id).map(drop)
}

#[cfg(test)]
mod tests {
    use hotdock_sdk::http::Response;
    use hotdock_sdk::testing::{refusal, request};

    use super::answer;
    use crate::carts;

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
    fn a_cart_that_cannot_be_checked_out_is_not_ordered() {
        let refused = || refused("POST", "/order", r#"{"user_id":7}"#);
        let _cart = carts::double::check_out(|_| Err(carts::Error::Empty));
        assert_eq!(refused(), (409, None));
        let reason = || carts::Error::Unavailable("cart is not deployed".to_owned());
        let _cart = carts::double::check_out(move |_| Err(reason()));
        assert_eq!(refused(), (503, None));
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
