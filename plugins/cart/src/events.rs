//! What a checkout publishes, and orders that others placed.

use hotdock_sdk::events::{Error, NewEvent};
use serde::{Deserialize, Serialize};
use shop::Id;

use crate::cart::Cart;

/// `shop.cart.checked-out`: a user's cart was emptied, and what was in it is to
/// be ordered. The event's id is the checkout's.
#[derive(Serialize)]
struct CheckedOut<'a> {
    user_id: &'a Id,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    product_id: &'a str,
    quantity: i64,
}

/// `shop.order.placed`, as far as carts care.
#[derive(Debug, Deserialize)]
pub(crate) struct Placed {
    pub(crate) user_id: Id,
    product_id: Id,
    quantity: i64,
    /// There where the order comes from a checkout.
    checkout_id: Option<String>,
}

/// The event of this cart's checkout.
pub(crate) fn checked_out(user: &Id, cart: &Cart) -> Result<NewEvent, Error> {
    let items = cart.items().map(|(product_id, quantity)| Item { product_id, quantity }).collect();
    NewEvent::of("shop.cart.checked-out").key(user).json(&CheckedOut { user_id: user, items })
}

impl Placed {
    /// Takes what was ordered out of the user's cart. Says whether that changed it.
    ///
    /// A checkout took it out already: what is there now was put in since.
    pub(crate) fn take_from(&self, cart: &mut Cart) -> bool {
        self.checkout_id.is_none() && cart.take(&self.product_id, self.quantity)
    }
}

#[cfg(test)]
mod tests {
    use shop::Id;

    use super::{Placed, checked_out};
    use crate::cart::Cart;

    fn cart() -> Cart {
        let mut cart = Cart::default();
        cart.add(&Id::Integer(42), 2).expect("there is room");
        cart.add(&Id::from("tea"), 1).expect("there is room");
        cart
    }

    fn placed(data: &str) -> Placed {
        serde_json::from_str(data).expect("this is a placed order")
    }

    #[test]
    fn a_checkout_has_the_user_as_it_came_and_all_items() {
        let event = checked_out(&Id::Integer(7), &cart()).expect("it has a JSON form");
        assert_eq!(event.type_, "shop.cart.checked-out");
        assert_eq!(event.partition_key.as_deref(), Some("7"));
        let expected = r#"{"user_id":7,"items":[{"product_id":"42","quantity":2},{"product_id":"tea","quantity":1}]}"#;
        assert_eq!(event.data.as_deref(), Some(expected.as_bytes()));
    }

    #[test]
    fn an_order_takes_its_product_out_of_the_cart() {
        let order = r#"{"order_id":1,"user_id":7,"product_id":42,"quantity":1}"#;
        let mut cart = cart();
        assert!(placed(order).take_from(&mut cart));
        assert_eq!(cart.items().collect::<Vec<_>>(), [("42", 1), ("tea", 1)]);
    }

    #[test]
    fn an_order_from_a_checkout_leaves_the_cart_alone() {
        let order = r#"{"user_id":7,"product_id":"42","quantity":1,"checkout_id":"c"}"#;
        let mut kept = cart();
        assert!(!placed(order).take_from(&mut kept));
        assert_eq!(kept, cart());
    }
}
