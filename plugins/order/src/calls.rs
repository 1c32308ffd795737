//! What other services call, `shop:order/orders`, and what is called of theirs.

use hotdock_sdk::calls::Unavailable;
use hotdock_sdk::problem::Problem;
use hotdock_sdk::{events, sql};
use shop::Id;

use crate::events::Item;
use crate::order::{Order, OrderId};
use crate::orders::{self, Error, Page};
use crate::request::{DEFAULT_LIMIT, LIMITS, List, QUANTITIES};
use crate::{carts, store};

pub(crate) fn place(user: orders::Id, product: orders::Id, quantity: u64) -> Result<u64, Error> {
    let user = checked("user", user)?;
    let product_id = checked("product", product)?;
    let quantity = i64::try_from(quantity).ok().filter(|it| QUANTITIES.contains(it));
    let quantity = quantity.ok_or_else(|| {
        let (least, most) = (QUANTITIES.start(), QUANTITIES.end());
        Error::Invalid(format!("`quantity` must be an integer from {least} to {most}"))
    })?;
    store::place(&user, &Item { product_id, quantity }).map(i64::unsigned_abs)
}

pub(crate) fn get(id: u64) -> Result<Option<orders::Order>, Error> {
    // There are no orders with larger numbers.
    let Ok(id) = i64::try_from(id) else { return Ok(None) };
    Ok(store::find(OrderId(id))?.map(orders::Order::from))
}

pub(crate) fn list(
    user: orders::Id,
    limit: Option<u32>,
    before: Option<u64>,
) -> Result<Page, Error> {
    let user = checked("user", user)?;
    let limit = limit.map_or(DEFAULT_LIMIT, i64::from);
    if !LIMITS.contains(&limit) {
        let (least, most) = (LIMITS.start(), LIMITS.end());
        let reason = format!("`limit` must be an integer from {least} to {most}");
        return Err(Error::Invalid(reason));
    }
    let before = before.and_then(|before| before.try_into().ok()).unwrap_or(i64::MAX);
    let page = store::page(List { user, limit, before })?;
    let orders = page.orders.into_iter().map(orders::Order::from).collect();
    Ok(Page { orders, next: page.next.map(i64::unsigned_abs) })
}

/// Empties the user's cart. Returns the checkout's id and what was in.
pub(crate) fn check_out(user: &Id) -> Result<(String, Vec<Item>), Problem> {
    let user = match user.clone() {
        Id::Integer(number) => carts::Id::Integer(number),
        Id::Text(text) => carts::Id::Text(text),
    };
    let carts::CheckedOut { id, items } = carts::check_out(&user)?;
    let items = items.into_iter().map(|item| Item {
        product_id: Id::Text(item.product),
        quantity: i64::try_from(item.quantity).expect("no cart has so much of a product"),
    });
    Ok((id, items.collect()))
}

fn checked(argument: &str, id: orders::Id) -> Result<Id, Error> {
    let id = match id {
        orders::Id::Integer(number) => Id::Integer(number),
        orders::Id::Text(text) => Id::Text(text),
    };
    id.checked(argument).map_err(Error::Invalid)
}

impl From<Order> for orders::Order {
    fn from(order: Order) -> Self {
        let id = |id| match id {
            Id::Integer(number) => orders::Id::Integer(number),
            Id::Text(text) => orders::Id::Text(text),
        };
        Self {
            id: order.id.unsigned_abs(), // both numbers are positive
            user: id(order.user_id),
            product: id(order.product_id),
            quantity: order.quantity.unsigned_abs(),
            checkout: order.checkout_id,
            created_at: order.created_at,
        }
    }
}

impl From<sql::Error> for Error {
    fn from(error: sql::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<events::Error> for Error {
    fn from(error: events::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// What becomes of a request whose cart could not be checked out.
impl From<carts::Error> for Problem {
    fn from(error: carts::Error) -> Self {
        match error {
            carts::Error::Empty => Self::conflict("the cart is empty"),
            carts::Error::Invalid(reason) => Self::malformed(reason),
            carts::Error::Unavailable(reason) => Unavailable(reason).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use shop::Id;

    use super::{check_out, get, list, place};
    use crate::carts;
    use crate::events::Item;
    use crate::order::Order;
    use crate::orders::{self, Error};

    fn invalid(reason: &str) -> Error {
        Error::Invalid(reason.to_owned())
    }

    #[test]
    fn what_is_no_argument_is_refused_with_its_name_before_a_look_at_the_store() {
        let none = || orders::Id::Text(String::new());
        let some = || orders::Id::Integer(1);
        let user = invalid("`user` must not be empty");
        assert_eq!(place(none(), some(), 1), Err(user.clone()));
        assert_eq!(list(none(), None, None), Err(user));
        assert_eq!(place(some(), none(), 1), Err(invalid("`product` must not be empty")));
        for quantity in [0, 1_000_001, u64::MAX] {
            let refused = invalid("`quantity` must be an integer from 1 to 1000000");
            assert_eq!(place(some(), some(), quantity), Err(refused));
        }
        for limit in [0, 501, u32::MAX] {
            let refused = invalid("`limit` must be an integer from 1 to 500");
            assert_eq!(list(some(), Some(limit), None), Err(refused));
        }
        assert_eq!(get(u64::MAX), Ok(None));
    }

    #[test]
    fn an_order_is_handed_over_with_its_ids_as_they_came() {
        let order = Order {
            id: 1,
            user_id: Id::Integer(7),
            product_id: "7".into(),
            quantity: 2,
            checkout_id: Some("c".to_owned()),
            created_at: "2025-01-02T03:04:05Z".to_owned(),
        };
        let expected = orders::Order {
            id: 1,
            user: orders::Id::Integer(7),
            product: orders::Id::Text("7".to_owned()),
            quantity: 2,
            checkout: Some("c".to_owned()),
            created_at: "2025-01-02T03:04:05Z".to_owned(),
        };
        assert_eq!(orders::Order::from(order), expected);
    }

    #[test]
    fn a_checkout_is_what_is_to_be_ordered() {
        let _cart = carts::double::check_out(|user| {
            assert_eq!(*user, carts::Id::Integer(7));
            let items = vec![carts::Item { product: "42".to_owned(), quantity: 2 }];
            Ok(carts::CheckedOut { id: "c".to_owned(), items })
        });
        let items = vec![Item { product_id: "42".into(), quantity: 2 }];
        assert_eq!(check_out(&Id::Integer(7)), Ok(("c".to_owned(), items)));
    }
}
