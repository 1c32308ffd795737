//! What a service makes of its own store has an end before it is its neighbours' trouble.

use std::pin::pin;
use std::sync::OnceLock;

use futures_util::FutureExt as _;

use super::*;
use crate::state::SqlErrorKind;
use crate::state::doing::Doing;

/// Bytes of the store's write-ahead log.
fn log_bytes(fixture: &Fixture) -> u64 {
    let log = fixture._folder.path().join("cart.db-wal");
    std::fs::metadata(log).map_or(0, |log| log.len())
}

/// Reads, and writes until the log is long that the reader holds.
async fn until_the_log_is_long(store: &Arc<Store>) -> Transaction {
    store.migrate(&[migration("1", "CREATE TABLE t (x)")]).await.expect("migrated");
    sql(store, "INSERT INTO t VALUES (1)").await.expect("a row");
    let mut reading = store.begin();
    reading.query("SELECT x FROM t", Vec::new()).await.expect("a read");
    while !store.core.log.is_long() {
        sql(store, "UPDATE t SET x = randomblob(100000)").await.expect("a write");
    }
    reading
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
    // Of several rows SQLite undoes the statement alone.
    let told = invoke(&store, |transaction| {
        Box::pin(async move {
            transaction.execute("INSERT INTO t VALUES (8, 2)", Vec::new()).await?;
            let several = "INSERT INTO t VALUES (NULL, 3), (NULL, 4)";
            match transaction.execute(several, Vec::new()).await {
                Err(Error::Sql(error)) => Ok(Some(error)),
                other => other.map(|_| None),
            }
        })
    });
    let told = told.await.expect("the transaction goes on").expect("the statement does not");
    assert!(told.kind == SqlErrorKind::Limit && told.message.contains(words), "{told:?}");
    let rows = store.begin().query("SELECT id FROM t WHERE id < 9 ORDER BY id", Vec::new()).await;
    assert_eq!(rows.expect("a query").values, [[Value::Integer(7)], [Value::Integer(8)]]);
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

/// Its last reader ends just after the log could not be cut, while a group is committed and another
/// is queued: those who would read wait for the log, and nobody is left who ends or commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_log_is_begun_anew_whenever_its_last_reader_ends() {
    type Queued = BoxFuture<'static, Result<(), Error>>;
    let holder = Arc::new(Mutex::new(None::<Transaction>));
    let queued = Arc::new(Mutex::new(Vec::<Queued>::new()));
    let commits = Arc::new(AtomicUsize::new(0));
    let its_store = Arc::new(OnceLock::<Arc<Store>>::new());
    let before_commit = {
        let (holder, queued) = (Arc::clone(&holder), Arc::clone(&queued));
        let (commits, its_store) = (Arc::clone(&commits), Arc::clone(&its_store));
        move || {
            let left = commits.load(Ordering::SeqCst);
            if left == 0 {
                return;
            }
            commits.store(left - 1, Ordering::SeqCst);
            let mut next = its_store.get().expect("set before").begin();
            let mut next: Queued = Box::pin(async move {
                put(&mut next, "next", 1).await?;
                next.finish().await?.durable().await
            });
            assert!((&mut next).now_or_never().is_none(), "it is queued");
            queued.lock().expect("a lock").push(next);
            if left == 1 {
                drop(holder.lock().expect("a lock").take());
            }
        }
    };
    let options = StoreOptions {
        max_log_bytes: 1 << 20,
        before_commit: Some(Arc::new(before_commit)),
        ..StoreOptions::default()
    };
    let Fixture { store, _folder } = fixture(options);
    _ = its_store.set(Arc::clone(&store));
    *holder.lock().expect("a lock") = Some(until_the_log_is_long(&store).await);
    // The first finds that it cannot be cut; the reader ends with the second.
    commits.store(2, Ordering::SeqCst);
    sql(&store, "UPDATE t SET x = 2").await.expect("a write");
    loop {
        let Some(next) = queued.lock().expect("a lock").pop() else { break };
        next.await.expect("durable");
    }
    eventually(|| !store.core.log.is_long()).await;
}

/// Of a store that stands still: what waits in it has readers, which come back when it is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_waits_for_makes_room_also_where_it_was_the_last_to_read() {
    let valve = Valve::default();
    let options = StoreOptions { max_log_bytes: 1 << 20, max_queued: 4, ..valve.options() };
    let Fixture { store, _folder } = fixture(options);
    let reading = until_the_log_is_long(&store).await;
    valve.set(true);
    let mut first = store.begin();
    put(&mut first, "first", 1).await.expect("a write");
    let first = tokio::spawn(first.finish().await.expect("valid").durable());
    valve.until_someone_waits().await;
    // The last reader waits in the queue, for a lease that nobody wants any more.
    let left = store.lease(false, Some(reading), |transaction| transaction.finish());
    assert!(Box::pin(left).now_or_never().is_none(), "it is queued, and its client left");
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut one = store.begin();
        let mut one = Box::pin(async move {
            put(&mut one, "one", 1).await?;
            one.finish().await?.durable().await
        });
        assert!((&mut one).now_or_never().is_none());
        waiting.push(one);
    }
    valve.set(false);
    first.await.expect("no panic").expect("durable");
    for one in waiting {
        one.await.expect("durable");
    }
    eventually(|| !store.core.log.is_long()).await;
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
