//! What a service makes of its own store has an end before it is its neighbours' trouble.

use std::pin::pin;

use futures_util::FutureExt as _;

use super::*;
use crate::state::SqlErrorKind;
use crate::state::doing::Doing;

/// Bytes of the store's write-ahead log.
fn log_bytes(fixture: &Fixture) -> u64 {
    let log = fixture._folder.path().join("cart.db-wal");
    std::fs::metadata(log).map_or(0, |log| log.len())
}

async fn leased(store: &Arc<Store>, statement: String) -> Result<(), Error> {
    let run = |mut transaction: Transaction| async move {
        transaction.execute(&statement, Vec::new()).await?;
        transaction.finish().await
    };
    store.lease(true, None, run).await??.durable().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_has_so_much_text_and_is_counted_for_each_that_reads() {
    let options = StoreOptions { max_sql_memory: 8 << 20, ..StoreOptions::default() };
    let Fixture { store, _folder } = fixture(options);
    // One that read before there was a schema is not kept.
    store.begin().query("SELECT 1", Vec::new()).await.expect("a read");
    let mut tables = 0;
    let refused = loop {
        let text = "x".repeat(95_000);
        let create = format!("CREATE TABLE t{tables} (a CHECK (a <> '{text}'))");
        match leased(&store, create).await {
            Ok(()) => tables += 1,
            Err(error) => break error,
        }
        assert!(tables < 100);
    };
    let words = "the schema's text has";
    assert!(
        matches!(&refused, Error::Sql(error)
            if error.kind == SqlErrorKind::Limit && error.message.contains(words)),
        "{refused:?}"
    );
    assert_eq!(tables, 11);
    let (before, _) = store.sql_memory();
    let mut reading = Vec::new();
    let full = loop {
        let mut transaction = store.begin();
        match transaction.get("n", "a").await {
            Ok(_) => reading.push(transaction),
            Err(error) => break error,
        }
        assert!(reading.len() < 100);
    };
    assert!(matches!(&full, Error::Limit(words) if words.contains("8388608 bytes")), "{full:?}");
    let full = store.begin().query("SELECT 1", Vec::new()).await;
    assert!(matches!(&full, Err(Error::Limit(words)) if words.contains("a smaller schema")));
    let (held, _) = store.sql_memory();
    assert!(!reading.is_empty() && held > before, "{}: {held}", reading.len());
    drop(reading);
    store.begin().get("n", "a").await.expect("there is memory again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_another_number_is_no_full_store() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x)";
    store.migrate(&[migration("1", table)]).await.expect("migrated");
    sql(&store, "INSERT INTO t VALUES (9223372036854775807, 1)").await.expect("the last one");
    let refused = sql(&store, "INSERT INTO t (x) VALUES (2)").await;
    let words = "has given out its last number";
    assert!(
        matches!(&refused, Err(Error::GivenUp(message)) if message.contains(words)),
        "{refused:?}"
    );
    sql(&store, "INSERT INTO t VALUES (7, 2)").await.expect("the store goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_readers_hold_has_an_end_and_is_begun_anew_when_they_are_gone() {
    let options = StoreOptions { max_log_bytes: 1 << 20, ..StoreOptions::default() };
    let fixture = fixture(options);
    let store = Arc::clone(&fixture.store);
    store.migrate(&[migration("1", "CREATE TABLE t (x)")]).await.expect("migrated");
    sql(&store, "INSERT INTO t VALUES (1)").await.expect("a row");
    let mut holder = store.begin();
    holder.query("SELECT x FROM t", Vec::new()).await.expect("a read");
    let mut writes = 0;
    let refused = loop {
        match sql(&store, "UPDATE t SET x = randomblob(100000)").await {
            Ok(_) => writes += 1,
            Err(error) => break error,
        }
        assert!(writes < 1_000);
    };
    assert!(matches!(refused, Error::LogFull(bytes) if bytes == 1 << 20), "{refused:?}");
    assert!(writes > 5 && log_bytes(&fixture) < 2 << 20, "{writes}: {}", log_bytes(&fixture));
    // Who comes now waits for those that read, and those go on.
    let mut later = store.begin();
    let mut later = pin!(later.query("SELECT x FROM t", Vec::new()));
    assert!(later.as_mut().now_or_never().is_none());
    holder.query("SELECT x FROM t", Vec::new()).await.expect("another read");
    assert!(later.as_mut().now_or_never().is_none());
    drop(holder);
    later.await.expect("a read");
    assert_eq!(log_bytes(&fixture), 0);
    sql(&store, "UPDATE t SET x = 1").await.expect("it takes writes again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_has_its_time_also_for_what_a_statement_takes_to_be_prepared() {
    // A table that is not there is what SQLite says at the end of all that it prepares.
    let ones = "1,".repeat(400_000);
    let long = format!("INSERT INTO missing SELECT 1 IN ({ones}1) FROM missing");
    let trying = async |migration_timeout| {
        let Fixture { store, _folder } =
            fixture(StoreOptions { migration_timeout, ..StoreOptions::default() });
        let refused = store.migrate(&[migration("1", &long)]).await;
        refused.expect_err("there is no such table").to_string()
    };
    let enough = trying(Duration::from_secs(60)).await;
    assert!(enough.contains("no such table: missing"), "{enough}");
    let none = trying(Duration::ZERO).await;
    assert!(!none.contains("no such table"), "{none}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_end_with_whoever_waits_for_them() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    sql(&store, "CREATE TABLE kept (x)").await.expect("a table");
    let counting = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)";
    let endless = format!("CREATE TABLE t (x); INSERT INTO t {counting} SELECT count(*) FROM n");
    for applies in [true, false] {
        let (migrating, own) = (Arc::clone(&store), [migration("1", &endless)]);
        let waiting = tokio::spawn(async move {
            if applies {
                migrating.migrate(&own).await
            } else {
                migrating.try_migrations(&own).await
            }
        });
        eventually(|| store.doing() == Doing::Migrations).await;
        waiting.abort();
        // Long before their minute, after which nobody could write.
        sql(&store, "INSERT INTO kept VALUES (1)").await.expect("a write");
    }
    let applied = store.migrate(&[migration("1", "CREATE TABLE t (x)")]).await;
    assert_eq!(applied.expect("nothing was left of it"), ["1"]);
}
