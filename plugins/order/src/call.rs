//! What a request asks for.

use hotdock_sdk::http::{Fields, Request};
use hotdock_sdk::id::Id;
use hotdock_sdk::problem::Problem;
use http::Method;

/// How much one order may have.
const MAX_QUANTITY: i64 = 1_000_000;
/// Orders on a page, where the client doesn't say.
const DEFAULT_LIMIT: i64 = 50;
/// Orders on a page, at most.
const MAX_LIMIT: i64 = 500;

/// A valid request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Health,
    List { user: Id, limit: i64, before: i64 },
    Show { id: i64 },
    Place { user: Id, product: Id, quantity: i64 },
}

impl Call {
    pub(crate) fn of(request: &Request) -> Result<Self, Problem> {
        let method = request.method();
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match Path::of(request.path())? {
            Path::Orders if reads => Self::list(request),
            Path::Orders if method == Method::POST => Self::place(request),
            Path::Orders => Err(Problem::method_not_allowed(method, "GET, HEAD, POST")),
            Path::Order(id) if reads => Ok(Self::Show { id }),
            Path::Health if reads => Ok(Self::Health),
            Path::Order(_) | Path::Health => Err(Problem::method_not_allowed(method, "GET, HEAD")),
        }
    }

    fn list(request: &Request) -> Result<Self, Problem> {
        let query = request.query();
        Ok(Self::List {
            user: query.id("user_id")?,
            limit: query.integer("limit", &(1..=MAX_LIMIT))?.unwrap_or(DEFAULT_LIMIT),
            before: query.integer("before", &(1..=i64::MAX))?.unwrap_or(i64::MAX),
        })
    }

    fn place(request: &Request) -> Result<Self, Problem> {
        let fields = Fields::of(request.body()?)?;
        Ok(Self::Place {
            user: fields.id("user_id")?,
            product: fields.id("product_id")?,
            quantity: fields.integer("quantity", &(1..=MAX_QUANTITY))?,
        })
    }
}

enum Path {
    Orders,
    Order(i64),
    Health,
}

impl Path {
    fn of(path: &str) -> Result<Self, Problem> {
        match path.strip_prefix("/order") {
            Some("") => Ok(Self::Orders),
            Some("/health") => Ok(Self::Health),
            rest => rest
                .and_then(|rest| rest.strip_prefix('/'))
                .filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|id| id.parse().ok())
                .map(Self::Order)
                .ok_or_else(|| Problem::not_found(format!("there is nothing at {path}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use hotdock_sdk::id::Id;
    use hotdock_sdk::problem::Problem;
    use hotdock_sdk::testing::{refusal, request, text};

    use super::Call;

    fn call(method: &str, uri: &str, body: &str) -> Result<Call, Problem> {
        Call::of(&request(method, uri, body))
    }

    fn refused(method: &str, uri: &str, body: &str) -> (u16, Option<String>) {
        refusal(call(method, uri, body))
    }

    #[test]
    fn post_places_an_order_with_the_ids_as_they_came() {
        let place = Call::Place { user: Id::Integer(7), product: text("7"), quantity: 1_000_000 };
        let body = r#"{"user_id":7,"product_id":"7","quantity":1000000}"#;
        assert_eq!(call("POST", "/order", body), Ok(place));
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
    }

    #[test]
    fn get_lists_a_users_orders_page_by_page() {
        let list = |limit, before| Ok(Call::List { user: text("7"), limit, before });
        assert_eq!(call("GET", "/order?user_id=7", ""), list(50, i64::MAX));
        assert_eq!(call("HEAD", "/order?user_id=7&limit=500&before=9", ""), list(500, 9));
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
    fn an_order_has_a_path_of_its_own() {
        assert_eq!(call("GET", "/order/12", ""), Ok(Call::Show { id: 12 }));
        assert_eq!(call("HEAD", "/order/health", ""), Ok(Call::Health));
        for uri in [
            "/order/",
            "/order/x",
            "/order/+1",
            "/order/-1",
            "/order/1/2",
            "/orders",
            "/order/99999999999999999999",
        ] {
            assert_eq!(refused("GET", uri, ""), (404, None), "{uri}");
        }
    }

    #[test]
    fn other_methods_are_refused() {
        for (method, uri) in [("PUT", "/order"), ("DELETE", "/order/1"), ("POST", "/order/health")]
        {
            assert_eq!(refused(method, uri, "{}"), (405, None), "{method} {uri}");
        }
        assert_eq!(refused("PUT", "/order/x", ""), (404, None));
    }
}
