//! `kill -9` during writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;

use crate::harness::Host;

const CYCLES: usize = 100;
const WRITERS: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_post_is_there_after_a_hundred_kills() {
    let mut host = Host::builder().plugin("cart").plugin("order").start().await;
    let mut carts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut orders: BTreeMap<u64, u64> = BTreeMap::new();
    let mut attempts = 0;
    for cycle in 0..CYCLES {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|user| {
                let (client, acknowledged) = (host.client.clone(), Arc::clone(&acknowledged));
                let path = if user % 2 == 0 { "/cart" } else { "/order" };
                let url = host.url(path);
                tokio::spawn(async move {
                    let body = format!(r#"{{"user_id": {user}, "product_id": 1, "quantity": 1}}"#);
                    let (mut sent, mut done) = (0, 0);
                    loop {
                        sent += 1;
                        match client.try_request(Method::POST, &url, body.clone()).await {
                            Ok(reply) if reply.status == 200 => {
                                done += 1;
                                acknowledged.fetch_add(1, Ordering::Relaxed);
                            }
                            Ok(reply) if reply.is_turned_away() => sent -= 1,
                            Ok(reply) => panic!("{reply:?}"),
                            Err(_) => return (user, sent, done),
                        }
                    }
                })
            })
            .collect();
        // A different moment in each cycle, after something was acknowledged.
        let goal = 1 + (cycle as u64 * 37) % 60;
        let ended = || writers.iter().all(tokio::task::JoinHandle::is_finished);
        while acknowledged.load(Ordering::Relaxed) < goal && !ended() {
            tokio::task::yield_now().await;
        }
        host.kill();
        for writer in writers {
            let (user, sent, done) = writer.await.expect("a writer ends with its connection");
            attempts += sent;
            *if user % 2 == 0 { &mut carts } else { &mut orders }.entry(user).or_default() += done;
        }
        host.start().await;
        for (&user, acknowledged) in &mut carts {
            let stored = quantity(&host, user).await;
            settle("cart", user, acknowledged, stored);
        }
        for (&user, acknowledged) in &mut orders {
            let stored = count(&host, user).await;
            settle("order", user, acknowledged, stored);
        }
    }
    let total: u64 = carts.values().chain(orders.values()).sum();
    eprintln!(
        "{total} stored of {attempts} sent over {CYCLES} kills; every acknowledged one is there"
    );
}

/// What was sent and not acknowledged may be there or not: one a writer at the most.
fn settle(what: &str, user: u64, acknowledged: &mut u64, stored: u64) {
    assert!(
        stored >= *acknowledged,
        "{what} of {user}: {acknowledged} acknowledged, {stored} stored"
    );
    assert!(
        stored <= *acknowledged + 1,
        "{what} of {user}: {acknowledged} acknowledged, {stored} stored"
    );
    *acknowledged = stored;
}

async fn quantity(host: &Host, user: u64) -> u64 {
    let cart = host.get(&format!("/cart?user_id={user}")).await.json();
    cart["cart"]["1"].as_u64().unwrap_or(0)
}

pub async fn count(host: &Host, user: u64) -> u64 {
    let mut count = 0;
    let mut before = String::new();
    loop {
        let page = host.get(&format!("/order?user_id={user}&limit=500{before}")).await.json();
        count += page["orders"].as_array().expect("orders").len() as u64;
        match page["next"].as_u64() {
            Some(next) => before = format!("&before={next}"),
            None => return count,
        }
    }
}
