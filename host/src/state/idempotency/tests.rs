//! What keys promise, each as a sentence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;

use super::{Claimant, EXPIRE_BATCH, KeptAnswer, SIZE};
use crate::clock::Clock;
use crate::digest::Digest;
use crate::state::{Error, KeyClaim, Rerun, Store, StoreOptions, Transaction};

struct Fixture {
    store: Arc<Store>,
    folder: tempfile::TempDir,
}

fn fixture(options: StoreOptions) -> Fixture {
    let folder = tempfile::tempdir().expect("a folder");
    Fixture { store: Store::new(folder.path().join("cart.db"), "cart", options), folder }
}

fn scope(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn claim(store: &Store, name: &str) -> KeyClaim {
    store.claim_key(scope(name), Claimant::Client).expect("the key is free")
}

fn answer(body: &str) -> KeptAnswer {
    KeptAnswer {
        request: Digest::of(b"request"),
        status: 201,
        headers: Bytes::from_static(b"x-a: 1\r\nx-b: \xff\r\n"),
        body: Bytes::from(body.to_owned()),
        trailers: Some(Bytes::from_static(b"x-sum: 2\r\n")),
    }
}

/// Commits an answer and one write beside it.
async fn keep(store: &Arc<Store>, name: &str, body: &str) -> Result<(), Error> {
    let mut transaction = store.begin();
    transaction.set("b", name, Bytes::from(body.to_owned())).await?;
    transaction.keep_answer(claim(store, name), answer(body))?;
    transaction.finish().await?.durable().await
}

async fn kept(store: &Arc<Store>, name: &str) -> Option<KeptAnswer> {
    let claim = claim(store, name);
    store.begin().kept_answer(&claim).await.expect("a read")
}

async fn eventually(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.expect("the condition is met in time");
}

fn rows(fixture: &Fixture) -> usize {
    let file = Connection::open(fixture.folder.path().join("cart.db")).expect("the file");
    file.query_row("SELECT count(*) FROM _idempotency", (), |row| row.get(0)).expect("a count")
}

/// When the newest was made.
fn newest(fixture: &Fixture) -> Option<u64> {
    let file = Connection::open(fixture.folder.path().join("cart.db")).expect("the file");
    let newest = "SELECT max(created_at) FROM _idempotency";
    file.query_row(newest, (), |row| row.get(0)).expect("a time")
}

#[tokio::test]
async fn an_answer_is_found_again_as_it_was_also_after_a_restart() {
    let Fixture { store, folder } = fixture(StoreOptions::default());
    keep(&store, "a", "made").await.expect("a commit");
    assert_eq!(kept(&store, "a").await, Some(answer("made")));
    assert_eq!(kept(&store, "b").await, None);
    store.close().await;
    let store = Store::new(folder.path().join("cart.db"), "cart", StoreOptions::default());
    assert_eq!(kept(&store, "a").await, Some(answer("made")));
}

#[tokio::test]
async fn one_at_a_time_has_a_key() {
    let Fixture { store, folder: _folder } = fixture(StoreOptions::default());
    let first = claim(&store, "a");
    let same = first.clone();
    assert!(store.claim_key(scope("a"), Claimant::Client).is_none());
    let _other = claim(&store, "b");
    drop(first);
    assert!(store.claim_key(scope("a"), Claimant::Client).is_none(), "a clone is the same claim");
    drop(same);
    let _again = claim(&store, "a");
}

/// As two hosts on one file would, or a claim that was lost.
#[tokio::test]
async fn the_second_answer_of_a_key_is_not_kept_and_nor_are_its_writes() {
    let fixture = fixture(StoreOptions::default());
    let store = &fixture.store;
    let mut second = store.begin();
    second.set("b", "a", Bytes::from_static(b"second")).await.expect("a write");
    keep(store, "a", "first").await.expect("a commit");
    second.keep_answer(claim(store, "a"), answer("second")).expect("room");
    let refused = second.finish().await.err();
    assert!(matches!(refused, Some(Error::Rerun(Rerun::Leased))), "{refused:?}");
    assert_eq!(kept(store, "a").await, Some(answer("first")));
    let value = store.begin().get("b", "a").await.expect("a read");
    assert_eq!(value, Some(Bytes::from_static(b"first")));

    // Run again leased it finds what the first left.
    let again = claim(store, "a");
    let found = store.lease(false, None, |mut transaction: Transaction| async move {
        transaction.kept_answer(&again).await
    });
    assert_eq!(found.await.expect("a lease").expect("a read"), Some(answer("first")));

    // And one that does not look is refused there, too, with what it wrote.
    let blind = claim(store, "a");
    let refused = store.lease(false, None, |mut transaction: Transaction| async move {
        transaction.set("b", "a", Bytes::from_static(b"third")).await?;
        transaction.keep_answer(blind, answer("third"))?;
        transaction.finish().await.map(drop)
    });
    let refused = refused.await.expect("a lease");
    assert!(matches!(refused, Err(Error::Rerun(Rerun::Leased))), "{refused:?}");
    let value = store.begin().get("b", "a").await.expect("a read");
    assert_eq!(value, Some(Bytes::from_static(b"first")));
    assert_eq!(rows(&fixture), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stays_claimed_until_its_commit_is_known() {
    let (open, valve) = std::sync::mpsc::channel::<()>();
    let valve = std::sync::Mutex::new(valve);
    let before_commit = move || {
        let waited = valve.lock().expect("a lock").recv_timeout(Duration::from_secs(20));
        waited.expect("the valve is opened in time");
    };
    let options =
        StoreOptions { before_commit: Some(Arc::new(before_commit)), ..StoreOptions::default() };
    let Fixture { store, folder: _folder } = fixture(options);
    let mut transaction = store.begin();
    transaction.keep_answer(claim(&store, "a"), answer("made")).expect("room");
    // Its client leaves between validation and commit.
    drop(transaction.finish().await.expect("valid"));
    assert!(store.claim_key(scope("a"), Claimant::Client).is_none());
    open.send(()).expect("a commit waits");
    eventually(|| store.claim_key(scope("a"), Claimant::Client).is_some()).await;
    assert_eq!(kept(&store, "a").await, Some(answer("made")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_answers_are_absent_and_taken_out_in_batches() {
    let options =
        StoreOptions { idempotency_ttl: Duration::from_millis(1), ..StoreOptions::default() };
    let fixture = fixture(options);
    let store = &fixture.store;
    let count = EXPIRE_BATCH + 20;
    for number in 0..count {
        keep(store, &number.to_string(), "made").await.expect("a commit");
    }
    let claimed = claim(store, "0");
    while store.begin().kept_answer(&claimed).await.expect("a read").is_some() {
        tokio::task::yield_now().await;
    }
    drop(claimed);
    keep(store, "0", "anew").await.expect("an expired key is free");
    eventually(|| {
        store.expire_keys();
        rows(&fixture) == 0
    })
    .await;
}

#[tokio::test]
async fn a_closed_store_is_not_opened_to_look_for_keys() {
    let options = StoreOptions::default();
    let Fixture { store, folder } = fixture(options);
    store.expire_keys();
    assert!(!store.is_open());
    assert!(!folder.path().join("cart.db").exists());
}

#[tokio::test]
async fn there_is_room_for_so_many_keys_and_for_those_that_run() {
    let options = StoreOptions { max_idempotency_keys: 3, ..StoreOptions::default() };
    let Fixture { store, folder: _folder } = fixture(options);
    keep(&store, "a", "made").await.expect("a commit");
    keep(&store, "b", "made").await.expect("a commit");
    let third = claim(&store, "c");
    assert_eq!(store.begin().kept_answer(&third).await.expect("the last one"), None);
    let fourth = claim(&store, "d");
    let full = store.begin().kept_answer(&fourth).await;
    assert!(matches!(full, Err(Error::TooManyKeys)), "{full:?}");
    drop((third, fourth));
    keep(&store, "c", "made").await.expect("a commit");
    let fourth = claim(&store, "d");
    let full = store.begin().kept_answer(&fourth).await;
    assert!(matches!(full, Err(Error::TooManyKeys)), "{full:?}");
    drop(fourth);
    assert_eq!(kept(&store, "a").await, Some(answer("made")), "those that are kept are answered");
}

#[tokio::test]
async fn the_last_quarter_is_for_clients() {
    let options = StoreOptions { max_idempotency_keys: 4, ..StoreOptions::default() };
    let Fixture { store, folder: _folder } = fixture(options);
    for name in ["a", "b", "c"] {
        keep(&store, name, "made").await.expect("a commit");
    }
    let of_service = store.claim_key(scope("d"), Claimant::Service).expect("the key is free");
    let full = store.begin().kept_answer(&of_service).await;
    assert!(matches!(full, Err(Error::TooManyKeys)), "{full:?}");
    drop(of_service);
    let of_client = claim(&store, "d");
    assert_eq!(store.begin().kept_answer(&of_client).await.expect("the last one"), None);
    let known = store.claim_key(scope("a"), Claimant::Service).expect("the key is free");
    assert!(store.begin().kept_answer(&known).await.expect("it is kept").is_some());
}

#[tokio::test]
async fn answers_have_so_many_bytes_together_and_the_last_quarter_of_them_is_for_clients() {
    let clock = Clock::manual(START);
    let options = || StoreOptions {
        max_idempotency_bytes: 4_000,
        clock: clock.clone(),
        ..StoreOptions::default()
    };
    let fixture = fixture(options());
    let made = "x".repeat(1_000);
    for name in ["a", "b"] {
        keep(&fixture.store, name, &made).await.expect("a commit");
    }
    let of_service = |name: &str| {
        fixture.store.claim_key(scope(name), Claimant::Service).expect("the key is free")
    };
    assert_eq!(fixture.store.begin().kept_answer(&of_service("c")).await.expect("room"), None);
    keep(&fixture.store, "c", &made).await.expect("a commit");
    let full = fixture.store.begin().kept_answer(&of_service("d")).await;
    assert!(matches!(full, Err(Error::TooManyKeys)), "{full:?}");
    // What is rolled back does not count.
    let mut transaction = fixture.store.begin();
    transaction.keep_answer(claim(&fixture.store, "d"), answer(&made)).expect("room");
    drop(transaction);
    keep(&fixture.store, "d", &made).await.expect("a commit");
    fixture.store.close().await;

    let store = Store::new(fixture.folder.path().join("cart.db"), "cart", options());
    let full = store.begin().kept_answer(&claim(&store, "e")).await;
    assert!(matches!(full, Err(Error::TooManyKeys)), "{full:?}");
    assert_eq!(kept(&store, "d").await, Some(answer(&made)), "those that are kept are answered");
    clock.advance(2 * 24 * HOUR);
    assert_eq!(kept(&store, "e").await, None, "what is expired makes room");
    keep(&store, "e", &made).await.expect("a commit");
    store.close().await;
    let file = Connection::open(fixture.folder.path().join("cart.db")).expect("the file");
    let bytes = |sql: &str| file.query_row(sql, (), |row| row.get::<_, u64>(0)).expect("a sum");
    let counted = bytes("SELECT bytes FROM _idempotency_bytes");
    assert_eq!(counted, answer(&made).size() as u64);
    assert_eq!(counted, bytes(&format!("SELECT sum({SIZE}) FROM _idempotency")));
}

#[tokio::test]
async fn the_oldest_expired_make_room() {
    let options = StoreOptions {
        max_idempotency_keys: 3,
        idempotency_ttl: Duration::from_millis(1),
        ..StoreOptions::default()
    };
    let fixture = fixture(options);
    let store = &fixture.store;
    for number in 0..30 {
        let name = number.to_string();
        let claimed = claim(store, &name);
        while store.begin().kept_answer(&claimed).await.is_err() {
            tokio::task::yield_now().await;
        }
        drop(claimed);
        keep(store, &name, "made").await.expect("a commit");
        assert!(rows(&fixture) <= 3);
    }
}

#[tokio::test]
async fn an_answer_that_is_larger_than_a_value_is_refused() {
    let options = StoreOptions { max_value_bytes: 100, ..StoreOptions::default() };
    let Fixture { store, folder: _folder } = fixture(options);
    let large = keep(&store, "a", &"x".repeat(100)).await;
    assert!(matches!(large, Err(Error::Limit(_))), "{large:?}");
}

/// The file was made by the last host that knew only format 1.
#[tokio::test]
async fn a_file_of_an_older_format_is_upgraded_and_keeps_what_it_has() {
    for format in [1, 2] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cart.db");
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");
        let frozen = format!("{fixtures}/store-format-{format}.db");
        std::fs::copy(frozen, &path).expect("the fixture");
        let format_now = || -> usize {
            let file = Connection::open(&path).expect("the file");
            file.pragma_query_value(None, "user_version", |row| row.get(0)).expect("its format")
        };
        assert_eq!(format_now(), format);
        for _opened_again in 0..2 {
            let store = Store::new(path.clone(), "cart", StoreOptions::default());
            let cart = store.begin().get("carts", "user/7").await.expect("a read");
            assert_eq!(cart, Some(Bytes::from_static(b"{\"42\":2}")));
            store.close().await;
            assert_eq!(format_now(), crate::state::schema::FORMAT);
        }
        let file = Connection::open(&path).expect("the file");
        let counted = format!(
            "SELECT bytes = coalesce((SELECT sum({SIZE}) FROM _idempotency), 0)
             FROM _idempotency_bytes"
        );
        assert!(file.query_row(&counted, (), |row| row.get::<_, bool>(0)).expect("a count"));
        let store = Store::new(path.clone(), "cart", StoreOptions::default());
        keep(&store, "a", "made").await.expect("a commit");
        assert_eq!(kept(&store, "a").await, Some(answer("made")));
        assert_eq!(store.cursors().await.expect("a store"), []);
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const START: u64 = 20_000 * DAY_MS;

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_clock_that_was_ahead_are_kept_no_longer_than_others() {
    let clock = Clock::manual(START);
    let options = || StoreOptions {
        idempotency_ttl: HOUR,
        max_idempotency_keys: 2,
        clock: clock.clone(),
        ..StoreOptions::default()
    };
    let Fixture { store, folder } = fixture(options());
    // Ahead for long enough to be believed.
    assert_eq!(kept(&store, "none").await, None);
    clock.set(START + 10 * DAY_MS);
    assert_eq!(kept(&store, "none").await, None);
    clock.advance(HOUR);
    keep(&store, "ahead", "1").await.expect("a commit");
    clock.set(START);
    // Nobody brings a key, and it is found all the same.
    let fixture = Fixture { store, folder };
    eventually(|| {
        fixture.store.expire_keys();
        newest(&fixture) == Some(START)
    })
    .await;
    clock.advance(HOUR + Duration::from_secs(1));
    eventually(|| {
        fixture.store.expire_keys();
        rows(&fixture) == 0
    })
    .await;

    // The same where others come behind it, and after a restart.
    clock.set(START + 10 * DAY_MS);
    assert_eq!(kept(&fixture.store, "none").await, None);
    clock.advance(HOUR);
    keep(&fixture.store, "ahead", "1").await.expect("a commit");
    fixture.store.close().await;
    clock.set(START);
    let store = Store::new(fixture.folder.path().join("cart.db"), "cart", options());
    keep(&store, "after", "2").await.expect("a commit");
    assert_eq!(kept(&store, "ahead").await, Some(answer("1")));
    clock.advance(HOUR + Duration::from_secs(1));
    assert_eq!(kept(&store, "ahead").await, None);
    keep(&store, "b", "3").await.expect("there is room");
    keep(&store, "c", "4").await.expect("there is room");
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_lets_no_key_expire_before_its_time() {
    let clock = Clock::manual(START);
    let options = StoreOptions { clock: clock.clone(), ..StoreOptions::default() };
    let Fixture { store, folder: _folder } = fixture(options);
    keep(&store, "a", "1").await.expect("a commit");
    clock.set(START + 10 * DAY_MS);
    assert_eq!(kept(&store, "a").await, Some(answer("1")));
    keep(&store, "b", "2").await.expect("a commit");
    clock.set(START + 1);
    assert_eq!(kept(&store, "a").await, Some(answer("1")));
}
