//! What one statement of a guest's does: all of it or nothing, and what it says of it.

use super::*;

/// Runs these statements in one transaction under the lease, and commits what they leave.
async fn leased(
    store: &Arc<Store>,
    statements: &'static [&'static str],
) -> Result<Vec<Result<Execution, Error>>, Error> {
    let run = store.lease(false, None, move |mut transaction| async move {
        let mut results = Vec::new();
        for statement in statements {
            results.push(transaction.execute(statement, Vec::new()).await);
        }
        Ok((results, transaction.finish().await?))
    });
    let (results, committed) = run.await??;
    committed.durable().await?;
    Ok(results)
}

async fn rows(store: &Arc<Store>, query: &str) -> Vec<Vec<Value>> {
    store.begin().query(query, Vec::new()).await.expect("a query").values
}

async fn numbers(store: &Arc<Store>, query: &str) -> Vec<i64> {
    let number = |row: Vec<Value>| match row.as_slice() {
        [Value::Integer(number)] => *number,
        other => panic!("{other:?}"),
    };
    rows(store, query).await.into_iter().map(number).collect()
}

async fn with(sql: &str) -> Fixture {
    let options = StoreOptions { max_rows: 10, ..StoreOptions::default() };
    let fixture = fixture(options);
    fixture.store.migrate(&[migration("1", sql)]).await.expect("migrated");
    fixture
}

