//! Clients of cart and order, and what they know of their orders.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::stores::{Stores, all};
use crate::harness::{Client, Host};

/// Users who fill a cart and check out, and users who order at once.
const USERS: usize = 3;

/// What those who order at once have in their carts at first.
const STOCK: i64 = 1_000_000;

#[derive(Clone, Default)]
pub struct Shop {
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// The next product of each who checks out.
    next: BTreeMap<String, u64>,
    /// Products that are in the cart, or ordered, for certain.
    added: BTreeMap<String, BTreeSet<String>>,
    checkouts: BTreeSet<String>,
    /// Of each who orders at once: sent and acknowledged.
    orders: BTreeMap<String, (i64, i64)>,
}

impl Shop {
    /// With something in the carts of those who order at once.
    pub async fn open(host: &Host) -> Self {
        for user in 0..USERS {
            let cart = json!({ "user_id": orderer(user), "product_id": "x", "quantity": STOCK });
            assert_eq!(host.post("/cart", cart.to_string()).await.status, 200);
        }
        Self::default()
    }

    /// All its clients, each until it gets no answer.
    pub fn start(&self, host: &Host) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for user in 0..USERS {
            let (shop, client) = (self.clone(), host.client.clone());
            let (cart, checkout) = (host.url("/cart"), host.url("/cart/checkout"));
            clients.spawn(async move {
                while shop.add_and_check_out(&client, &cart, &checkout, &buyer(user)).await {}
            });
            let (shop, client, order) = (self.clone(), host.client.clone(), host.url("/order"));
            clients
                .spawn(async move { while shop.order(&client, &order, &orderer(user)).await {} });
        }
        clients
    }

    async fn add_and_check_out(
        &self,
        client: &Client,
        cart: &str,
        checkout: &str,
        user: &str,
    ) -> bool {
        let product = {
            let mut known = self.known.lock().expect("no panic before");
            let next = known.next.entry(user.to_owned()).or_default();
            *next += 1;
            format!("{next:06}")
        };
        let body = json!({ "user_id": user, "product_id": product, "quantity": 1 });
        if answer(client, cart, &body).await.is_none() {
            return false;
        }
        {
            let mut known = self.known.lock().expect("no panic before");
            known.added.entry(user.to_owned()).or_default().insert(product);
        }
        let Some(answer) = answer(client, checkout, &json!({ "user_id": user })).await else {
            return false;
        };
        let id = answer["checkout_id"].as_str().expect("an id").to_owned();
        self.known.lock().expect("no panic before").checkouts.insert(id)
    }

    async fn order(&self, client: &Client, url: &str, user: &str) -> bool {
        let count = |acknowledged: i64| {
            let mut known = self.known.lock().expect("no panic before");
            let orders = known.orders.entry(user.to_owned()).or_default();
            orders.0 += 1 - acknowledged;
            orders.1 += acknowledged;
        };
        count(0);
        let body = json!({ "user_id": user, "product_id": "x", "quantity": 1 });
        let acknowledged = answer(client, url, &body).await.is_some();
        if acknowledged {
            count(1);
        }
        acknowledged
    }

    /// Asserts that what was added is ordered once or still in its cart, that every
    /// checkout became orders, in their order, and that every order at once was
    /// taken out of its cart once.
    pub fn check(&self, stores: &Stores) {
        let known = self.known.lock().expect("no panic before");
        let (orders, carts) = (orders(stores), carts(stores));
        let checkouts: BTreeSet<&str> =
            orders.iter().filter_map(|order| order.checkout.as_deref()).collect();
        for checkout in &known.checkouts {
            assert!(checkouts.contains(checkout.as_str()), "checkout {checkout} is lost");
        }
        for (user, added) in &known.added {
            let ordered = orders.iter().filter(|order| order.user == *user);
            let ordered: Vec<&str> = ordered.map(|order| order.product.as_str()).collect();
            let in_order = ordered.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(in_order, "{user}: out of order, or twice: {ordered:?}");
            let cart = carts.get(user).cloned().unwrap_or_default();
            for product in added {
                let there = ordered.contains(&product.as_str());
                assert_ne!(there, cart.contains_key(product), "{user}: product {product}");
            }
        }
        for (user, (sent, acknowledged)) in &known.orders {
            let count = orders.iter().filter(|order| order.user == *user).count();
            let count = i64::try_from(count).expect("not many");
            assert!((*acknowledged..=*sent).contains(&count), "{user}: {count} orders");
            assert_eq!(carts[user]["x"], STOCK - count, "{user}: taken out of the cart");
        }
    }

    pub fn summary(&self) -> String {
        let known = self.known.lock().expect("no panic before");
        let orders: i64 = known.orders.values().map(|(_, acknowledged)| acknowledged).sum();
        format!("{} checkouts and {orders} orders acknowledged", known.checkouts.len())
    }
}

/// The answer's body, if it is one.
async fn answer(client: &Client, url: &str, body: &Value) -> Option<Value> {
    let reply = client.try_request(Method::POST, url, body.to_string()).await.ok()?;
    (reply.status == 200).then(|| reply.json())
}

struct Order {
    user: String,
    product: String,
    checkout: Option<String>,
}

fn orders(stores: &Stores) -> Vec<Order> {
    let orders = "SELECT user_id, product_id, checkout_id FROM orders ORDER BY id";
    all(&stores.store("order"), orders, |row| Order {
        user: row.get(0).expect("a user"),
        product: row.get(1).expect("a product"),
        checkout: row.get(2).expect("a checkout or none"),
    })
}

/// Products with their quantities, by user.
fn carts(stores: &Stores) -> BTreeMap<String, BTreeMap<String, i64>> {
    let carts = "SELECT key, value FROM _kv WHERE key LIKE 'user/%'";
    let cart = |row: &rusqlite::Row<'_>| {
        let key: String = row.get(0).expect("a key");
        let value: Vec<u8> = row.get(1).expect("a value");
        let user = key.strip_prefix("user/").expect("as it was selected").to_owned();
        (user, serde_json::from_slice(&value).expect("a cart"))
    };
    all(&stores.store("cart"), carts, cart).into_iter().collect()
}

fn buyer(user: usize) -> String {
    format!("buyer-{user}")
}

fn orderer(user: usize) -> String {
    format!("orderer-{user}")
}
