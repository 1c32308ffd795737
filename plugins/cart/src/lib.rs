//! The shop's carts.
//!
//! | request | answer |
//! |---|---|
//! | `POST /cart` `{"product_id", "quantity", "user_id"?}` | `{"message":"success"}`; adds to what is there |
//! | `GET /cart?user_id=` | `{"cart":{"<product_id>":n, …}}` |
//! | `DELETE /cart?product_id=&user_id=` | `{"message":"success"}`, also when it isn't there |
//! | `POST /cart/checkout` `{"user_id"}` | `{"message":"success","checkout_id"}`; 409 for an empty cart |
//! | `GET /cart/health` | `{"status":"ok"}`, without a look at the store |
//!
//! `HEAD` works where `GET` does. A cart belongs to a user; without a `user_id`
//! it is the one that all anonymous visitors share. Users and products are the
//! same when their text is: 7 and "7" are one user, since a query could not
//! tell them apart.
//!
//! | event | |
//! |---|---|
//! | `shop.cart.checked-out` `{"user_id","items":[{"product_id","quantity"}, …]}` | published by a checkout, which empties the cart; its id is the `checkout_id` |
//! | `shop.order.placed` `{"user_id","product_id","quantity","checkout_id"?}` | handled: takes what was ordered out of the cart, unless a checkout did |
//!
//! A cart has at most 1 000 products.
//!
//! Other services call `shop:cart/carts` (`wit/shop-cart`): `get`, `add`, `remove` and
//! `check-out`, which hands over what was in the cart and publishes nothing.
//!
//! In the order a request meets them: `service` (answers and handles), `request` (what is asked
//! for), `store` (users' carts), `cart` (a cart and what changes it), `events` (what is published
//! and handled); and `calls` (what other services call).

mod calls;
mod cart;
mod events;
mod request;
mod service;
mod store;

hotdock_sdk::http_handler!(service::answer);
hotdock_sdk::event_handler! { "shop.order.placed" => service::ordered }
hotdock_sdk::export! {
    mod carts = shop::cart::carts in "../../wit/shop-cart" {
        fn get(user: Option<Id>) -> Result<Vec<Item>, Error> = calls::get;
        fn add(user: Option<Id>, product: Id, quantity: u64) -> Result<(), Error> = calls::add;
        fn remove(user: Option<Id>, product: Id) -> Result<bool, Error> = calls::remove;
        fn check_out(user: Id) -> Result<CheckedOut, Error> = calls::check_out;
    }
}