/// Statements that take long to prepare: many joins with many choices, many expressions, much
/// that depends on each other.
fn long() -> [String; 3] {
    let tables: Vec<_> = (0..64).map(|number| format!("t t{number}")).collect();
    let choice = |table: usize| {
        let of =
            |number: usize| format!("(t{table}.x = {number} AND t{table}.y = t{}.x)", table + 1);
        format!("({})", (0..40).map(of).collect::<Vec<_>>().join(" OR "))
    };
    let choices: Vec<_> = (0..50).map(choice).collect();
    [
        format!("SELECT 1 FROM {} WHERE {}", tables.join(", "), choices.join(" AND ")),
        format!("SELECT 1 IN ({}) FROM t", vec!["sum(t.x + t.y)"; 5_500].join(", ")),
        format!("SELECT 1 IN ({}) FROM t", vec!["t.x"; 19_000].join(", ")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_takes_too_long_to_prepare_ends_like_one_that_runs() {
    let schema = "CREATE TABLE t (x, y); CREATE INDEX t_x ON t (x); CREATE INDEX t_y ON t (y)";
    let statement_timeout = Duration::from_millis(5);
    let Fixture { store, _folder } =
        fixture(StoreOptions { statement_timeout, ..StoreOptions::default() });
    store.migrate(&[migration("1", schema)]).await.expect("migrated");
    let ended = |result: &Result<Rows, Error>| {
        let why = "the statement ran for longer than it may";
        assert!(matches!(result, Err(Error::Sql(error)) if error.message == why), "{result:?}");
    };
    for statement in long() {
        for _ in 0..2 {
            ended(&store.begin().query(&statement, Vec::new()).await);
        }
        // On a machine that is busy elsewhere also what takes no time may take too long.
        let (result, committed) = loop {
            let statement = statement.clone();
            let run = store.lease(false, None, move |mut transaction| async move {
                transaction.execute("INSERT INTO t VALUES (1, 2)", Vec::new()).await?;
                let result = transaction.query(&statement, Vec::new()).await;
                Ok::<_, Error>((result, transaction.finish().await?))
            });
            if let Ok(done) = run.await.expect("leased") {
                break done;
            }
        };
        ended(&result);
        committed.durable().await.expect("what was done before stays");
    }
    let counted = loop {
        if let Ok(rows) = store.begin().query("SELECT count(*) FROM t", Vec::new()).await {
            break rows.values;
        }
    };
    assert_eq!(counted, [[Value::Integer(3)]]);
}

const SEQUENCE: &str =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_fails_leaves_nothing_whatever_its_clause() {
    let fixture = with(
        "CREATE TABLE t (x INTEGER UNIQUE); INSERT INTO t VALUES (3);
                        CREATE TABLE u (x); INSERT INTO u VALUES (1), (2), (-9223372036854775808);
                        CREATE TABLE v (x UNIQUE ON CONFLICT FAIL); INSERT INTO v VALUES (3)",
    )
    .await;
    let store = &fixture.store;
    const FAILING: [&str; 4] = [
        "INSERT OR FAIL INTO t VALUES (1), (2), (3), (4)",
        "UPDATE u SET x = abs(x) WHERE TRUE",
        "INSERT INTO v VALUES (1), (2), (3)",
        "INSERT INTO t VALUES (1), (2), (3)",
    ];
    // As the first statement of a lease, and after another.
    for statements in [
        &[FAILING[0]] as &[_],
        &[FAILING[1]],
        &[FAILING[2]],
        &[FAILING[3]],
        &[
            "INSERT INTO u VALUES (7)",
            FAILING[0],
            FAILING[1],
            FAILING[2],
            FAILING[3],
            "DELETE FROM u WHERE x = 7",
        ],
    ] {
        let results = leased(store, statements).await.expect("committed");
        for (statement, result) in statements.iter().zip(&results) {
            assert_eq!(result.is_err(), FAILING.contains(statement), "{statement}: {result:?}");
        }
        assert_eq!(numbers(store, "SELECT x FROM t").await, [3], "{statements:?}");
        assert_eq!(numbers(store, "SELECT x FROM v").await, [3], "{statements:?}");
        assert_eq!(numbers(store, "SELECT x FROM u").await, [1, 2, i64::MIN], "{statements:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_returns_too_much_leaves_nothing_and_conflicts_with_nobody() {
    let fixture = with("CREATE TABLE t (x)").await;
    let store = &fixture.store;
    sql(store, "INSERT INTO t VALUES (0)").await.expect("done");
    let mut reader = store.begin();
    reader.query("SELECT count(*) FROM t", Vec::new()).await.expect("a query");
    let run = store.lease(false, None, move |mut transaction| async move {
        let returning = format!("INSERT INTO t {SEQUENCE} SELECT i FROM n RETURNING x");
        let refused = transaction.query(&returning, Vec::new()).await;
        (refused, transaction.finish().await)
    });
    let (refused, committed) = run.await.expect("leased");
    committed.expect("valid").durable().await.expect("durable");
    let Err(Error::Sql(SqlError { kind: SqlErrorKind::Limit, message })) = refused else {
        panic!("{refused:?}")
    };
    assert!(message.contains("more than 10 rows"), "{message}");
    assert_eq!(numbers(store, "SELECT count(*) FROM t").await, [1]);
    // What it had read is still so.
    put(&mut reader, "a", 1).await.expect("a write");
    reader.finish().await.expect("no conflict").durable().await.expect("durable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_returns_rows_and_writes_conflicts_with_who_read_them() {
    let fixture = with("CREATE TABLE t (x); INSERT INTO t VALUES (1)").await;
    let store = &fixture.store;
    let mut reader = store.begin();
    reader.query("SELECT x FROM t", Vec::new()).await.expect("a query");
    let run = store.lease(false, None, |mut transaction| async move {
        transaction.query("UPDATE t SET x = 2 RETURNING x", Vec::new()).await.expect("done");
        transaction.finish().await
    });
    run.await.expect("leased").expect("valid").durable().await.expect("durable");
    put(&mut reader, "a", 1).await.expect("a write");
    assert!(matches!(reader.finish().await, Err(Error::Rerun(Rerun::Leased))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_the_statements_own_rows() {
    let fixture = with(
        "
        CREATE TABLE t (id INTEGER PRIMARY KEY, version INTEGER);
        INSERT INTO t VALUES (1, 1), (2, 1);
        CREATE TABLE log (n);
        CREATE TRIGGER logs AFTER UPDATE ON t BEGIN
            INSERT INTO log VALUES (1), (2), (3); UPDATE log SET n = n + 1;
        END;
        CREATE TABLE c (t REFERENCES t ON DELETE CASCADE);
        INSERT INTO c VALUES (1), (1), (2);
        CREATE VIEW w AS SELECT id FROM t;
        CREATE TRIGGER through INSTEAD OF DELETE ON w BEGIN DELETE FROM log; END",
    )
    .await;
    let results = leased(
        &fixture.store,
        &[
            "UPDATE t SET version = 2 WHERE id = 1 AND version = 1",
            "UPDATE t SET version = 2 WHERE id = 1 AND version = 1",
            "CREATE TABLE late (x)",
            "DELETE FROM t WHERE id = 1",
            "DELETE FROM w WHERE id = 2",
            "SELECT 1",
            "INSERT INTO t VALUES (NULL, 1)",
            "UPDATE t SET version = 3",
            "DELETE FROM t",
        ],
    )
    .await
    .expect("committed");
    let changes: Vec<(u64, i64)> = results
        .into_iter()
        .map(|result| {
            let Execution { changes, last_insert_id } = result.expect("done");
            (changes, last_insert_id)
        })
        .collect();
    assert_eq!(changes, [(1, 0), (0, 0), (0, 0), (1, 0), (0, 0), (0, 0), (1, 3), (2, 3), (2, 3)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_row_inserted_last_is_the_transactions_own() {
    let fixture = with("CREATE TABLE t (id INTEGER PRIMARY KEY, x)").await;
    let store = &fixture.store;
    sql(store, "INSERT INTO t VALUES (41, 0)").await.expect("done");
    let run = store.lease(false, None, |mut transaction| async move {
        put(&mut transaction, "a", 1).await?;
        let updated = transaction.execute("UPDATE t SET x = 1", Vec::new()).await?;
        transaction.execute("INSERT INTO t VALUES (NULL, 1)", Vec::new()).await?;
        put(&mut transaction, "b", 1).await?;
        let later = transaction.execute("UPDATE t SET x = 2", Vec::new()).await?;
        Ok::<_, Error>((updated, later, transaction.finish().await?))
    });
    let (updated, later, committed) = run.await.expect("leased").expect("done");
    committed.durable().await.expect("durable");
    assert_eq!((updated.last_insert_id, later.last_insert_id), (0, 42));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback_is_refused_as_a_conflict_clause_in_statements_and_migrations() {
    let fixture = with("CREATE TABLE t (x UNIQUE); INSERT INTO t VALUES (1)").await;
    let store = &fixture.store;
    for statement in [
        "INSERT OR ROLLBACK INTO t VALUES (1)",
        "WITH a AS (SELECT 1) INSERT OR /* or */ rollback INTO t SELECT 1",
        "UPDATE OR ROLLBACK t SET x = 1",
        "CREATE TABLE u (x UNIQUE ON CONFLICT ROLLBACK)",
        "CREATE TRIGGER r BEFORE INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
        "CREATE TRIGGER r AFTER DELETE ON t BEGIN INSERT OR ROLLBACK INTO t VALUES (1); END",
    ] {
        let Err(Error::Sql(error)) = sql(store, statement).await else { panic!("{statement}") };
        assert_eq!(error.kind, SqlErrorKind::Denied, "{statement}");
        assert!(error.message.contains("use ABORT"), "{}", error.message);
        let refused = store.migrate(&[migration("2", statement)]).await.expect_err(statement);
        assert!(refused.to_string().contains("use ABORT"), "{refused}");
    }
    sql(store, "INSERT INTO t VALUES (2)").await.expect("the store goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback_that_an_older_schema_has_is_refused_where_it_is_met() {
    let fixture = with("CREATE TABLE plain (x); INSERT INTO plain VALUES (0)").await;
    fixture.store.close().await;
    let file = fixture.store.core.path.clone();
    rusqlite::Connection::open(file)
        .and_then(|connection| {
            connection.execute_batch(
                "
        CREATE TABLE t (x UNIQUE ON CONFLICT ROLLBACK); INSERT INTO t VALUES (1);
        CREATE TRIGGER r BEFORE DELETE ON plain BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
            )
        })
        .expect("made");
    let store = Store::new(fixture.store.core.path.clone(), "cart", StoreOptions::default());
    for statement in ["INSERT INTO t VALUES (1)", "UPDATE t SET x = 1", "DELETE FROM plain"] {
        let Err(Error::Sql(error)) = sql(&store, statement).await else { panic!("{statement}") };
        assert_eq!(error.kind, SqlErrorKind::Denied, "{statement}");
        assert!(error.message.contains("a table or trigger that it meets"), "{}", error.message);
    }
    for statement in
        ["INSERT INTO plain VALUES (1)", "INSERT OR ABORT INTO t VALUES (2)", "SELECT 1 FROM t"]
    {
        sql(&store, statement).await.expect(statement);
    }
    // Once it is gone nothing is looked at any more.
    let dropping = "DROP TABLE t; DROP TRIGGER r; CREATE TABLE t (x UNIQUE)";
    store.migrate(&[migration("2", dropping)]).await.expect("migrated");
    sql(&store, "INSERT INTO t VALUES (1)").await.expect("done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_without_a_statement_is_refused_as_one() {
    let fixture = with("CREATE TABLE t (x)").await;
    for text in
        ["", " ", ";", " ; ;", "-- SELECT 1", "/* SELECT 1 */", "/*", "\0SELECT 1", ";; SELECT 1"]
    {
        for refused in [
            fixture.store.begin().query(text, Vec::new()).await.map(drop),
            fixture.store.begin().execute(text, Vec::new()).await.map(drop),
        ] {
            let Err(Error::Sql(SqlError { kind, .. })) = refused else {
                panic!("{text:?}: {refused:?}");
            };
            assert_eq!(kind, SqlErrorKind::Syntax, "{text:?}");
        }
    }
    let one = fixture.store.begin().query("/* one */ SELECT 1; -- of one", Vec::new()).await;
    assert!(one.is_ok_and(|rows| rows.values.len() == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_runs_out_of_memory_leaves_its_transaction_as_it_was() {
    const ROWS: &str =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9000)";
    let too_large = [
        format!("{ROWS} SELECT i FROM n ORDER BY zeroblob(100000), i"),
        format!("{ROWS} SELECT count(*) FROM (SELECT DISTINCT randomblob(100000) FROM n)"),
    ];
    // So much time that it is the memory that ends.
    let (statement_timeout, lease_timeout) = (Duration::from_secs(30), Duration::from_secs(30));
    let Fixture { store, _folder } =
        fixture(StoreOptions { statement_timeout, lease_timeout, ..StoreOptions::default() });
    store.migrate(&[migration("1", "CREATE TABLE t (n INTEGER)")]).await.expect("migrated");
    let is_limit = |refused: Result<Rows, Error>| match refused {
        Err(Error::Sql(SqlError { kind: SqlErrorKind::Limit, message })) => {
            assert!(message.contains("bytes of memory"), "{message}");
        }
        other => panic!("{other:?}"),
    };
    let count = "SELECT count(*) FROM t";
    let mut reading = store.begin();
    assert_eq!(reading.query(count, vec![]).await.expect("rows").values, [[Value::Integer(0)]]);
    for query in &too_large {
        is_limit(reading.query(query, vec![]).await);
        let rows = reading.query(count, vec![]).await.expect("it goes on");
        assert_eq!(rows.values, [[Value::Integer(0)]]);
    }
    let run = store.lease(false, None, move |mut writing| async move {
        writing.execute("INSERT INTO t VALUES (1)", vec![]).await?;
        for query in &too_large {
            is_limit(writing.query(query, vec![]).await);
        }
        let rows = writing.query(count, vec![]).await?;
        Ok::<_, Error>((rows.values, writing.finish().await?))
    });
    let (rows, committed) = run.await.expect("a lease").expect("it goes on");
    committed.durable().await.expect("a disk");
    assert_eq!(rows, [[Value::Integer(1)]]);
    assert_eq!(numbers(&store, count).await, [1], "what it wrote is there");
}
