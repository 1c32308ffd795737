//! The shop's services call one another, and others call them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::Method;
use serde_json::{Value, json};

use crate::harness::keyed::Sent;
use crate::harness::raw::Raw;
use crate::harness::wire::{Answer, Asked, Came};
use crate::harness::{Host, component, eventually};

const CYCLES: u64 = 8;
const USERS: u64 = 4;

async fn shop() -> Host {
    Host::builder().plugin("cart").plugin("order").start().await
}

async fn add(host: &Host, user: u64, product: &str, quantity: u32) {
    let body = json!({"user_id": user, "product_id": product, "quantity": quantity});
    assert_eq!(host.post("/cart", body.to_string()).await.status, 200);
}

async fn cart(host: &Host, user: u64) -> Value {
    host.get(&format!("/cart?user_id={user}")).await.json()["cart"].clone()
}

async fn orders(host: &Host, user: u64) -> Vec<Value> {
    let reply = host.get(&format!("/order?user_id={user}&limit=500")).await.json();
    reply["orders"].as_array().expect("orders").clone()
}

/// By HTTP/1.1 for the one user, by HTTP/2 for the other.
async fn by_both(host: &Host, asked: impl Fn(&'static str) -> Asked) -> [(u64, Box<Answer>); 2] {
    let first = asked(r#"{"user_id": 1}"#).http1(host.address).await;
    let second = asked(r#"{"user_id": 2}"#).http2(host.address).await;
    [(1, first), (2, second.expect("it can be said"))].map(|(user, came)| match came {
        Came::Answer(answer) => (user, answer),
        Came::Reset(code) => panic!("user {user} was reset: {code}"),
    })
}

fn in_json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("not JSON: {answer:?}"))
}

#[tokio::test]
async fn an_order_without_a_product_orders_the_cart() {
    let host = shop().await;
    for user in [1, 2] {
        add(&host, user, "tea", 2).await;
        add(&host, user, "pot", 1).await;
    }
    let answers = by_both(&host, |body| Asked::new("POST", "/order").body(body)).await;
    for (user, answer) in answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        let said = in_json(&answer);
        assert_eq!(said["message"], "success");
        assert_eq!(cart(&host, user).await, json!({}));
        let orders = orders(&host, user).await;
        let placed: Vec<_> = orders.iter().rev().map(|order| order["id"].clone()).collect();
        assert_eq!(said["order_ids"], json!(placed), "in the order of the products");
        for (order, product, quantity) in [(&orders[0], "tea", 2), (&orders[1], "pot", 1)] {
            assert_eq!(
                (&order["product_id"], &order["quantity"]),
                (&json!(product), &json!(quantity))
            );
            assert_eq!(order["user_id"], user, "as it came");
            assert_eq!(order["checkout_id"], said["checkout_id"]);
        }
    }
}

#[tokio::test]
async fn an_empty_cart_is_not_ordered() {
    let host = shop().await;
    for (user, answer) in by_both(&host, |body| Asked::new("POST", "/order").body(body)).await {
        assert_eq!(
            (answer.status, &in_json(&answer)["detail"]),
            (409, &json!("the cart is empty"))
        );
        assert!(orders(&host, user).await.is_empty());
    }
}

#[tokio::test]
async fn the_orders_of_a_cart_leave_alone_what_was_put_in_since() {
    let host = shop().await;
    add(&host, 1, "tea", 2).await;
    let reply = host.post("/order", r#"{"user_id": 1}"#).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    add(&host, 1, "tea", 3).await;
    // Handled after the cart's, because it has the same user.
    let order = r#"{"user_id": 1, "product_id": "tea", "quantity": 1}"#;
    assert_eq!(host.post("/order", order).await.status, 200);
    eventually("one was taken", async || (cart(&host, 1).await["tea"] != 3).then_some(())).await;
    assert_eq!(cart(&host, 1).await, json!({"tea": 2}));
}

#[tokio::test]
async fn under_its_key_a_cart_is_ordered_once() {
    let host = shop().await;
    for user in [1, 2] {
        add(&host, user, "tea", 2).await;
    }
    let asked = |body| Asked::new("POST", "/order").header("idempotency-key", "\"one\"").body(body);
    // Another body under the same key would be another request: each user has its own path.
    let asked = |body: &'static str| {
        let user = if body.contains('1') { 1 } else { 2 };
        Asked { target: format!("/order?of={user}"), ..asked(body) }
    };
    let first = by_both(&host, asked).await;
    for user in [1, 2] {
        add(&host, user, "pot", 1).await;
    }
    let again = by_both(&host, asked).await;
    for ((user, first), (_, again)) in first.into_iter().zip(again) {
        assert_eq!(first.status, 200, "{first:?}");
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!((again.status, again.body), (first.status, first.body));
        assert_eq!(orders(&host, user).await.len(), 1);
        assert_eq!(cart(&host, user).await, json!({"pot": 1}));
    }
}

