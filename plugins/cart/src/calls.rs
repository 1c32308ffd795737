//! What other services call: `shop:cart/carts`.

use hotdock_sdk::kv;
use hotdock_sdk::problem::Problem;
use shop::Id;

use crate::cart::Cart;
use crate::carts::{self, CheckedOut, Error, Item};
use crate::request::QUANTITIES;
use crate::store::Carts;

pub(crate) fn get(user: Option<carts::Id>) -> Result<Vec<Item>, Error> {
    let user = user.map(checked_user).transpose()?;
    Ok(items(&Carts::open()?.load(user.as_ref())?))
}

pub(crate) fn add(user: Option<carts::Id>, product: carts::Id, quantity: u64) -> Result<(), Error> {
    let user = user.map(checked_user).transpose()?;
    let product = checked("product", product)?;
    let quantity = i64::try_from(quantity).ok().filter(|it| QUANTITIES.contains(it));
    let quantity = quantity.ok_or_else(|| {
        let (least, most) = (QUANTITIES.start(), QUANTITIES.end());
        Error::Invalid(format!("`quantity` must be an integer from {least} to {most}"))
    })?;
    let carts = Carts::open()?;
    let mut cart = carts.load(user.as_ref())?;
    cart.add(&product, quantity)?;
    Ok(carts.save(user.as_ref(), &cart)?)
}

pub(crate) fn remove(user: Option<carts::Id>, product: carts::Id) -> Result<bool, Error> {
    let user = user.map(checked_user).transpose()?;
    let product = checked("product", product)?;
    let carts = Carts::open()?;
    let mut cart = carts.load(user.as_ref())?;
    let was_in = cart.remove(&product);
    if was_in {
        carts.save(user.as_ref(), &cart)?;
    }
    Ok(was_in)
}

/// The caller orders what was in: an event would have it ordered twice.
pub(crate) fn check_out(user: carts::Id) -> Result<CheckedOut, Error> {
    let user = checked_user(user)?;
    let carts = Carts::open()?;
    let cart = carts.load(Some(&user))?;
    if cart.is_empty() {
        return Err(Error::Empty);
    }
    carts.delete(Some(&user))?;
    Ok(CheckedOut { id: new_id(), items: items(&cart) })
}

fn items(cart: &Cart) -> Vec<Item> {
    let item = |(product, quantity): (&str, i64)| Item {
        product: product.to_owned(),
        quantity: quantity.unsigned_abs(), // it is positive
    };
    cart.items().map(item).collect()
}

fn checked_user(user: carts::Id) -> Result<Id, Error> {
    checked("user", user)
}

fn checked(argument: &str, id: carts::Id) -> Result<Id, Error> {
    let id = match id {
        carts::Id::Integer(number) => Id::Integer(number),
        carts::Id::Text(text) => Id::Text(text),
    };
    id.checked(argument).map_err(Error::Invalid)
}

/// Random, 128 bits.
fn new_id() -> String {
    let half = wasip2::random::random::get_random_u64;
    format!("{:016x}{:016x}", half(), half())
}

impl From<kv::Error> for Error {
    fn from(error: kv::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// What the cart has no room for.
impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Invalid(problem.detail().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{add, check_out, get, items, remove};
    use crate::cart::Cart;
    use crate::carts::{Error, Id, Item};

    fn invalid(reason: &str) -> Error {
        Error::Invalid(reason.to_owned())
    }

    #[test]
    fn what_is_no_argument_is_refused_with_its_name_before_a_look_at_the_store() {
        let none = || Id::Text(String::new());
        let some = || Id::Integer(1);
        let empty_user = invalid("`user` must not be empty");
        assert_eq!(get(Some(none())), Err(empty_user.clone()));
        assert_eq!(add(Some(none()), some(), 1), Err(empty_user.clone()));
        assert_eq!(remove(Some(none()), some()), Err(empty_user.clone()));
        assert_eq!(check_out(none()), Err(empty_user));
        let product = invalid("`product` must not be empty");
        assert_eq!(add(None, none(), 1), Err(product.clone()));
        assert_eq!(remove(None, none()), Err(product));
        for quantity in [0, 1_000_001, u64::MAX] {
            let quantity = add(None, some(), quantity);
            assert_eq!(quantity, Err(invalid("`quantity` must be an integer from 1 to 1000000")));
        }
    }

    #[test]
    fn what_is_in_a_cart_is_handed_over_in_its_order() {
        let mut cart = Cart::default();
        cart.add(&"tea".into(), 1).expect("there is room");
        cart.add(&shop::Id::Integer(42), 2).expect("there is room");
        let item = |product: &str, quantity| Item { product: product.to_owned(), quantity };
        assert_eq!(items(&cart), [item("42", 2), item("tea", 1)]);
    }

    #[test]
    fn what_a_cart_has_no_room_for_is_refused_in_its_words() {
        let mut cart = Cart::default();
        cart.add(&"tea".into(), 1_000_000_000).expect("this is just enough");
        let refused = cart.add(&"tea".into(), 1).expect_err("this is too much");
        let expected = "the cart has 1000000000 of it and can have 1000000000";
        assert_eq!(Error::from(refused), invalid(expected));
    }
}
