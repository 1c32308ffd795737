//! The shop's orders.
//!
//! | request | answer |
//! |---|---|
//! | `POST /order` `{"user_id", "product_id", "quantity"}` | `{"message":"success","order_id":n}` |
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
//! In the order a request meets them: `service` (answers and handles), `call` (what is asked
//! for), `order` (an order and a page of them), `events` (what is published and handled).

mod call;
mod events;
mod order;
mod service;

hotdock_sdk::http_handler!(service::answer);
hotdock_sdk::event_handler! { "shop.cart.checked-out" => service::checked_out }
