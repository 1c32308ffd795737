//! A `host.db` that somebody else has locked.

use std::time::Duration;

use rusqlite::Connection;

use super::bench::Bench;
use crate::deploy::{Condition, NotDone};

/// Locks it for writing until what is returned is dropped.
fn lock(bench: &Bench) -> Connection {
    let file = Connection::open(bench.folders.path().join("data/host.db")).expect("SQLite");
    file.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    file
}

#[tokio::test]
async fn a_change_that_its_operator_no_longer_waits_for_is_carried_through() {
    let bench = Bench::start().await;
    let patience = Duration::from_secs(1);
    let mut bench = bench.restart(|_| {}, |config| config.record_patience = patience).await;
    for name in ["one", "two"] {
        bench.drop_component("cart", name);
        bench.serving().await;
    }
    let operator = bench.deployer.operator();
    let lock = lock(&bench);
    let rollback = operator.rollback("cart", None, None, Condition::None).await;
    let told = rollback.expect_err("it is not done yet");
    assert!(matches!(&told, NotDone::Late(text) if text.contains("may have taken")), "{told}");
    let others = operator.versions("cart").await.expect_err("the thread is at the change");
    let text = "it did not come to it within 1s; nothing was changed";
    assert!(matches!(&others, NotDone::Late(told) if told.contains(text)), "{others}");
    assert_eq!(bench.version("cart").expect("a version").id.number, 2, "host.db comes first");
    drop(lock);
    bench
        .until_status(|status| {
            let serving = status.services[0].serving.as_ref();
            serving.is_some_and(|serving| serving.version == 1)
        })
        .await;
    let versions = operator.versions("cart").await.expect("the record");
    assert_eq!(versions[0].rolled_back.as_deref(), Some("by an operator"));
}

#[tokio::test]
async fn a_file_that_is_refused_while_the_record_is_locked_is_deployed_once_it_is_not() {
    let mut bench = Bench::start().await;
    let lock = lock(&bench);
    bench.drop_component("cart", "one");
    let reasons = bench.refused().await.join("; ");
    assert!(reasons.contains("host.db, is busy: another process has it locked"), "{reasons}");
    drop(lock);
    let serving = bench.serving().await;
    assert!(serving.starts_with("cart v1"), "{serving}");
}
