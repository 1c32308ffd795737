//! `kill -9` while clients leave: repeats make every effect happen once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::harness::Host;
use crate::harness::keyed::Sent;
use crate::harness::raw::Raw;

const CYCLES: u64 = 12;
const WRITERS: u64 = 6;

/// Even users fill a cart, by key and value; odd ones order, by SQL.
fn one(user: u64, number: u64, cycle: u64) -> Sent {
    Sent {
        key: format!("\"{cycle}-{user}-{number}\""),
        path: if user.is_multiple_of(2) { "/cart" } else { "/order" },
        body: format!(r#"{{"user_id": {user}, "product_id": 1, "quantity": 1}}"#),
        answer: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_has_its_effect_once_after_kills_and_lost_connections() {
    let mut host = Host::builder().plugin("cart").plugin("order").start().await;
    let mut effects: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut unanswered, mut replayed) = (0, 0);
    for cycle in 0..CYCLES {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|user| tokio::spawn(write(host.address, user, cycle, Arc::clone(&acknowledged))))
            .collect();
        // A different moment in each cycle, after something was acknowledged.
        let goal = 1 + (cycle * 37) % 60;
        while acknowledged.load(Ordering::Relaxed) < goal {
            tokio::task::yield_now().await;
        }
        host.kill();
        let mut sent = Vec::new();
        for writer in writers {
            sent.push(writer.await.expect("a writer ends with its connection"));
        }
        host.start().await;
        for (user, sent) in (0..).zip(sent) {
            *effects.entry(user).or_default() += sent.len() as u64;
            for request in sent {
                let reply = request.repeat(&host).await;
                assert_eq!(reply.status, 200, "{reply:?}");
                let was_kept = reply.header("idempotency-replayed") == "true";
                if let Some(answer) = &request.answer {
                    assert!(was_kept, "an acknowledged answer is kept: {}", request.key);
                    assert_eq!(&reply.body, answer);
                }
                unanswered += u64::from(request.answer.is_none());
                replayed += u64::from(request.answer.is_none() && was_kept);
                let again = request.repeat(&host).await;
                assert_eq!((again.status, &again.body), (reply.status, &reply.body));
                assert_eq!(again.header("idempotency-replayed"), "true");
            }
        }
        for (&user, &count) in &effects {
            assert_eq!(stored(&host, user).await, count, "user {user} after cycle {cycle}");
        }
    }
    assert!(unanswered > 0, "some answers were lost");
    eprintln!(
        "{} requests, {unanswered} without an answer, of which {replayed} had happened",
        effects.values().sum::<u64>()
    );
}

/// Sends one request after the other until the host is gone, and leaves every
/// third before its answer.
async fn write(
    address: std::net::SocketAddr,
    user: u64,
    cycle: u64,
    acknowledged: Arc<AtomicU64>,
) -> Vec<Sent> {
    let mut all = Vec::new();
    for number in 0.. {
        let Some(mut raw) = Raw::try_connect(address).await else { break };
        let mut request = one(user, number, cycle);
        if request.send(&mut raw, address).await && !number.is_multiple_of(3) {
            if request.is_turned_away(&mut raw).await {
                continue;
            }
            acknowledged.fetch_add(u64::from(request.answer.is_some()), Ordering::Relaxed);
        }
        all.push(request);
    }
    all
}

async fn stored(host: &Host, user: u64) -> u64 {
    if user.is_multiple_of(2) {
        let cart = host.get(&format!("/cart?user_id={user}")).await.json();
        return cart["cart"]["1"].as_u64().unwrap_or(0);
    }
    super::crash::count(host, user).await
}
