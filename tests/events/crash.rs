//! `kill -9` at any moment.

use std::time::Duration;

use super::load::{Ledgers, WithLedgers as _};
use super::shop::Shop;
use super::soak;
use super::stores::Stores;
use crate::harness::{Host, eventually};

/// The longest after its first acknowledgement that a host lives.
const LIFE: Duration = Duration::from_millis(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_lose_no_event_and_repeat_no_effect() {
    let mut host = Host::builder().plugin("cart").plugin("order").ledgers().start().await;
    let (ledgers, shop) = (Ledgers::default(), Shop::open(&host).await);
    for _ in 0..soak(100, 1_000) {
        let before = ledgers.acknowledged();
        let (entries, orders) = (ledgers.start(&host, 6), shop.start(&host));
        eventually("something is acknowledged", async || {
            (ledgers.acknowledged() > before).then_some(())
        })
        .await;
        // Not to wait for anything: any moment will do.
        tokio::time::sleep(LIFE.mul_f64(fastrand::f64())).await;
        host.kill();
        entries.join_all().await;
        orders.join_all().await;
        host.start().await;
    }
    let stores = Stores::at(&host.data());
    stores.until_drained().await;
    ledgers.check(&stores);
    shop.check(&stores);
    eprintln!("entries: {}; {}", ledgers.summary(), shop.summary());
}