#[tokio::test]
async fn where_the_cart_service_is_gone_products_are_ordered_and_carts_later() {
    let host = shop().await;
    add(&host, 1, "tea", 2).await;
    host.remove_file("cart.wasm");
    eventually("cart is gone", async || (host.get("/cart").await.status == 404).then_some(()))
        .await;
    for (user, answer) in by_both(&host, |body| Asked::new("POST", "/order").body(body)).await {
        assert_eq!(
            (answer.status, &answer.headers["retry-after"]),
            (503, &"1".parse().expect("text"))
        );
        let body = json!({"user_id": user, "product_id": "pot", "quantity": 1});
        // On a busy machine it may hold the writer for too long: nothing was done then.
        eventually("the product is ordered", async || {
            let reply = host.post("/order", body.to_string()).await;
            assert!(reply.status == 200 || reply.is_turned_away(), "{reply:?}");
            (reply.status == 200).then_some(())
        })
        .await;
        assert_eq!(orders(&host, user).await.len(), 1);
    }
    host.drop_file("cart.wasm", component("cart").0);
    eventually("the cart is ordered", async || {
        let reply = host.post("/order", r#"{"user_id": 1}"#).await;
        assert!([200, 503].contains(&reply.status.as_u16()), "{reply:?}");
        (reply.status == 200).then_some(())
    })
    .await;
    assert_eq!(orders(&host, 1).await[0]["product_id"], "tea");
    assert_eq!(cart(&host, 1).await, json!({}));
}

#[tokio::test]
async fn others_call_what_clients_ask_by_http() {
    let host = Host::builder().plugin("cart").plugin("order").plugin("shopper").start().await;
    let call = async |method: Method, target: &str| {
        let reply = host.request(method, &format!("/shopper/{target}"), "").await;
        assert_eq!(reply.status, 200, "{target}: {reply:?}");
        reply.json()
    };
    let (get, post, delete) = (|| Method::GET, || Method::POST, || Method::DELETE);

    assert_eq!(call(post(), "cart/tea?user=7&quantity=2").await, Value::Null);
    assert_eq!(call(post(), "cart/42?user=7").await, Value::Null);
    assert_eq!(call(post(), "cart/pot").await, Value::Null, "for everybody");
    assert_eq!(call(get(), "cart?user=7").await, json!([["42", 1], ["tea", 2]]));
    assert_eq!(cart(&host, 7).await, json!({"42": 1, "tea": 2}));
    assert_eq!(host.get("/cart").await.json(), json!({"cart": {"pot": 1}}));
    assert_eq!(call(delete(), "cart/42?user=7").await, json!(true));
    assert_eq!(call(delete(), "cart/42?user=7").await, json!(false));
    let checked_out = call(post(), "checkout?user=7").await;
    assert_eq!(checked_out[1], json!([["tea", 2]]));
    assert!(!checked_out[0].as_str().expect("an id").is_empty());
    assert_eq!(call(get(), "cart?user=7").await, json!([]));
    assert!(orders(&host, 7).await.is_empty(), "its caller would order it");

    let first = call(post(), "order/tea?user=7&quantity=3").await;
    let second = call(post(), "order/42?user=seven").await;
    assert!(first.as_u64() < second.as_u64(), "{first} {second}");
    let order = call(get(), &format!("order/{first}")).await;
    let kept = orders(&host, 7).await.remove(0);
    let expected = json!({
        "id": first, "user": 7, "product": "tea", "quantity": 3, "checkout": null,
        "created_at": kept["created_at"],
    });
    assert_eq!(order, expected);
    assert_eq!(call(get(), "order/999").await, Value::Null);
    call(post(), "order/pot?user=7").await;
    let page = call(get(), "order?user=7&limit=1").await;
    assert_eq!(page[0][0]["product"], "pot");
    let rest = call(get(), &format!("order?user=7&before={}", page[1])).await;
    assert_eq!(rest, json!([[expected], null]));
}

#[tokio::test]
async fn what_a_callee_refuses_reaches_its_caller_in_its_words() {
    let host = Host::builder().plugin("cart").plugin("order").plugin("shopper").start().await;
    let refused = async |method: Method, target: &str| {
        let reply = host.request(method, &format!("/shopper/{target}"), "").await;
        (reply.status.as_u16(), reply.json()["detail"].as_str().expect("text").to_owned())
    };
    let quantity = "`quantity` must be an integer from 1 to 1000000";
    for target in ["cart/tea?user=7&quantity=0", "order/tea?user=7&quantity=1000001"] {
        assert_eq!(refused(Method::POST, target).await, (400, quantity.to_owned()), "{target}");
    }
    let control = "`product` must have no control characters";
    assert_eq!(refused(Method::POST, "cart/%01").await, (400, control.to_owned()));
    let limit = "`limit` must be an integer from 1 to 500";
    assert_eq!(refused(Method::GET, "order?user=7&limit=501").await, (400, limit.to_owned()));
    let empty = (409, "the cart is empty".to_owned());
    assert_eq!(refused(Method::POST, "checkout?user=7").await, empty);
    assert_eq!(host.get("/cart").await.json(), json!({"cart": {}}));
}

/// In turn one goes into the cart, and the cart is ordered.
fn one(cycle: u64, user: u64, number: u64) -> Sent {
    let key = format!("\"{cycle}-{user}-{number}\"");
    if number.is_multiple_of(2) {
        let body = format!(r#"{{"user_id": {user}, "product_id": "{number}", "quantity": 1}}"#);
        return Sent { key, path: "/cart", body, answer: None };
    }
    Sent { key, path: "/order", body: format!(r#"{{"user_id": {user}}}"#), answer: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cart_is_ordered_once_after_kills() {
    let mut host = shop().await;
    let mut ordered: BTreeMap<u64, usize> = BTreeMap::new();
    let (mut unanswered, mut between) = (0, 0);
    for cycle in 0..CYCLES {
        let users: Vec<_> =
            (0..USERS).map(|user| tokio::spawn(shops(host.address, cycle, user))).collect();
        // A different moment in each cycle, after something was ordered.
        let goal = 1 + usize::try_from((cycle * 13) % 30).expect("a small number");
        eventually("orders are placed", async || {
            (orders(&host, 0).await.len() >= ordered.get(&0).unwrap_or(&0) + goal).then_some(())
        })
        .await;
        host.kill();
        let mut all = Vec::new();
        for user in users {
            all.push(user.await.expect("a user ends with its connection"));
        }
        host.start().await;
        for (user, sent) in (0..).zip(all) {
            let had = ordered.get(&user).copied().unwrap_or_default();
            between += usize::from(is_between(&host, user, had, &sent).await);
            for request in sent {
                let reply = request.repeat(&host).await;
                assert_eq!(reply.status, 200, "{} {}: {reply:?}", request.path, request.key);
                if let Some(answer) = &request.answer {
                    assert_eq!(&reply.body, answer, "an acknowledged answer is kept");
                }
                unanswered += usize::from(request.answer.is_none());
                *ordered.entry(user).or_default() += usize::from(request.path == "/order");
            }
            let placed = orders(&host, user).await;
            let mut checkouts: Vec<_> =
                placed.iter().map(|order| order["checkout_id"].to_string()).collect();
            checkouts.sort();
            checkouts.dedup();
            assert_eq!((placed.len(), checkouts.len()), (ordered[&user], ordered[&user]));
            assert!(placed.iter().all(|order| order["quantity"] == 1), "{placed:?}");
        }
    }
    assert!(unanswered > 0, "some answers were lost");
    eprintln!(
        "{ordered:?} orders, {unanswered} requests without an answer; of {between} carts only the \
         check-out was durable"
    );
}

/// Whether the user's cart is checked out and not ordered.
async fn is_between(host: &Host, user: u64, had: usize, sent: &[Sent]) -> bool {
    let answered = |request: &&Sent| request.path == "/order" && request.answer.is_some();
    let Some([filled, _]) = sent.last_chunk() else { return false };
    filled.answer.is_some()
        && cart(host, user).await == json!({})
        && orders(host, user).await.len() == had + sent.iter().filter(answered).count()
}

/// Fills and orders one cart until the host is gone, and after an order always fills it again.
async fn shops(address: SocketAddr, cycle: u64, user: u64) -> Vec<Sent> {
    let mut all = Vec::new();
    loop {
        let Some(mut raw) = Raw::try_connect(address).await else { break };
        let mut request = one(cycle, user, all.len() as u64);
        if request.send(&mut raw, address).await && request.is_turned_away(&mut raw).await {
            continue;
        }
        let is_over = request.answer.is_none();
        all.push(request);
        if is_over {
            break;
        }
    }
    // The cart is empty when the next cycle begins.
    let number = all.len() as u64;
    if number % 2 == 1 {
        all.push(one(cycle, user, number));
    }
    all
}
