//! Transactions that come to nothing: whoever is at fault is told, and nobody else.

use std::pin::Pin;

use futures_util::FutureExt as _;

use super::events::{consumption, event, named, progress, published, scanned};
use super::*;

type Outcome = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Members of one group, in their order.
struct Together {
    valve: Valve,
    fixture: Fixture,
    first: Option<Outcome>,
    queued: Vec<Outcome>,
}

impl Together {
    async fn begin(options: StoreOptions, schema: &str) -> Self {
        let valve = Valve::default();
        // As patient as may be, so that a holder always begins beside those who are done.
        let options = StoreOptions {
            group_patience: Duration::from_secs(60),
            before_commit: valve.options().before_commit,
            ..options
        };
        let fixture = fixture(options);
        fixture.store.migrate(&[migration("1", schema)]).await.expect("migrated");
        Self { valve, fixture, first: None, queued: Vec::new() }
    }

    fn store(&self) -> &Arc<Store> {
        &self.fixture.store
    }

    /// Has a commit stall: what is queued from here on comes together.
    async fn stall(&mut self) {
        self.valve.set(true);
        let mut first = self.store().begin();
        put(&mut first, "first", 1).await.expect("a write");
        let durable = first.finish().await.expect("valid").durable();
        self.first = Some(Box::pin(durable));
        self.valve.until_someone_waits().await;
    }

    fn queue(&mut self, work: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let mut work: Outcome = Box::pin(work);
        // Polled once it is queued, behind those before it.
        assert!((&mut work).now_or_never().is_none());
        self.queued.push(work);
    }

    /// One that only buffers.
    async fn member(&mut self, key: &'static str) {
        let mut member = self.store().begin();
        put(&mut member, key, 1).await.expect("a write");
        self.transaction(member);
    }

    fn transaction(&mut self, transaction: Transaction) {
        self.queue(async move { transaction.finish().await?.durable().await });
    }

    /// One that runs these statements under the lease.
    fn holder(&mut self, statements: &'static [&'static str]) {
        let store = Arc::clone(self.store());
        self.queue(async move {
            let run = store.lease(false, None, move |mut transaction| async move {
                for statement in statements {
                    transaction.execute(statement, Vec::new()).await?;
                }
                transaction.finish().await
            });
            run.await??.durable().await
        });
    }

    /// What became of each.
    async fn end(&mut self) -> Vec<Result<(), Error>> {
        self.valve.set(false);
        self.first.take().expect("begun").await.expect("durable");
        let ended = join_all(std::mem::take(&mut self.queued));
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("all are answered")
    }
}

async fn count(store: &Arc<Store>, table: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {table}");
    let rows = store.begin().query(&query, Vec::new()).await.expect("a query");
    let Value::Integer(count) = rows.values[0][0] else { panic!("{rows:?}") };
    count
}

const FAMILY: &str = "CREATE TABLE p (id INTEGER PRIMARY KEY);
                      CREATE TABLE c (p REFERENCES p DEFERRABLE INITIALLY DEFERRED)";

