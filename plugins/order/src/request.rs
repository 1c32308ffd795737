//! What requests ask for.

use std::ops::RangeInclusive;

use hotdock_sdk::http::Request;
use hotdock_sdk::problem::Problem;
use shop::Id;

use crate::events::Item;

/// How much one order may have, where a client or a caller says.
pub(crate) const QUANTITIES: RangeInclusive<i64> = 1..=1_000_000;
/// Orders on a page, where nobody says.
pub(crate) const DEFAULT_LIMIT: i64 = 50;
/// Orders on a page.
pub(crate) const LIMITS: RangeInclusive<i64> = 1..=500;

/// What a user orders.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Item {
        user: Id,
        item: Item,
    },
    /// All that is in the user's cart.
    Cart {
        user: Id,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) user: Id,
    pub(crate) limit: i64,
    pub(crate) before: i64,
}

impl Place {
    pub(crate) fn of(request: &Request) -> Result<Self, Problem> {
        let fields = request.fields()?;
        let user = fields.required("user_id")?;
        if !fields.has("product_id") && !fields.has("quantity") {
            return Ok(Self::Cart { user });
        }
        let product_id = fields.required("product_id")?;
        let quantity = fields.integer("quantity", &QUANTITIES)?;
        Ok(Self::Item { user, item: Item { product_id, quantity } })
    }
}

impl List {
    pub(crate) fn of(request: &Request) -> Result<Self, Problem> {
        let query = request.query();
        Ok(Self {
            user: query.required("user_id")?,
            limit: query.integer("limit", &LIMITS)?.unwrap_or(DEFAULT_LIMIT),
            before: query.integer("before", &(1..=i64::MAX))?.unwrap_or(i64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use hotdock_sdk::testing::request;
    use shop::Id;

    use super::{List, Place};
    use crate::events::Item;

    #[test]
    fn post_places_an_order_with_the_ids_as_they_came() {
        let body = r#"{"user_id":7,"product_id":"7","quantity":1000000}"#;
        let item = Item { product_id: "7".into(), quantity: 1_000_000 };
        let place = Place::Item { user: Id::Integer(7), item };
        assert_eq!(Place::of(&request("POST", "/order", body)), Ok(place));
    }

    #[test]
    fn post_of_a_user_alone_orders_the_cart() {
        for body in [r#"{"user_id":7}"#, r#"{"user_id":7,"note":"soon"}"#] {
            let place = Place::Cart { user: Id::Integer(7) };
            assert_eq!(Place::of(&request("POST", "/order", body)), Ok(place), "{body}");
        }
    }

    #[test]
    fn get_lists_a_users_orders_page_by_page() {
        let listed = |uri| List::of(&request("GET", uri, ""));
        let list = |limit, before| Ok(List { user: "7".into(), limit, before });
        assert_eq!(listed("/order?user_id=7"), list(50, i64::MAX));
        assert_eq!(listed("/order?user_id=7&limit=500&before=9"), list(500, 9));
    }
}
