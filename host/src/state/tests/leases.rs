//! Those that hold the writer, and those that wait for them.

use futures_util::FutureExt as _;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_lease_holder_does_not_hold_up_those_who_are_done() {
    let options =
        StoreOptions { lease_timeout: Duration::from_secs(10), ..StoreOptions::default() };
    let valve = Valve::default();
    let Fixture { store, _folder } =
        fixture(StoreOptions { before_commit: valve.options().before_commit, ..options });
    // While a commit stalls, a member and then a holder queue up for one group.
    valve.set(true);
    let mut first = store.begin();
    put(&mut first, "first", 1).await.expect("a write");
    let first = tokio::spawn(first.finish().await.expect("valid").durable());
    valve.until_someone_waits().await;
    let mut member = store.begin();
    put(&mut member, "member", 1).await.expect("a write");
    // Polled once, it is queued before the holder is, whatever the scheduler does.
    let mut member = Box::pin(async move { member.finish().await?.durable().await });
    assert!((&mut member).now_or_never().is_none());
    let member = tokio::spawn(member);
    let release = Arc::new(AtomicBool::new(false));
    let runs = Arc::new(AtomicUsize::new(0));
    let holder = tokio::spawn({
        let (store, release, runs) = (Arc::clone(&store), Arc::clone(&release), Arc::clone(&runs));
        async move {
            let mut alone = false;
            loop {
                let (release, runs) = (Arc::clone(&release), Arc::clone(&runs));
                let leased = store.lease(alone, None, move |mut transaction| async move {
                    runs.fetch_add(1, Ordering::SeqCst);
                    put(&mut transaction, "holder", 1).await?;
                    eventually(|| release.load(Ordering::SeqCst)).await;
                    transaction.finish().await
                });
                match leased.await.and_then(|result| result) {
                    Ok(committed) => return (alone, committed.durable().await),
                    Err(Error::Rerun(Rerun::Alone)) => alone = true,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    valve.set(false);
    first.await.expect("no panic").expect("durable");
    // The holder waits for `release` and yet the member gets through.
    member.await.expect("no panic").expect("durable without the holder");
    eventually(|| runs.load(Ordering::SeqCst) > 0).await;
    release.store(true, Ordering::SeqCst);
    let (_, result) = holder.await.expect("no panic");
    result.expect("durable");
    assert_eq!(read(&store, "holder").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_runs_first_is_ended_at_its_timeout_and_leaves_nothing() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    let leased = store.lease(true, None, |mut transaction| async move {
        put(&mut transaction, "a", 1).await.expect("a write");
        std::future::pending::<()>().await;
    });
    assert!(matches!(leased.await, Err(Error::LeaseExpired)));
    assert_eq!(read(&store, "a").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_whose_client_leaves_gives_the_writer_back() {
    let options =
        StoreOptions { lease_timeout: Duration::from_secs(60), ..StoreOptions::default() };
    let Fixture { store, _folder } = fixture(options);
    let running = Arc::new(AtomicBool::new(false));
    let task = tokio::spawn({
        let (store, running) = (Arc::clone(&store), Arc::clone(&running));
        async move {
            let leased = store.lease(false, None, move |mut transaction| async move {
                put(&mut transaction, "a", 1).await.expect("a write");
                running.store(true, Ordering::SeqCst);
                std::future::pending::<()>().await;
            });
            leased.await
        }
    });
    eventually(|| running.load(Ordering::SeqCst)).await;
    task.abort();
    let mut next = store.begin();
    put(&mut next, "b", 1).await.expect("a write");
    next.finish().await.expect("valid").durable().await.expect("durable");
    assert_eq!((read(&store, "a").await, read(&store, "b").await), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_optimistic_transaction_goes_on_leased_with_what_it_had() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    store.migrate(&[migration("1", "CREATE TABLE t (x)")]).await.expect("migrated");
    let mut transaction = store.begin();
    assert_eq!(number(&mut transaction, "a").await.expect("a read"), 0);
    put(&mut transaction, "a", 5).await.expect("a write");
    let refused = transaction.execute("INSERT INTO t VALUES (1)", Vec::new()).await;
    assert!(matches!(refused, Err(Error::NeedsLease)));
    let leased = store.lease(false, Some(transaction), |mut transaction| async move {
        assert_eq!(number(&mut transaction, "a").await?, 5);
        let done = transaction.execute("INSERT INTO t VALUES (1)", Vec::new()).await?;
        assert_eq!(done, Execution { changes: 1, last_insert_id: 1 });
        transaction.finish().await
    });
    let committed = leased.await.expect("leased").expect("valid");
    committed.durable().await.expect("durable");
    assert_eq!(read(&store, "a").await, 5);

    let mut stale = store.begin();
    assert_eq!(number(&mut stale, "a").await.expect("a read"), 5);
    let mut other = store.begin();
    put(&mut other, "a", 6).await.expect("a write");
    other.finish().await.expect("valid").durable().await.expect("durable");
    let leased = store.lease(false, Some(stale), |_| async {}).await;
    assert!(matches!(leased, Err(Error::Rerun(Rerun::Leased))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_only_wanted_to_write_by_sql_has_read_nothing_that_others_could_change() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    store.migrate(&[migration("1", "CREATE TABLE t (x)")]).await.expect("migrated");
    let mut transaction = store.begin();
    // Known by its first word, and known when it is prepared.
    for statement in [" insert INTO t VALUES (1)", "/* a */ INSERT INTO t VALUES (1)"] {
        let refused = transaction.execute(statement, Vec::new()).await;
        assert!(matches!(refused, Err(Error::NeedsLease)), "{statement}");
    }
    let insert = |mut transaction: Transaction| async move {
        transaction.execute("INSERT INTO t VALUES (2)", Vec::new()).await?;
        transaction.finish().await
    };
    for before in [None, Some(transaction)] {
        let leased = store.lease(false, before, insert).await.expect("leased");
        leased.expect("valid").durable().await.expect("durable");
    }
}

/// Has a member and then a holder, which runs this statement, in one group: what becomes of
/// either.
async fn together(
    store: &Arc<Store>,
    valve: &Valve,
    statement: &'static str,
) -> (Result<(), Error>, Result<(), Error>) {
    valve.set(true);
    let mut first = store.begin();
    put(&mut first, "first", 1).await.expect("a write");
    let first = tokio::spawn(first.finish().await.expect("valid").durable());
    valve.until_someone_waits().await;
    let mut member = store.begin();
    put(&mut member, "member", 1).await.expect("a write");
    let mut member = Box::pin(async move { member.finish().await?.durable().await });
    assert!((&mut member).now_or_never().is_none());
    let mut holder = Box::pin(store.lease(false, None, move |mut transaction| async move {
        transaction.execute(statement, Vec::new()).await?;
        transaction.finish().await
    }));
    assert!((&mut holder).now_or_never().is_none());
    valve.set(false);
    first.await.expect("no panic").expect("durable");
    let held = match holder.await {
        Ok(Ok(committed)) => committed.durable().await,
        Ok(Err(error)) | Err(error) => Err(error),
    };
    (member.await, held)
}

/// Patient enough for a holder to begin beside those who are done.
fn with_patience(valve: &Valve, lease_timeout: Duration) -> StoreOptions {
    let group_patience = Duration::from_millis(50);
    StoreOptions { lease_timeout, group_patience, ..valve.options() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_writes_for_longer_than_others_wait_does_not_take_them_with_it() {
    const LONG: &str = "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL \
                        SELECT i + 1 FROM n WHERE i < 1000000) SELECT count(*) FROM n";
    let valve = Valve::default();
    let options = StoreOptions {
        statement_timeout: Duration::from_secs(30),
        ..with_patience(&valve, Duration::from_secs(30))
    };
    let Fixture { store, _folder } = fixture(options);
    store.migrate(&[migration("1", "CREATE TABLE t (x)")]).await.expect("migrated");
    let mut came_alone = 0;
    loop {
        let (member, holder) = together(&store, &valve, LONG).await;
        member.expect("durable");
        match holder {
            Err(Error::Rerun(Rerun::Alone)) => break,
            // On a busy machine the member may be committed before the holder begins.
            other => other.expect("nothing hurried it"),
        }
        came_alone += 1;
    }
    let rows = store.begin().query("SELECT x FROM t", Vec::new()).await.expect("a query");
    assert_eq!(rows.values.len(), came_alone, "it comes again, alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_stopped_takes_no_one_with_it_and_the_next_joins_no_group() {
    const ENDLESS: &str = "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL \
                           SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let valve = Valve::default();
    let Fixture { store, _folder } = fixture(with_patience(&valve, Duration::from_millis(60)));
    store.migrate(&[migration("1", "CREATE TABLE t (x)")]).await.expect("migrated");
    loop {
        let (member, holder) = together(&store, &valve, ENDLESS).await;
        member.expect("durable");
        match holder {
            Err(Error::Rerun(Rerun::Alone)) => break,
            // As above; holders join no others for a while then.
            other => assert!(matches!(other, Err(Error::LeaseExpired)), "{other:?}"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(read(&store, "member").await, 1);
    let (member, holder) = together(&store, &valve, ENDLESS).await;
    member.expect("durable");
    assert!(matches!(holder, Err(Error::LeaseExpired)), "{holder:?}");
}
