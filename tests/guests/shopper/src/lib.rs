//! Does at cart and order what it is asked for, by calls; by HTTP comes what they return.
//!
//! ```text
//! GET    /shopper/cart?user=                    what is in a cart: [["tea",2], …]
//! POST   /shopper/cart/{product}?user=&quantity=  adds to it
//! DELETE /shopper/cart/{product}?user=            takes the product out: whether it was in
//! POST   /shopper/checkout?user=                the checkout's id and what was in: ["…",[["tea",2], …]]
//! POST   /shopper/order/{product}?user=&quantity= the new order's number
//! GET    /shopper/order/{number}                the order, or null
//! GET    /shopper/order?user=&limit=&before=    a page of orders: [[…], next]
//! ```
//!
//! A user or a product of digits is an integer, any other a text. What a callee refuses is 400
//! where it calls it invalid, 409 where it calls it empty, and 503 where it is unavailable.

use hotdock_sdk::calls::Unavailable;
use hotdock_sdk::http::{Request, Response, json};
use hotdock_sdk::problem::Problem;
use serde_json::{Value, json as object};

hotdock_sdk::import! {
    mod carts = shop::cart::carts in "../../../wit/shop-cart" {
        fn get(user: Option<&Id>) -> Result<Vec<Item>, Error>;
        fn add(user: Option<&Id>, product: &Id, quantity: u64) -> Result<(), Error>;
        fn remove(user: Option<&Id>, product: &Id) -> Result<bool, Error>;
        fn check_out(user: &Id) -> Result<CheckedOut, Error>;
    }
}

hotdock_sdk::import! {
    mod orders = shop::order::orders in "../../../wit/shop-order" {
        fn place(user: &Id, product: &Id, quantity: u64) -> Result<u64, Error>;
        fn get(id: u64) -> Result<Option<Order>, Error>;
        fn list(user: &Id, limit: Option<u32>, before: Option<u64>) -> Result<Page, Error>;
    }
}

hotdock_sdk::http_handler! {
    "/shopper/cart" => { GET: cart },
    "/shopper/cart/{product}" => { POST: add, DELETE: remove },
    "/shopper/checkout" => { POST: check_out },
    "/shopper/order" => { GET: list },
    "/shopper/order/{number_or_product}" => { GET: order, POST: place },
}

fn cart(request: &Request) -> Result<Response, Problem> {
    json(&items(&carts::get(user(request)?.map(carts::Id::from).as_ref())?))
}

fn add(request: &Request, product: Id) -> Result<Response, Problem> {
    let user = user(request)?.map(carts::Id::from);
    json(&carts::add(user.as_ref(), &product.into(), quantity(request)?)?)
}

fn remove(request: &Request, product: Id) -> Result<Response, Problem> {
    json(&carts::remove(user(request)?.map(carts::Id::from).as_ref(), &product.into())?)
}

fn check_out(request: &Request) -> Result<Response, Problem> {
    let checked_out = carts::check_out(&required_user(request)?.into())?;
    json(&object!([checked_out.id, items(&checked_out.items)]))
}

fn place(request: &Request, product: Id) -> Result<Response, Problem> {
    let user = required_user(request)?.into();
    json(&orders::place(&user, &product.into(), quantity(request)?)?)
}

fn order(_: &Request, number: u64) -> Result<Response, Problem> {
    json(&orders::get(number)?.map(in_json))
}

fn list(request: &Request) -> Result<Response, Problem> {
    let limit: Option<i64> = request.query().optional("limit")?;
    let before: Option<i64> = request.query().optional("before")?;
    let page = orders::list(
        &required_user(request)?.into(),
        limit.map(|limit| u32::try_from(limit).unwrap_or_default()),
        before.map(i64::unsigned_abs),
    )?;
    let orders: Vec<Value> = page.orders.into_iter().map(in_json).collect();
    json(&object!([orders, page.next]))
}

/// A user or a product, as a path or a query has it.
enum Id {
    Integer(i64),
    Text(String),
}

impl Id {
    fn of(text: String) -> Self {
        text.parse().map_or(Self::Text(text), Self::Integer)
    }
}

impl hotdock_sdk::http::Parameter for Id {
    fn of_segment(segment: &str) -> Option<Self> {
        String::of_segment(segment).map(Self::of)
    }
}

impl From<Id> for carts::Id {
    fn from(id: Id) -> Self {
        match id {
            Id::Integer(number) => Self::Integer(number),
            Id::Text(text) => Self::Text(text),
        }
    }
}

impl From<Id> for orders::Id {
    fn from(id: Id) -> Self {
        match id {
            Id::Integer(number) => Self::Integer(number),
            Id::Text(text) => Self::Text(text),
        }
    }
}

fn user(request: &Request) -> Result<Option<Id>, Problem> {
    Ok(request.query().optional("user")?.map(Id::of))
}

fn required_user(request: &Request) -> Result<Id, Problem> {
    Ok(Id::of(request.query().required("user")?))
}

fn quantity(request: &Request) -> Result<u64, Problem> {
    Ok(request.query().integer("quantity", &(0..=i64::MAX))?.unwrap_or(1).unsigned_abs())
}

fn items(items: &[carts::Item]) -> Vec<(&str, u64)> {
    items.iter().map(|item| (item.product.as_str(), item.quantity)).collect()
}

fn in_json(order: orders::Order) -> Value {
    let id = |id| match id {
        orders::Id::Integer(number) => object!(number),
        orders::Id::Text(text) => object!(text),
    };
    object!({
        "id": order.id,
        "user": id(order.user),
        "product": id(order.product),
        "quantity": order.quantity,
        "checkout": order.checkout,
        "created_at": order.created_at,
    })
}

impl From<carts::Error> for Problem {
    fn from(error: carts::Error) -> Self {
        match error {
            carts::Error::Invalid(reason) => Self::malformed(reason),
            carts::Error::Empty => Self::conflict("the cart is empty"),
            carts::Error::Unavailable(reason) => Unavailable(reason).into(),
        }
    }
}

impl From<orders::Error> for Problem {
    fn from(error: orders::Error) -> Self {
        match error {
            orders::Error::Invalid(reason) => Self::malformed(reason),
            orders::Error::Unavailable(reason) => Unavailable(reason).into(),
        }
    }
}
