//! A cart and what changes it.

use std::collections::BTreeMap;

use hotdock_sdk::problem::Problem;
use serde::{Deserialize, Serialize};
use shop::Id;

/// How much of one product a cart may have.
const MAX_TOTAL: i64 = 1_000_000_000;
/// How many products a cart may have.
const MAX_PRODUCTS: usize = 1_000;

/// Products, by their text, with their quantities; stored and sent as JSON.
#[derive(Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Cart(BTreeMap<String, i64>);

impl Cart {
    /// Adds to what is there; 400 if that would be too much.
    pub(crate) fn add(&mut self, product: &Id, quantity: i64) -> Result<(), Problem> {
        let product = product.to_string();
        if self.0.len() >= MAX_PRODUCTS && !self.0.contains_key(&product) {
            let detail = format!("the cart has {MAX_PRODUCTS} products, which is the most");
            return Err(Problem::bad_request("product_id", detail));
        }
        let total = self.0.entry(product).or_default();
        *total =
            total.checked_add(quantity).filter(|total| *total <= MAX_TOTAL).ok_or_else(|| {
                let detail = format!("the cart has {total} of it and can have {MAX_TOTAL}");
                Problem::bad_request("quantity", detail)
            })?;
        Ok(())
    }

    /// Takes the product out, if it is in.
    pub(crate) fn remove(&mut self, product: &Id) -> bool {
        self.0.remove(&product.to_string()).is_some()
    }

    /// Takes so much of the product out, or all there is of it. Says whether
    /// there was some.
    pub(crate) fn take(&mut self, product: &Id, quantity: i64) -> bool {
        let product = product.to_string();
        let Some(total) = self.0.get_mut(&product) else { return false };
        *total = total.saturating_sub(quantity);
        if *total <= 0 {
            self.0.remove(&product);
        }
        true
    }

    /// Its products, in the order of their text, with their quantities.
    pub(crate) fn items(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(product, quantity)| (product.as_str(), *quantity))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use shop::Id;

    use super::{Cart, MAX_PRODUCTS, MAX_TOTAL};

    fn json(cart: &Cart) -> String {
        serde_json::to_string(cart).expect("a cart has a JSON form")
    }

    #[test]
    fn quantities_add_up_by_the_products_text() {
        let mut cart = Cart::default();
        for (product, quantity) in [(Id::Integer(42), 2), (Id::from("42"), 3), (Id::from("tea"), 1)]
        {
            cart.add(&product, quantity).expect("there is room");
        }
        assert_eq!(json(&cart), r#"{"42":5,"tea":1}"#);
        assert_eq!(serde_json::from_str::<Cart>(&json(&cart)).ok(), Some(cart));
    }

    #[test]
    fn a_cart_has_its_limit() {
        let mut cart = Cart::default();
        cart.add(&Id::Integer(1), MAX_TOTAL).expect("this is just enough");
        let problem = cart.add(&Id::Integer(1), 1).expect_err("this is too much");
        assert_eq!((problem.status().as_u16(), problem.field()), (400, Some("quantity")));
        assert_eq!(json(&cart), r#"{"1":1000000000}"#);
    }

    #[test]
    fn a_cart_has_only_so_many_products_and_still_takes_more_of_those() {
        let mut cart = Cart::default();
        let products = i64::try_from(MAX_PRODUCTS).expect("a small number");
        for product in 0..products {
            cart.add(&Id::Integer(product), 1).expect("there is room");
        }
        cart.add(&Id::Integer(0), 1).expect("it is in already");
        let problem = cart.add(&Id::Integer(products), 1).expect_err("this is one too many");
        assert_eq!((problem.status().as_u16(), problem.field()), (400, Some("product_id")));
        assert_eq!(cart.items().count(), MAX_PRODUCTS);
    }

    #[test]
    fn taking_takes_what_there_is_of_the_product() {
        let mut cart = Cart::default();
        cart.add(&Id::Integer(42), 5).expect("there is room");
        assert!(cart.take(&Id::from("42"), 2));
        assert_eq!(json(&cart), r#"{"42":3}"#);
        assert!(!cart.take(&Id::from("43"), 1));
        assert!(cart.take(&Id::from("42"), 4));
        assert!(cart.is_empty());
        assert!(!cart.take(&Id::from("42"), 1));
    }

    #[test]
    fn removing_says_whether_there_was_something() {
        let mut cart = Cart::default();
        cart.add(&Id::Integer(42), 1).expect("there is room");
        assert!(cart.remove(&Id::from("42")));
        assert!(!cart.remove(&Id::from("42")));
        assert!(cart.is_empty());
    }
}
