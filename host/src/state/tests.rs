//! What transactions promise, each as a sentence.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};

use super::*;

mod bounds;
mod events;
mod leases;
mod sandbox;
mod sql;
mod statements;
mod undone;

struct Fixture {
    store: Arc<Store>,
    _folder: tempfile::TempDir,
}

fn fixture(options: StoreOptions) -> Fixture {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::new(folder.path().join("cart.db"), "cart", options);
    Fixture { store, _folder: folder }
}

/// Stalls commits while it is closed.
#[derive(Clone, Default)]
struct Valve {
    state: Arc<(Mutex<bool>, Condvar)>,
    waiting: Arc<AtomicUsize>,
}

impl Valve {
    fn options(&self) -> StoreOptions {
        let valve = self.clone();
        let before_commit = move || {
            let (closed, changed) = &*valve.state;
            let mut closed = closed.lock().expect("a lock");
            valve.waiting.fetch_add(1, Ordering::SeqCst);
            while *closed {
                // Bounded, so that a failing test ends.
                let waited = changed.wait_timeout(closed, Duration::from_secs(20)).expect("a lock");
                assert!(!waited.1.timed_out(), "the valve is opened in time");
                closed = waited.0;
            }
            valve.waiting.fetch_sub(1, Ordering::SeqCst);
        };
        StoreOptions { before_commit: Some(Arc::new(before_commit)), ..StoreOptions::default() }
    }

    fn set(&self, closed: bool) {
        *self.state.0.lock().expect("a lock") = closed;
        self.state.1.notify_all();
    }

    async fn until_someone_waits(&self) {
        eventually(|| self.waiting.load(Ordering::SeqCst) > 0).await;
    }
}

async fn eventually(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.expect("the condition is met in time");
}

/// What the host does with an invocation: optimistic, then leased, then alone.
async fn invoke<R: Send + 'static>(
    store: &Arc<Store>,
    handler: impl for<'a> Fn(&'a mut Transaction) -> BoxFuture<'a, Result<R, Error>>
    + Clone
    + Send
    + Sync
    + 'static,
) -> Result<R, Error> {
    let mut transaction = store.begin();
    let first = match handler(&mut transaction).await {
        Ok(value) => match transaction.finish().await {
            Ok(committed) => return committed.durable().await.map(|()| value),
            Err(error) => error,
        },
        Err(error) => error,
    };
    let mut rerun = match first {
        Error::Rerun(rerun) => rerun,
        Error::NeedsLease => Rerun::Leased,
        error => return Err(error),
    };
    loop {
        let handler = handler.clone();
        let leased = store.lease(rerun == Rerun::Alone, None, move |mut transaction| async move {
            let value = handler(&mut transaction).await?;
            Ok((value, transaction.finish().await?))
        });
        match leased.await.and_then(|result| result) {
            Ok((value, committed)) => return committed.durable().await.map(|()| value),
            Err(Error::Rerun(next)) => rerun = next,
            Err(error) => return Err(error),
        }
    }
}

async fn number(transaction: &mut Transaction, key: &str) -> Result<i64, Error> {
    let value = transaction.get("n", key).await?;
    Ok(value.map_or(0, |value| String::from_utf8_lossy(&value).parse().expect("a number")))
}

async fn put(transaction: &mut Transaction, key: &str, value: i64) -> Result<(), Error> {
    transaction.set("n", key, Bytes::from(value.to_string())).await
}

