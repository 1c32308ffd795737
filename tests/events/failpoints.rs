//! The process dies at every place where something becomes durable.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use super::load::{Ledgers, WithLedgers as _};
use super::shop::Shop;
use super::stores::Stores;
use crate::harness::Host;

/// What is done durably, by the host's names for it.
const STEPS: [&str; 8] = [
    "commit",
    "gate release",
    "relay append",
    "bus commit",
    "outbox trim",
    "cursor commit",
    "hold",
    "dead letter",
];

/// At which passes it dies.
const PASSES: [u32; 3] = [1, 4, 25];

#[tokio::test(flavor = "multi_thread")]
async fn a_death_before_or_after_any_step_loses_and_repeats_nothing() {
    let mut host = Host::builder().plugin("cart").plugin("order").ledgers().start().await;
    let (ledgers, shop) = (Ledgers::default(), Shop::open(&host).await);
    host.kill();
    for step in STEPS {
        for when in ["before", "after"] {
            for pass in PASSES {
                let failpoint = format!("{when} {step}={pass}");
                host.set_environment("HOTDOCK_FAILPOINT", Some(&failpoint));
                let ended = until_dead(&mut host, &ledgers, &shop).await;
                assert_eq!(ended.signal(), Some(6), "{failpoint}: {ended}");
            }
        }
        host.set_environment("HOTDOCK_FAILPOINT", None);
        host.start().await;
        let stores = Stores::at(&host.data());
        stores.until_drained().await;
        ledgers.check(&stores);
        shop.check(&stores);
        host.kill();
    }
    eprintln!("entries: {}; {}", ledgers.summary(), shop.summary());
}

/// Starts the host and works with it until its end.
async fn until_dead(host: &mut Host, ledgers: &Ledgers, shop: &Shop) -> ExitStatus {
    if let Err(ended) = host.try_start().await {
        return ended;
    }
    let (entries, orders) = (ledgers.start(host, 6), shop.start(host));
    let ended = host.ended().await;
    entries.join_all().await;
    orders.join_all().await;
    ended
}
