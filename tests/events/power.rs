//! The power goes away, and with it what was not synced.

use super::load::{Ledgers, WithLedgers as _};
use super::shop::Shop;
use super::soak;
use super::stores::Stores;
use crate::harness::disk::{Disk, Unsynced};
use crate::harness::{Host, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let Some(mut disk) = Disk::mount() else { return };
    let mut host = on(&disk).await;
    let (ledgers, shop) = (Ledgers::default(), Shop::open(&host).await);
    for cycle in 0..soak(20, 300) {
        work(&mut host, &ledgers, &shop).await;
        disk.cut_power(if cycle % 2 == 0 { Unsynced::Lost } else { Unsynced::Torn });
        host.start().await;
    }
    let (stores, _copy) = Stores::drained(&disk).await;
    ledgers.check(&stores);
    shop.check(&stores);
    eprintln!("entries: {}; {}", ledgers.summary(), shop.summary());
}

/// What the test above would not see if nothing were synced, it would not see at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_on_a_disk_that_only_says_it_syncs_loses_what_was_acknowledged() {
    let Some(mut disk) = Disk::mount() else { return };
    let mut host = on(&disk).await;
    let (ledgers, shop) = (Ledgers::default(), Shop::open(&host).await);
    disk.ignore_syncs();
    work(&mut host, &ledgers, &shop).await;
    disk.cut_power(Unsynced::Lost);
    if let Err(ended) = host.try_start().await {
        eprintln!("the control does not even start again: {ended}");
        return;
    }
    let (stores, _copy) = Stores::drained(&disk).await;
    let lost = ledgers.lost(&stores);
    eprintln!("the control lost {lost} entries; {}", ledgers.summary());
    assert!(lost > 0, "an entry that was acknowledged should be lost");
}

async fn on(disk: &Disk) -> Host {
    let builder = Host::builder().data(disk.path()).plugin("cart").plugin("order");
    builder.ledgers().start().await
}

/// Has the host work until some is acknowledged, and ends it.
async fn work(host: &mut Host, ledgers: &Ledgers, shop: &Shop) {
    let goal = ledgers.acknowledged() + fastrand::u64(1..40);
    let (entries, orders) = (ledgers.start(host, 6), shop.start(host));
    eventually("something is acknowledged", async || {
        (ledgers.acknowledged() >= goal).then_some(())
    })
    .await;
    host.kill();
    entries.join_all().await;
    orders.join_all().await;
}
