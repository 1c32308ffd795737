//! The shop's orders.
//!
//! | request | answer |
//! |---|---|
//! | `POST /order` `{"user_id", "product_id", "quantity"}` | `{"message":"success","order_id":n}` |
//! | `POST /order` `{"user_id"}` | `{"message":"success","checkout_id","order_ids":[n, …]}`: orders what is in the cart; 409 for an empty one |
//! | `GET /order?user_id=&limit=&before=` | `{"orders":[…],"next"?}`, newest first |
//! | `GET /order/{id}` | the order |
//! | `GET /order/health` | `{"status":"ok"}`, without a look at the store |
//!
//! | event | |
//! |---|---|
//! | `shop.order.placed` `{"order_id","user_id","product_id","quantity","checkout_id"?}` | published for every order |
//! | `shop.cart.checked-out` `{"user_id","items":[{"product_id","quantity"}, …]}` | handled: an order for each item, with the event's id as its `checkout_id` |
//!
//! `HEAD` works where `GET` does. A page has `limit` orders (50; at most 500);
//! `next`, there only when there are more, is the `before` of the next page.
//! Identifiers are kept as they came, 7 as 7 and "7" as "7"; a query cannot
//! tell them apart and finds the orders of both.
//!
//! Other services call `shop:order/orders` (`wit/shop-order`): `place`, `get`, `list`. This one
//! calls `check-out` of `shop:cart/carts`, to order a cart. Under an `Idempotency-Key` a cart is
//! ordered once, whatever fails in between; without one, a request that fails may leave a cart
//! that is empty and not ordered.
//!
//! In the order a request meets them: `service` (answers and handles), `request` (what is asked
//! for), `store` (orders in tables), `order` (an order and a page of them), `events` (what is
//! published and handled); and `calls` (what other services call, and what is called of theirs).

mod calls;
mod events;
mod order;
mod request;
mod service;
mod store;

hotdock_sdk::http_handler!(service::answer);
hotdock_sdk::event_handler! { "shop.cart.checked-out" => service::checked_out }
hotdock_sdk::export! {
    mod orders = shop::order::orders in "../../wit/shop-order" {
        fn place(user: Id, product: Id, quantity: u64) -> Result<u64, Error> = calls::place;
        fn get(id: u64) -> Result<Option<Order>, Error> = calls::get;
        fn list(user: Id, limit: Option<u32>, before: Option<u64>) -> Result<Page, Error>
            = calls::list;
    }
}
hotdock_sdk::import! {
    mod carts = shop::cart::carts in "../../wit/shop-cart" {
        fn check_out(user: &Id) -> Result<CheckedOut, Error>;
    }
}
