//! What every order publishes, and the checkouts that become orders.

use hotdock_sdk::events::{Error, Failure, NewEvent};
use serde::{Deserialize, Serialize};
use shop::Id;

/// `shop.order.placed`
#[derive(Debug, Serialize)]
pub(crate) struct Placed<'a> {
    pub(crate) order_id: i64,
    pub(crate) user_id: &'a Id,
    pub(crate) product_id: &'a Id,
    pub(crate) quantity: i64,
    /// There where the order comes from a checkout: the id of its event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checkout_id: Option<&'a str>,
}

/// `shop.cart.checked-out`
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct CheckedOut {
    pub(crate) user_id: Id,
    pub(crate) items: Vec<Item>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) product_id: Id,
    pub(crate) quantity: i64,
}

impl Placed<'_> {
    /// The event of this order.
    pub(crate) fn event(&self) -> Result<NewEvent, Error> {
        NewEvent::of("shop.order.placed").key(self.user_id).json(self)
    }
}

impl CheckedOut {
    /// Rejected if there is nothing to order, or less than one of something.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let no_order = |reason: String| Failure::Reject(format!("the checkout {reason}"));
        if self.items.is_empty() {
            return Err(no_order("has no items".to_owned()));
        }
        match self.items.iter().find(|item| item.quantity < 1) {
            Some(Item { product_id, quantity }) => {
                Err(no_order(format!("has {quantity} of product {product_id}")))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use hotdock_sdk::events::Failure;
    use hotdock_sdk::testing::delivery;
    use shop::Id;

    use super::{CheckedOut, Item, Placed};

    #[test]
    fn an_order_is_published_under_its_user_with_the_ids_as_they_came() {
        let (user_id, product_id) = (&Id::Integer(7), &Id::from("42"));
        let placed = Placed { order_id: 1, user_id, product_id, quantity: 2, checkout_id: None };
        let event = placed.event().expect("it has a JSON form");
        assert_eq!(event.type_, "shop.order.placed");
        assert_eq!(event.partition_key.as_deref(), Some("7"));
        let data = r#"{"order_id":1,"user_id":7,"product_id":"42","quantity":2}"#;
        assert_eq!(event.data.as_deref(), Some(data.as_bytes()));
        let event = Placed { checkout_id: Some("c"), ..placed }.event().expect("it has one");
        let data = String::from_utf8(event.data.unwrap_or_default()).expect("JSON is UTF-8");
        assert!(data.ends_with(r#","checkout_id":"c"}"#), "{data}");
    }

    #[test]
    fn a_checkout_is_read() {
        let data = r#"{"user_id":7,"items":[{"product_id":"42","quantity":2}]}"#;
        let items = vec![Item { product_id: Id::from("42"), quantity: 2 }];
        let read = delivery("shop.cart.checked-out", data).json();
        assert_eq!(read, Ok(CheckedOut { user_id: Id::Integer(7), items }));
    }

    #[test]
    fn a_checkout_of_nothing_is_rejected() {
        for data in [
            "{}",
            r#"{"user_id":7,"items":[]}"#,
            r#"{"user_id":7,"items":[{"product_id":"42","quantity":0}]}"#,
        ] {
            let read = delivery("shop.cart.checked-out", data).json();
            let checked = read.and_then(|read: CheckedOut| read.check());
            assert!(matches!(checked, Err(Failure::Reject(_))), "{data}: {checked:?}");
        }
    }
}