async fn read(store: &Arc<Store>, key: &str) -> i64 {
    number(&mut store.begin(), key).await.expect("a read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_conflicting_increments_all_count() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    let work = (0..1_000).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            invoke(&store, |transaction| {
                Box::pin(async move {
                    let value = number(transaction, "a").await?;
                    tokio::task::yield_now().await;
                    put(transaction, "a", value + 1).await
                })
            })
            .await
        })
    });
    for result in join_all(work).await {
        result.expect("no panic").expect("a commit");
    }
    assert_eq!(read(&store, "a").await, 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_skew_across_two_keys_is_impossible() {
    for _ in 0..50 {
        let Fixture { store, _folder } = fixture(StoreOptions::default());
        let withdraw = |from: &'static str| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                invoke(&store, move |transaction| {
                    Box::pin(async move {
                        // Each may take 1 if both together have at least 1 left.
                        let sum =
                            number(transaction, "a").await? + number(transaction, "b").await?;
                        tokio::task::yield_now().await;
                        if sum > -1 {
                            let value = number(transaction, from).await?;
                            put(transaction, from, value - 1).await?;
                        }
                        Ok(())
                    })
                })
                .await
            })
        };
        for result in join_all([withdraw("a"), withdraw("b")]).await {
            result.expect("no panic").expect("an end");
        }
        assert_eq!(read(&store, "a").await + read(&store, "b").await, -1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_skew_across_a_listed_bucket_is_impossible() {
    for _ in 0..50 {
        let Fixture { store, _folder } = fixture(StoreOptions::default());
        let book = |name: &'static str| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                invoke(&store, move |transaction| {
                    Box::pin(async move {
                        let taken = transaction.list_keys("seats", None, 10).await?.keys.len();
                        tokio::task::yield_now().await;
                        if taken < 1 {
                            transaction.set("seats", name, Bytes::new()).await?;
                        }
                        Ok(())
                    })
                })
                .await
            })
        };
        for result in join_all([book("ada"), book("bob")]).await {
            result.expect("no panic").expect("an end");
        }
        let seats = store.begin().list_keys("seats", None, 10).await.expect("a page").keys;
        assert_eq!(seats.len(), 1, "{seats:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validated_transaction_is_not_durable_before_its_commit_and_readers_do_not_wait() {
    let valve = Valve::default();
    let Fixture { store, _folder } = fixture(valve.options());
    let mut transaction = store.begin();
    put(&mut transaction, "a", 1).await.expect("a write");
    transaction.finish().await.expect("valid").durable().await.expect("durable");

    valve.set(true);
    let mut transaction = store.begin();
    put(&mut transaction, "a", 2).await.expect("a write");
    let committed = transaction.finish().await.expect("validated while the commit stalls");
    let durable = tokio::spawn(committed.durable());
    valve.until_someone_waits().await;
    assert_eq!(read(&store, "a").await, 1, "a reader sees what is durable, at once");
    assert!(!durable.is_finished());
    valve.set(false);
    durable.await.expect("no panic").expect("durable");
    assert_eq!(read(&store, "a").await, 2);
}

fn migration(name: &str, sql: &str) -> Migration {
    Migration { name: name.to_owned(), sql: sql.to_owned() }
}

