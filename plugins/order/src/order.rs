//! An order and a page of them.

use hotdock_sdk::http::Parameter;
use serde::{Deserialize, Serialize};
use shop::Id;

/// An order, as the table has it and as it is sent.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) user_id: Id,
    pub(crate) product_id: Id,
    pub(crate) quantity: i64,
    /// The checkout that it comes from, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checkout_id: Option<String>,
    /// RFC 3339, UTC, whole seconds.
    pub(crate) created_at: String,
}

/// An order's number, as its path has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OrderId(pub(crate) i64);

/// Digits alone: there are no negative ones.
impl Parameter for OrderId {
    fn of_segment(segment: &str) -> Option<Self> {
        u64::of_segment(segment)?.try_into().ok().map(Self)
    }
}

/// Some of a user's orders, newest first.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Page {
    pub(crate) orders: Vec<Order>,
    /// The `before` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<i64>,
}

impl Page {
    /// A page of at most `limit` of these; that there are more says that
    /// another page follows.
    pub(crate) fn of(mut orders: Vec<Order>, limit: usize) -> Self {
        let more = orders.len() > limit;
        orders.truncate(limit);
        let next = orders.last().filter(|_| more).map(|order| order.id);
        Self { orders, next }
    }
}

#[cfg(test)]
mod tests {
    use shop::Id;

    use super::{Order, Page};

    fn orders(ids: impl IntoIterator<Item = i64>) -> Vec<Order> {
        let order = |id| Order {
            id,
            user_id: Id::Integer(7),
            product_id: Id::Text("7".to_owned()),
            quantity: 2,
            checkout_id: None,
            created_at: "2025-01-02T03:04:05Z".to_owned(),
        };
        ids.into_iter().map(order).collect()
    }

    #[test]
    fn an_order_is_sent_with_its_ids_as_they_came() {
        let sent = serde_json::to_string(&orders([1])[0]).expect("an order has a JSON form");
        let expected = r#"{"id":1,"user_id":7,"product_id":"7","quantity":2,"created_at":"2025-01-02T03:04:05Z"}"#;
        assert_eq!(sent, expected);
    }

    #[test]
    fn next_is_there_only_when_there_is_more() {
        let page = Page::of(orders([5, 4, 3]), 2);
        assert_eq!(page, Page { orders: orders([5, 4]), next: Some(4) });
        let page = Page::of(orders([5, 4]), 2);
        assert_eq!(page, Page { orders: orders([5, 4]), next: None });
        assert_eq!(
            serde_json::to_string(&Page::of(vec![], 2)).ok().as_deref(),
            Some(r#"{"orders":[]}"#)
        );
    }
}
