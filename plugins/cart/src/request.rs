//! What requests ask for, where it takes more than one look.

use std::ops::RangeInclusive;

use hotdock_sdk::http::{Fields, Query, Request};
use hotdock_sdk::problem::Problem;
use shop::Id;

/// How much one request, or one call, may add.
pub(crate) const QUANTITIES: RangeInclusive<i64> = 1..=1_000_000;

/// A user that is `None` is the anonymous one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Add {
    pub(crate) user: Option<Id>,
    pub(crate) product: Id,
    pub(crate) quantity: i64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Remove {
    pub(crate) user: Option<Id>,
    pub(crate) product: Id,
}

impl Add {
    pub(crate) fn of(request: &Request) -> Result<Self, Problem> {
        let fields = request.fields()?;
        Ok(Self {
            user: user(&fields, request.query())?,
            product: fields.required("product_id")?,
            quantity: fields.integer("quantity", &QUANTITIES)?,
        })
    }
}

impl Remove {
    pub(crate) fn of(request: &Request) -> Result<Self, Problem> {
        let query = request.query();
        let fields = Fields::of_optional(request.body()?)?;
        Ok(Self { user: user(&fields, query)?, product: query.required("product_id")? })
    }
}

/// The user of the body or the query; if both name one, it is the same.
fn user(fields: &Fields, query: Query<'_>) -> Result<Option<Id>, Problem> {
    let users: (Option<Id>, Option<Id>) = (fields.optional("user_id")?, query.optional("user_id")?);
    match users {
        (Some(body), Some(query)) if body.to_string() != query.to_string() => {
            Err(Problem::bad_request("user_id", "the body's `user_id` is not the query's"))
        }
        (body, query) => Ok(body.or(query)),
    }
}

#[cfg(test)]
mod tests {
    use hotdock_sdk::testing::request;
    use shop::Id;

    use super::{Add, Remove};

    #[test]
    fn post_adds_for_the_user_of_body_or_query() {
        let added = |uri, body| Add::of(&request("POST", uri, body));
        let add = |user| Ok(Add { user, product: Id::Integer(42), quantity: 2 });
        let body = r#"{"product_id":42,"quantity":2}"#;
        assert_eq!(added("/cart", body), add(None));
        assert_eq!(added("/cart?user_id=7", body), add(Some("7".into())));
        let body = r#"{"user_id":7,"product_id":42,"quantity":2}"#;
        assert_eq!(added("/cart", body), add(Some(Id::Integer(7))));
        assert_eq!(added("/cart?user_id=7", body), add(Some(Id::Integer(7))));
        let refused = added("/cart?user_id=8", body).expect_err("these are two users");
        assert_eq!((refused.status().as_u16(), refused.field()), (400, Some("user_id")));
    }

    #[test]
    fn delete_removes_for_the_user_of_body_or_query() {
        let removed = |uri, body| Remove::of(&request("DELETE", uri, body));
        let remove = |user| Ok(Remove { user, product: "42".into() });
        assert_eq!(removed("/cart?product_id=42&user_id=7", ""), remove(Some("7".into())));
        let body = r#"{"user_id":7}"#;
        assert_eq!(removed("/cart?product_id=42", body), remove(Some(Id::Integer(7))));
        assert_eq!(removed("/cart?product_id=42", ""), remove(None));
    }
}
