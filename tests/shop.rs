//! Cart and order keep the contract that clients of the original rely on.

mod calls;

use http::Method;
use serde_json::json;

use crate::harness::Host;

async fn shop() -> Host {
    Host::builder().plugin("cart").plugin("order").start().await
}

#[tokio::test]
async fn a_cart_adds_lists_and_removes() {
    let host = shop().await;
    let add = async |user: &str, product: &str, quantity: u32| {
        let body =
            format!(r#"{{"user_id": {user}, "product_id": {product}, "quantity": {quantity}}}"#);
        let reply = host.post("/cart", body).await;
        assert_eq!(
            (reply.status.as_u16(), reply.text().as_str()),
            (200, r#"{"message":"success"}"#)
        );
    };
    add("7", "42", 2).await;
    add("7", "42", 3).await;
    add("7", "\"blue-shirt\"", 1).await;
    add("8", "42", 9).await;
    let cart = host.get("/cart?user_id=7").await;
    assert_eq!(cart.header("content-type"), "application/json");
    assert_eq!(cart.json(), json!({"cart": {"42": 5, "blue-shirt": 1}}));
    let gone = host.request(Method::DELETE, "/cart?user_id=7&product_id=42", "").await;
    assert_eq!((gone.status.as_u16(), gone.text().as_str()), (200, r#"{"message":"success"}"#));
    assert_eq!(host.get("/cart?user_id=7").await.json(), json!({"cart": {"blue-shirt": 1}}));
    assert_eq!(host.get("/cart?user_id=8").await.json(), json!({"cart": {"42": 9}}));
}

#[tokio::test]
async fn without_a_user_there_is_one_shared_cart() {
    let host = shop().await;
    host.post("/cart", r#"{"product_id": 1, "quantity": 1}"#).await;
    host.post("/cart", r#"{"product_id": 1, "quantity": 1}"#).await;
    assert_eq!(host.get("/cart").await.json(), json!({"cart": {"1": 2}}));
    host.request(Method::DELETE, "/cart?product_id=1", "").await;
    assert_eq!(host.get("/cart").await.json(), json!({"cart": {}}));
}

#[tokio::test]
async fn orders_keep_their_ids_as_they_came_and_are_listed_newest_first() {
    let host = shop().await;
    for (user, product) in [("7", "42"), ("\"7\"", "\"x\""), ("8", "1")] {
        let body = format!(r#"{{"user_id": {user}, "product_id": {product}, "quantity": 2}}"#);
        let reply = host.post("/order", body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.json()["message"], "success");
    }
    let orders = host.get("/order?user_id=7").await.json();
    let orders = orders["orders"].as_array().expect("orders");
    assert_eq!(orders.len(), 2);
    assert_eq!(orders[0]["product_id"], "x");
    assert_eq!(orders[0]["user_id"], "7");
    assert_eq!(orders[1]["user_id"], 7);
    assert_eq!(orders[1]["product_id"], 42);
    assert_eq!(orders[1]["quantity"], 2);
    let id = orders[1]["id"].as_i64().expect("an id");
    let order = host.get(&format!("/order/{id}")).await.json();
    assert_eq!(order, orders[1]);
    let created = order["created_at"].as_str().expect("text");
    assert!(created.starts_with("20") && created.ends_with('Z'), "{created}");
    assert_eq!(host.get("/order/999").await.status, 404);
}

#[tokio::test]
async fn orders_are_paged() {
    let host = shop().await;
    for product in 0..7 {
        let body = format!(r#"{{"user_id": 1, "product_id": {product}, "quantity": 1}}"#);
        host.post("/order", body).await;
    }
    let first = host.get("/order?user_id=1&limit=4").await.json();
    assert_eq!(first["orders"].as_array().expect("orders").len(), 4);
    let next = first["next"].as_i64().expect("more");
    let second = host.get(&format!("/order?user_id=1&limit=4&before={next}")).await.json();
    let products: Vec<_> = second["orders"]
        .as_array()
        .expect("orders")
        .iter()
        .map(|order| order["product_id"].clone())
        .collect();
    assert_eq!(products, [json!(2), json!(1), json!(0)]);
    assert!(second.get("next").is_none());
}

#[tokio::test]
async fn bad_input_is_refused_by_field_and_stores_nothing() {
    let host = shop().await;
    let cases = [
        ("not json", "/cart", "", 400),
        ("[]", "/cart", "", 400),
        (r#"{"quantity": 1}"#, "/cart", "product_id", 400),
        (r#"{"product_id": 1}"#, "/cart", "quantity", 400),
        (r#"{"product_id": 1, "quantity": 0}"#, "/cart", "quantity", 400),
        (r#"{"product_id": 1, "quantity": -1}"#, "/cart", "quantity", 400),
        (r#"{"product_id": 1, "quantity": 1.5}"#, "/cart", "quantity", 400),
        (r#"{"product_id": 1, "quantity": "2"}"#, "/cart", "quantity", 400),
        (r#"{"product_id": 1, "quantity": 99999999999}"#, "/cart", "quantity", 400),
        (r#"{"product_id": null, "quantity": 1}"#, "/cart", "product_id", 400),
        (r#"{"product_id": 1, "quantity": 1, "user_id": []}"#, "/cart", "user_id", 400),
        (r#"{"product_id": 1, "quantity": 1}"#, "/order", "user_id", 400),
        (r#"{"user_id": 1, "quantity": 1}"#, "/order", "product_id", 400),
        (r#"{"user_id": 1, "product_id": 1, "quantity": true}"#, "/order", "quantity", 400),
        (r#"{"product_id": 1, "quantity": 1}"#, "/cart/unknown", "", 404),
    ];
    for (body, path, field, status) in cases {
        let reply = host.post(path, body).await;
        assert_eq!(reply.status, status, "{path} {body}: {reply:?}");
        assert_eq!(reply.header("content-type"), "application/problem+json", "{body}");
        assert!(reply.text().contains(field), "{body}: {}", reply.text());
    }
    for path in ["/cart", "/order"] {
        let reply = host.request(Method::PATCH, path, "").await;
        assert_eq!(reply.status, 405);
        assert!(reply.header("allow").contains("POST"), "{reply:?}");
    }
    assert_eq!(host.get("/order").await.status, 400, "whose orders?");
    assert_eq!(host.request(Method::DELETE, "/cart", "").await.status, 400, "which product?");
    assert_eq!(host.get("/cart").await.json(), json!({"cart": {}}));
    assert_eq!(host.get("/order?user_id=1").await.json(), json!({"orders": []}));
}
