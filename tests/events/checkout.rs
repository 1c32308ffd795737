//! The shop: a checkout becomes orders, and an order empties the cart.

use serde_json::{Value, json};

use crate::harness::{Host, eventually};

async fn shop() -> Host {
    Host::builder().plugin("cart").plugin("order").start().await
}

async fn add(host: &Host, product: &str, quantity: u32) {
    let body = json!({"user_id": 7, "product_id": product, "quantity": quantity});
    assert_eq!(host.post("/cart", body.to_string()).await.status, 200);
}

async fn cart(host: &Host) -> Value {
    host.get("/cart?user_id=7").await.json()["cart"].clone()
}

async fn orders(host: &Host) -> Vec<Value> {
    let reply = host.get("/order?user_id=7").await.json();
    reply["orders"].as_array().expect("orders").clone()
}

async fn until_orders(host: &Host, count: usize) -> Vec<Value> {
    eventually(&format!("there are {count} orders"), async || {
        let orders = orders(host).await;
        (orders.len() == count).then_some(orders)
    })
    .await
}

#[tokio::test]
async fn a_checkout_empties_the_cart_and_becomes_an_order_for_each_item() {
    let host = shop().await;
    add(&host, "tea", 2).await;
    add(&host, "pot", 1).await;
    let reply = host.post("/cart/checkout", r#"{"user_id":7}"#).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["message"]), (200, &json!("success")));
    let checkout_id = reply.json()["checkout_id"].as_str().expect("an id").to_owned();
    assert_eq!(cart(&host).await, json!({}));
    let orders = until_orders(&host, 2).await;
    for (order, product, quantity) in [(&orders[0], "tea", 2), (&orders[1], "pot", 1)] {
        assert_eq!(order["product_id"], product);
        assert_eq!(order["quantity"], quantity);
        assert_eq!(order["user_id"], 7, "as it came");
        assert_eq!(order["checkout_id"], checkout_id);
    }
}

#[tokio::test]
async fn an_empty_cart_is_not_checked_out() {
    let host = shop().await;
    let reply = host.post("/cart/checkout", r#"{"user_id":7}"#).await;
    assert_eq!(reply.status, 409);
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(reply.json()["detail"], "the cart is empty");
}

#[tokio::test]
async fn an_order_takes_its_product_out_of_the_cart() {
    let host = shop().await;
    add(&host, "tea", 5).await;
    let order = r#"{"user_id":7,"product_id":"tea","quantity":2}"#;
    assert_eq!(host.post("/order", order).await.status, 200);
    eventually("the cart has 3", async || (cart(&host).await["tea"] == 3).then_some(())).await;
    // More than there is, and what never was in.
    for product in ["tea", "pot"] {
        let order = json!({"user_id": 7, "product_id": product, "quantity": 9});
        assert_eq!(host.post("/order", order.to_string()).await.status, 200);
    }
    eventually("the cart is empty", async || (cart(&host).await == json!({})).then_some(())).await;
    assert!(orders(&host).await.iter().all(|order| order.get("checkout_id").is_none()));
}

#[tokio::test]
async fn the_orders_of_a_checkout_leave_alone_what_was_put_in_since() {
    let host = shop().await;
    add(&host, "tea", 2).await;
    assert_eq!(host.post("/cart/checkout", r#"{"user_id":7}"#).await.status, 200);
    add(&host, "tea", 3).await;
    until_orders(&host, 1).await;
    // Handled after the checkout's, because it has the same user.
    let order = r#"{"user_id":7,"product_id":"tea","quantity":1}"#;
    assert_eq!(host.post("/order", order).await.status, 200);
    eventually("one was taken", async || (cart(&host).await["tea"] != 3).then_some(())).await;
    assert_eq!(cart(&host).await, json!({"tea": 2}));
}