async fn sql(store: &Arc<Store>, statement: &'static str) -> Result<Execution, Error> {
    invoke(store, move |transaction| Box::pin(transaction.execute(statement, Vec::new()))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explicit_commit_stays_and_a_rollback_leaves_nothing() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    for leased in [false, true] {
        let handler = |mut transaction: Transaction| async move {
            put(&mut transaction, "kept", 1).await?;
            transaction.commit().await?;
            put(&mut transaction, "given up", 1).await?;
            transaction.rollback().await?;
            put(&mut transaction, "later", 1).await?;
            transaction.finish().await?.durable().await
        };
        if leased {
            let store = &store;
            let run = |transaction: Transaction| async move {
                let mut transaction = transaction;
                put(&mut transaction, "kept", 2).await?;
                transaction.commit().await?;
                put(&mut transaction, "given up", 2).await?;
                transaction.rollback().await?;
                put(&mut transaction, "later", 2).await?;
                transaction.finish().await
            };
            let committed = store.lease(false, None, run).await.expect("leased").expect("valid");
            committed.durable().await.expect("durable");
        } else {
            handler(store.begin()).await.expect("durable");
        }
        let expected = if leased { 2 } else { 1 };
        assert_eq!(read(&store, "kept").await, expected);
        assert_eq!(read(&store, "given up").await, 0);
        assert_eq!(read(&store, "later").await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_store_is_closed_and_finds_everything_again() {
    let options = StoreOptions { idle_close: Duration::ZERO, ..StoreOptions::default() };
    let Fixture { store, _folder } = fixture(options);
    for round in 0..3 {
        let mut transaction = store.begin();
        assert_eq!(number(&mut transaction, "a").await.expect("a read"), round);
        put(&mut transaction, "a", round + 1).await.expect("a write");
        transaction.finish().await.expect("valid").durable().await.expect("durable");
        eventually(|| store.close_if_idle(std::time::Instant::now())).await;
        eventually(|| !store.is_open()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_writes_are_merged_into_a_listing() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    let mut transaction = store.begin();
    for key in ["a", "c", "e"] {
        transaction.set("b", key, Bytes::new()).await.expect("a write");
    }
    transaction.finish().await.expect("valid").durable().await.expect("durable");
    let mut transaction = store.begin();
    transaction.delete("b", "c").await.expect("a write");
    transaction.set("b", "d", Bytes::new()).await.expect("a write");
    let first = transaction.list_keys("b", None, 2).await.expect("a page");
    assert_eq!(first, KeyPage { keys: vec!["a".into(), "d".into()], next: Some("d".into()) });
    let second = transaction.list_keys("b", first.next.as_deref(), 2).await.expect("a page");
    assert_eq!(second, KeyPage { keys: vec!["e".into()], next: None });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_transfers_keep_their_sum_and_every_reader_sees_it() {
    const KEYS: usize = 8;
    const NAMES: [&str; KEYS] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    let work = (0..1_000_usize).map(|seed| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let (from, to) = (NAMES[seed * 7 % KEYS], NAMES[seed * 11 % KEYS]);
            if seed % 5 == 0 {
                let mut transaction = store.begin();
                let mut sum = 0;
                for name in NAMES {
                    sum += number(&mut transaction, name).await?;
                }
                assert_eq!(sum, 0, "a reader sees one committed state");
                return Ok(());
            }
            invoke(&store, move |transaction| {
                Box::pin(async move {
                    let amount = i64::try_from(seed % 13).expect("small");
                    let value = number(transaction, from).await?;
                    put(transaction, from, value - amount).await?;
                    tokio::task::yield_now().await;
                    let value = number(transaction, to).await?;
                    put(transaction, to, value + amount).await
                })
            })
            .await
        })
    });
    for result in join_all(work).await {
        result.expect("no panic").expect("a commit");
    }
    let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
    for seed in (0..1_000_usize).filter(|seed| seed % 5 != 0) {
        let amount = i64::try_from(seed % 13).expect("small");
        *expected.entry(NAMES[seed * 7 % KEYS]).or_default() -= amount;
        *expected.entry(NAMES[seed * 11 % KEYS]).or_default() += amount;
    }
    for name in NAMES {
        assert_eq!(read(&store, name).await, expected.get(name).copied().unwrap_or(0), "{name}");
    }
}

#[tokio::test]
async fn once_another_file_has_failed_a_store_acknowledges_nothing_more() {
    let valve = Valve::default();
    let options = valve.options();
    let alarm = options.alarm.clone();
    let Fixture { store, _folder } = fixture(options);
    valve.set(true);
    let mut transaction = store.begin();
    transaction.set("b", "k", Bytes::from_static(b"1")).await.expect("room");
    let committed = transaction.finish().await.expect("no conflict");
    valve.until_someone_waits().await;
    alarm.ring("the bus failed".to_owned());
    valve.set(false);
    // It may be there, and nobody is told that it is not.
    let committed = committed.durable().await;
    let Err(Error::Uncertain(reason)) = committed else { panic!("{committed:?}") };
    assert_eq!(reason, "the bus failed");
    let refused = store.cursors().await.map(drop);
    let Err(Error::Unavailable(reason)) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, "the bus failed");
}
