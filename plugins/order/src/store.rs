//! Orders in the service's tables.

use hotdock_sdk::events;
use hotdock_sdk::{params, sql};
use shop::Id;

use crate::events::{Item, Placed};
use crate::order::{Order, OrderId, Page};
use crate::request::List;

const INSERT: &str = "INSERT INTO orders (user_id, product_id, quantity, checkout_id, created_at)
    VALUES (?1, ?2, ?3, ?4, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))";

const SELECT: &str = "SELECT id, user_id, product_id, quantity, checkout_id, created_at
    FROM orders WHERE id = ?1";

/// The cast is the index's: it makes 7 and '7' one user.
const SELECT_PAGE: &str = "SELECT id, user_id, product_id, quantity, checkout_id, created_at
    FROM orders WHERE CAST(user_id AS TEXT) = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";

/// Whatever of it fails, the caller's error has it.
pub(crate) trait Failed: From<sql::Error> + From<events::Error> {}

impl<E: From<sql::Error> + From<events::Error>> Failed for E {}

/// Places one order. Returns its number.
pub(crate) fn place<E: Failed>(user: &Id, item: &Item) -> Result<i64, E> {
    let placed = insert(user, item, None)?;
    events::publish(&placed.event()?)?;
    Ok(placed.order_id)
}

/// Places an order for each item of a checkout. Returns their numbers.
pub(crate) fn place_all<E: Failed>(
    user: &Id,
    items: &[Item],
    checkout_id: &str,
) -> Result<Vec<i64>, E> {
    let mut numbers = Vec::with_capacity(items.len());
    let mut published = Vec::with_capacity(items.len());
    for item in items {
        let placed = insert(user, item, Some(checkout_id))?;
        numbers.push(placed.order_id);
        published.push(placed.event()?);
    }
    events::publish_all(&published)?;
    Ok(numbers)
}

/// The order, if there is one with this number.
pub(crate) fn find(OrderId(id): OrderId) -> Result<Option<Order>, sql::Error> {
    Ok(sql::query(SELECT, &params![id])?.into_iter().next())
}

pub(crate) fn page(list: List) -> Result<Page, sql::Error> {
    let List { user, limit, before } = list;
    // One more than asked for: it says whether another page follows.
    let orders = sql::query(SELECT_PAGE, &params![user.to_string(), before, limit + 1])?;
    let limit = usize::try_from(limit).expect("a page's limit is small and positive");
    Ok(Page::of(orders, limit))
}

fn insert<'a>(
    user: &'a Id,
    item: &'a Item,
    checkout_id: Option<&'a str>,
) -> Result<Placed<'a>, sql::Error> {
    let Item { product_id, quantity } = item;
    let row = params![user.clone(), product_id.clone(), *quantity, checkout_id];
    let order_id = sql::execute(INSERT, &row)?.last_insert_id;
    Ok(Placed { order_id, user_id: user, product_id, quantity: *quantity, checkout_id })
}