const ENDLESS: &str = "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL \
                       SELECT i + 1 FROM n) SELECT count(*) FROM n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_in_sixteen_that_violates_a_deferred_foreign_key_costs_the_others_nothing() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    store.migrate(&[migration("1", FAMILY)]).await.expect("migrated");
    let work = (0..320).map(|client| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            invoke(&store, move |transaction| {
                Box::pin(async move {
                    let id = vec![Value::Integer(client)];
                    transaction.execute("INSERT INTO c VALUES (?1)", id.clone()).await?;
                    if client % 16 != 0 {
                        transaction.execute("INSERT INTO p VALUES (?1)", id).await?;
                    }
                    put(transaction, &client.to_string(), 1).await
                })
            })
            .await
        })
    });
    for (client, result) in join_all(work).await.into_iter().enumerate() {
        let result = result.expect("no panic");
        match client % 16 {
            0 => assert!(matches!(result, Err(Error::ForeignKey)), "{client}: {result:?}"),
            _ => result.unwrap_or_else(|error| panic!("{client}: {error}")),
        }
    }
    assert_eq!((count(&store, "p").await, count(&store, "c").await), (300, 300));
    assert_eq!((read(&store, "16").await, read(&store, "17").await), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explicit_commit_is_refused_while_a_foreign_key_is_violated_and_can_be_mended() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    store.migrate(&[migration("1", FAMILY)]).await.expect("migrated");
    let run = store.lease(false, None, |mut transaction| async move {
        transaction.execute("INSERT INTO c VALUES (1)", Vec::new()).await?;
        assert!(matches!(transaction.commit().await, Err(Error::ForeignKey)));
        transaction.execute("INSERT INTO p VALUES (1)", Vec::new()).await?;
        transaction.commit().await?;
        transaction.finish().await
    });
    run.await.expect("leased").expect("valid").durable().await.expect("durable");
    assert_eq!((count(&store, "p").await, count(&store, "c").await), (1, 1));
    let violating = migration("2", "INSERT INTO c VALUES (2)");
    let refused = store.migrate(&[violating]).await.expect_err("refused").to_string();
    assert!(refused.contains("deferred foreign key"), "{refused}");
    assert_eq!(count(&store, "c").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_done_before_a_statement_was_stopped_is_done_again_once() {
    let options =
        StoreOptions { lease_timeout: Duration::from_millis(60), ..StoreOptions::default() };
    let mut together = Together::begin(options, "CREATE TABLE t (x)").await;
    let store = Arc::clone(together.store());
    scanned(&store, &[1, 2]).await;
    together.stall().await;
    together.member("buffered").await;
    let mut delivery = store.begin();
    put(&mut delivery, "effect", 1).await.expect("a write");
    delivery.publish(event("published")).expect("room");
    delivery.consume(consumption(1));
    together.transaction(delivery);
    together.holder(&["INSERT INTO t VALUES (1)"]);
    together.holder(&[ENDLESS]);
    let ended = together.end().await;
    assert!(matches!(ended[..2], [Ok(()), Ok(())]), "{ended:?}");
    assert!(matches!(ended[2], Err(Error::Rerun(Rerun::Alone))), "{ended:?}");
    assert!(matches!(ended[3], Err(Error::GivenUp(_))), "{ended:?}");
    assert_eq!((read(&store, "buffered").await, read(&store, "effect").await), (1, 1));
    assert_eq!(count(&store, "t").await, 0, "it is told to run again");
    assert_eq!(published(&store, 0).await, named(&[(1, "published")]));
    assert_eq!(progress(&store), (1, 1), "the event is finished, the next is not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_full_ends_the_one_that_filled_it_at_its_statement() {
    let options = StoreOptions { max_pages: 64, ..StoreOptions::default() };
    let mut together = Together::begin(options, "CREATE TABLE t (x)").await;
    let store = Arc::clone(together.store());
    together.stall().await;
    together.member("buffered").await;
    together.holder(&["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (zeroblob(1000000))"]);
    together.holder(&["INSERT INTO t VALUES (2)"]);
    let ended = together.end().await;
    assert!(matches!(ended[..], [Ok(()), Err(Error::Full), Ok(())]), "{ended:?}");
    assert_eq!((read(&store, "buffered").await, count(&store, "t").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_transaction_is_gone_does_nothing_more() {
    let options = StoreOptions { max_pages: 64, ..StoreOptions::default() };
    let Fixture { store, _folder } = fixture(options);
    store.migrate(&[migration("1", "CREATE TABLE t (x)")]).await.expect("migrated");
    let run = store.lease(false, None, |mut transaction| async move {
        let full =
            transaction.execute("INSERT INTO t VALUES (zeroblob(1000000))", Vec::new()).await;
        assert!(matches!(full, Err(Error::Full)), "{full:?}");
        let later = [
            transaction.execute("INSERT INTO t VALUES (1)", Vec::new()).await.map(drop),
            transaction.query("SELECT 1", Vec::new()).await.map(drop),
            put(&mut transaction, "a", 1).await,
            transaction.get("n", "a").await.map(drop),
            transaction.rollback().await,
            transaction.commit().await,
            transaction.finish().await.map(drop),
        ];
        for (index, result) in later.into_iter().enumerate() {
            assert!(matches!(result, Err(Error::Full)), "{index}: {result:?}");
        }
    });
    run.await.expect("leased");
    assert_eq!((read(&store, "a").await, count(&store, "t").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_cannot_be_committed_costs_nobody_but_the_one_at_fault() {
    let mut together = Together::begin(StoreOptions::default(), FAMILY).await;
    let store = Arc::clone(together.store());
    together.stall().await;
    together.member("before").await;
    together.holder(&["INSERT INTO p VALUES (1)"]);
    // Nothing that a guest can do: what it leaves is judged at its end.
    let guilty = Arc::clone(&store);
    together.queue(async move {
        let (committed, ()) = guilty
            .host_member(|writer| {
                writer.connection.execute("INSERT INTO c VALUES (9)", ()).map(drop)
            })
            .await?;
        committed.durable().await
    });
    together.member("after").await;
    let ended = together.end().await;
    assert!(matches!(ended[0], Ok(())), "{ended:?}");
    assert!(matches!(ended[1], Err(Error::Rerun(Rerun::Alone))), "{ended:?}");
    assert!(matches!(ended[2], Err(Error::Unavailable(_))), "{ended:?}");
    assert!(matches!(ended[3], Ok(())), "{ended:?}");
    assert_eq!((read(&store, "before").await, read(&store, "after").await), (1, 1));
    assert_eq!((count(&store, "p").await, count(&store, "c").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_panics_takes_no_one_with_it() {
    let mut together = Together::begin(StoreOptions::default(), "CREATE TABLE t (x)").await;
    let store = Arc::clone(together.store());
    together.stall().await;
    together.member("buffered").await;
    let panicking = Arc::clone(&store);
    together.queue(async move {
        let run = panicking.lease(false, None, |mut transaction| async move {
            transaction.execute("INSERT INTO t VALUES (1)", Vec::new()).await.expect("done");
            panic!("as the test wants it");
        });
        run.await
    });
    together.holder(&["INSERT INTO t VALUES (2)"]);
    let ended = together.end().await;
    assert!(matches!(ended[..], [Ok(()), Err(Error::Unavailable(_)), Ok(())]), "{ended:?}");
    assert_eq!((read(&store, "buffered").await, count(&store, "t").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_hosts_gives_back_what_was_taken_and_answers_everyone() {
    let mut together = Together::begin(StoreOptions::default(), "CREATE TABLE t (x)").await;
    let store = Arc::clone(together.store());
    scanned(&store, &[1]).await;
    together.stall().await;
    let mut delivery = store.begin();
    delivery.consume(consumption(1));
    together.transaction(delivery);
    together.holder(&["INSERT INTO t VALUES (1)"]);
    let panicking = Arc::clone(&store);
    together.queue(async move {
        let work = |_: &mut writer::Writer| panic!("as the test wants it");
        panicking.host_member::<()>(work).await.map(drop)
    });
    together.member("after").await;
    let ended = together.end().await;
    assert!(matches!(ended[0], Err(Error::Unavailable(_))), "{ended:?}");
    assert!(matches!(ended[1], Err(Error::Rerun(Rerun::Alone))), "{ended:?}");
    assert!(matches!(ended[2], Err(Error::Unavailable(_))), "{ended:?}");
    assert!(matches!(ended[3], Ok(())), "{ended:?}");
    assert_eq!(progress(&store), (0, 1), "the event is there to be delivered");
    let mut again = store.begin();
    again.consume(consumption(1));
    again.finish().await.expect("valid").durable().await.expect("durable");
    assert_eq!(progress(&store), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_take_too_long_to_apply_cost_the_others_nothing() {
    let options = StoreOptions { apply_timeout: Duration::ZERO, ..StoreOptions::default() };
    let mut together = Together::begin(options, "CREATE TABLE t (x)").await;
    together.stall().await;
    together.member("before").await;
    let mut many = together.store().begin();
    for key in 0..100 {
        put(&mut many, &format!("many {key}"), 1).await.expect("a write");
    }
    together.transaction(many);
    together.member("after").await;
    let ended = together.end().await;
    assert!(matches!(&ended[1], Err(Error::Limit(why)) if why.contains("100 keys")), "{ended:?}");
    assert!(ended[0].is_ok() && ended[2].is_ok(), "{ended:?}");
    for (key, value) in [("before", 1), ("after", 1), ("many 0", 0), ("many 99", 0)] {
        assert_eq!(read(together.store(), key).await, value, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_take_too_long_to_publish_cost_the_others_nothing() {
    let options = StoreOptions { apply_timeout: Duration::ZERO, ..StoreOptions::default() };
    let mut together = Together::begin(options, "CREATE TABLE t (x)").await;
    together.stall().await;
    together.member("before").await;
    let mut many = together.store().begin();
    (0..100).for_each(|_| many.publish(event("k")).expect("published"));
    together.transaction(many);
    let store = Arc::clone(together.store());
    together.queue(async move {
        let run = store.lease(false, None, |mut leased| async move {
            (0..100).try_for_each(|_| leased.publish(event("k")))?;
            leased.finish().await
        });
        run.await??.durable().await
    });
    together.member("after").await;
    let ended = together.end().await;
    for many in [&ended[1], &ended[2]] {
        assert!(matches!(many, Err(Error::Limit(why)) if why.contains("100 events")), "{ended:?}");
    }
    assert!(ended[0].is_ok() && ended[3].is_ok(), "{ended:?}");
    assert_eq!(together.store().published(), 0, "none of them is there");
    for key in ["before", "after"] {
        assert_eq!(read(together.store(), key).await, 1, "{key}");
    }
}

#[tokio::test]
async fn a_transaction_writes_so_many_keys_and_events_at_the_most() {
    let options = StoreOptions { max_transaction_writes: 3, ..StoreOptions::default() };
    let Fixture { store, _folder } = fixture(options);
    let mut transaction = store.begin();
    for key in ["a", "b", "c", "c"] {
        put(&mut transaction, key, 1).await.expect("a write");
    }
    let refused = put(&mut transaction, "d", 1).await;
    assert!(matches!(&refused, Err(Error::Limit(why)) if why.contains("3 keys")), "{refused:?}");
    let mut transaction = store.begin();
    for _ in 0..3 {
        transaction.publish(event("k")).expect("published");
    }
    assert!(matches!(transaction.publish(event("k")), Err(Error::Limit(_))));
    let run = store.lease(false, None, |mut leased| async move {
        (0..3).try_for_each(|_| leased.publish(event("k")))?;
        leased.publish(event("k"))
    });
    assert!(matches!(run.await.expect("leased"), Err(Error::Limit(_))));
}
