//! What a request asks for.

use hotdock_sdk::http::{Fields, Query, Request};
use hotdock_sdk::id::Id;
use hotdock_sdk::problem::Problem;
use http::Method;

/// How much one request may add.
const MAX_QUANTITY: i64 = 1_000_000;

/// A valid request. A user that is `None` is the anonymous one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Health,
    Show { user: Option<Id> },
    Add { user: Option<Id>, product: Id, quantity: i64 },
    Remove { user: Option<Id>, product: Id },
    CheckOut { user: Id },
}

impl Call {
    pub(crate) fn of(request: &Request) -> Result<Self, Problem> {
        let method = request.method();
        match request.path() {
            "/cart" => match *method {
                Method::GET | Method::HEAD => Self::show(request),
                Method::POST => Self::add(request),
                Method::DELETE => Self::remove(request),
                _ => Err(Problem::method_not_allowed(method, "GET, HEAD, POST, DELETE")),
            },
            "/cart/checkout" => match *method {
                Method::POST => Self::check_out(request),
                _ => Err(Problem::method_not_allowed(method, "POST")),
            },
            "/cart/health" => match *method {
                Method::GET | Method::HEAD => Ok(Self::Health),
                _ => Err(Problem::method_not_allowed(method, "GET, HEAD")),
            },
            path => Err(Problem::not_found(format!("there is nothing at {path}"))),
        }
    }

    fn show(request: &Request) -> Result<Self, Problem> {
        Ok(Self::Show { user: request.query().optional_id("user_id")? })
    }

    fn add(request: &Request) -> Result<Self, Problem> {
        let fields = Fields::of(request.body()?)?;
        Ok(Self::Add {
            user: user(&fields, &request.query())?,
            product: fields.id("product_id")?,
            quantity: fields.integer("quantity", &(1..=MAX_QUANTITY))?,
        })
    }

    fn remove(request: &Request) -> Result<Self, Problem> {
        let query = request.query();
        let fields = Fields::of_optional(request.body()?)?;
        Ok(Self::Remove { user: user(&fields, &query)?, product: query.id("product_id")? })
    }

    /// There are no orders of anonymous visitors.
    fn check_out(request: &Request) -> Result<Self, Problem> {
        Ok(Self::CheckOut { user: Fields::of(request.body()?)?.id("user_id")? })
    }
}

/// The user of the body or the query; if both name one, it is the same.
fn user(fields: &Fields, query: &Query) -> Result<Option<Id>, Problem> {
    match (fields.optional_id("user_id")?, query.optional_id("user_id")?) {
        (Some(body), Some(query)) if body.to_string() != query.to_string() => {
            Err(Problem::bad_request("user_id", "the body's `user_id` is not the query's"))
        }
        (body, query) => Ok(body.or(query)),
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
    fn post_adds_for_the_user_of_body_or_query() {
        let add = |user| Ok(Call::Add { user, product: Id::Integer(42), quantity: 2 });
        let body = r#"{"product_id":42,"quantity":2}"#;
        assert_eq!(call("POST", "/cart", body), add(None));
        assert_eq!(call("POST", "/cart?user_id=7", body), add(Some(text("7"))));
        let body = r#"{"user_id":7,"product_id":42,"quantity":2}"#;
        assert_eq!(call("POST", "/cart", body), add(Some(Id::Integer(7))));
        assert_eq!(call("POST", "/cart?user_id=7", body), add(Some(Id::Integer(7))));
        assert_eq!(refused("POST", "/cart?user_id=8", body), (400, Some("user_id".to_owned())));
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
    }

    #[test]
    fn get_and_head_show() {
        for method in ["GET", "HEAD"] {
            let show = Call::Show { user: Some(text("a b")) };
            assert_eq!(call(method, "/cart?user_id=a%20b", ""), Ok(show));
            assert_eq!(call(method, "/cart", ""), Ok(Call::Show { user: None }));
            assert_eq!(call(method, "/cart/health", ""), Ok(Call::Health));
        }
    }

    #[test]
    fn delete_needs_a_product() {
        let remove = Call::Remove { user: Some(text("7")), product: text("42") };
        assert_eq!(call("DELETE", "/cart?product_id=42&user_id=7", ""), Ok(remove));
        let remove = Call::Remove { user: Some(Id::Integer(7)), product: text("42") };
        assert_eq!(call("DELETE", "/cart?product_id=42", r#"{"user_id":7}"#), Ok(remove));
        assert_eq!(refused("DELETE", "/cart", ""), (400, Some("product_id".to_owned())));
    }

    #[test]
    fn a_checkout_needs_a_user() {
        let body = r#"{"user_id":7}"#;
        let check_out = Call::CheckOut { user: Id::Integer(7) };
        assert_eq!(call("POST", "/cart/checkout", body), Ok(check_out));
        for body in ["{}", r#"{"user_id":null}"#] {
            let refused = refused("POST", "/cart/checkout", body);
            assert_eq!(refused, (400, Some("user_id".to_owned())), "{body}");
        }
        assert_eq!(refused("POST", "/cart/checkout?user_id=7", ""), (400, None));
        assert_eq!(refused("GET", "/cart/checkout", ""), (405, None));
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        assert_eq!(refused("GET", "/cart/7", ""), (404, None));
        assert_eq!(refused("POST", "/cart/", "{}"), (404, None));
        assert_eq!(refused("PUT", "/cart", "{}"), (405, None));
        assert_eq!(refused("POST", "/cart/health", ""), (405, None));
    }
}
