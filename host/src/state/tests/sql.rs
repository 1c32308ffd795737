//! A guest's own tables: migrations, what its statements may reach, and their limits.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_apply_once_and_a_changed_one_is_refused() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    let first = migration("1", "CREATE TABLE t (x); CREATE INDEX i ON t (x);");
    let second = migration("2", "ALTER TABLE t ADD COLUMN y");
    let both = [first.clone(), second.clone()];
    assert_eq!(store.try_migrations(&both).await.expect("tried"), ["1", "2"]);
    assert_eq!(
        store.migrate(std::slice::from_ref(&first)).await.expect("applied"),
        ["1"],
        "trying left nothing"
    );
    assert_eq!(store.migrate(&both).await.expect("applied"), ["2"]);
    assert!(store.migrate(&both).await.expect("nothing to do").is_empty());

    let changed = [migration("1", "CREATE TABLE t (z)"), second];
    let error = store.migrate(&changed).await.expect_err("refused").to_string();
    assert!(error.starts_with("migration 1 was changed after it was applied"), "{error}");
    let gone = store.try_migrations(std::slice::from_ref(&first)).await.expect_err("refused");
    assert!(gone.to_string().contains("and is gone"), "{gone}");
    let moved = [changed[1].clone(), first.clone()];
    let moved = store.try_migrations(&moved).await.expect_err("refused").to_string();
    assert!(moved.contains("comes after others now"), "{moved}");
    let failing = [first, migration("3", "CREATE TABLE u (x); CREATE TABLE t (x)")];
    let error = store.migrate(&failing).await.expect_err("refused").to_string();
    assert!(error.starts_with("migration 3 failed: table t already exists"), "{error}");
    let names = ["CREATE TABLE _x (y)", "ALTER TABLE t RENAME TO _x", "DROP TABLE _kv", "COMMIT"];
    for sql in names {
        assert!(store.migrate(&[migration("4", sql)]).await.is_err(), "{sql}");
    }
    sql(&store, "INSERT INTO t VALUES (1, 2)").await.expect("the table is as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guests_sql_stays_in_its_own_tables() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    store
        .migrate(&[migration("1", "CREATE TABLE t (x INTEGER NOT NULL UNIQUE) STRICT")])
        .await
        .expect("migrated");
    let kind = async |statement: &'static str| match sql(&store, statement).await {
        Ok(_) => None,
        Err(Error::Sql(error)) => Some(error.kind),
        Err(error) => panic!("{statement}: {error}"),
    };
    for denied in [
        "SELECT * FROM _kv",
        "INSERT INTO _kv VALUES ('a', 'b', x'')",
        "DELETE FROM _meta",
        "ATTACH 'other.db' AS other",
        "BEGIN",
        "COMMIT",
        "VACUUM",
        "SAVEPOINT lease",
        "RELEASE lease",
        "ROLLBACK TO lease",
        "PRAGMA synchronous = OFF",
        "PRAGMA table_info(_kv)",
        "CREATE TEMP TABLE u (x)",
        "CREATE TABLE _u (x)",
        "CREATE VIRTUAL TABLE v USING fts5(x)",
        "SELECT value FROM _kv WHERE bucket = 'a' AND key = 'b'",
    ] {
        assert_eq!(kind(denied).await, Some(SqlErrorKind::Denied), "{denied}");
    }
    for syntax in [
        "SELEC 1",
        "SELECT * FROM absent",
        "DELETE FROM sqlite_master",
        "SELECT y FROM t",
        "SELECT load_extension('x')",
    ] {
        assert_eq!(kind(syntax).await, Some(SqlErrorKind::Syntax), "{syntax}");
    }
    for parameters in ["SELECT 1; SELECT 2", "SELECT ?1"] {
        assert_eq!(kind(parameters).await, Some(SqlErrorKind::Parameters), "{parameters}");
    }
    assert_eq!(kind("INSERT INTO t VALUES (1)").await, None);
    assert_eq!(kind("INSERT INTO t VALUES (1)").await, Some(SqlErrorKind::Constraint));
    assert_eq!(kind("INSERT INTO t VALUES ('x')").await, Some(SqlErrorKind::Constraint));
    assert_eq!(kind("INSERT INTO t VALUES (NULL)").await, Some(SqlErrorKind::Constraint));
    let count =
        store.begin().query("SELECT count(*) AS n FROM t", Vec::new()).await.expect("a query");
    assert_eq!(count, Rows { columns: vec!["n".into()], values: vec![vec![Value::Integer(1)]] });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_and_results_have_their_limits() {
    let options = StoreOptions {
        statement_timeout: Duration::from_millis(50),
        max_rows: 10,
        max_pages: 64,
        ..StoreOptions::default()
    };
    let Fixture { store, _folder } = fixture(options);
    store.migrate(&[migration("1", "CREATE TABLE t (x)")]).await.expect("migrated");
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT ";
    let query = async |statement: String| store.begin().query(&statement, Vec::new()).await;
    let slow = query(format!("{endless} count(*) FROM n")).await;
    assert!(
        matches!(slow, Err(Error::Sql(SqlError { kind: SqlErrorKind::Limit, .. }))),
        "{slow:?}"
    );
    let many = query(format!("{endless} i FROM n")).await;
    assert!(
        matches!(many, Err(Error::Sql(SqlError { kind: SqlErrorKind::Limit, .. }))),
        "{many:?}"
    );
    let full = sql(&store, "INSERT INTO t VALUES (zeroblob(1000000))").await;
    assert!(matches!(full, Err(Error::Full)), "{full:?}");
    sql(&store, "INSERT INTO t VALUES (1)").await.expect("the store goes on");
}

#[tokio::test]
async fn migrations_alter_tables_that_have_large_rows() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    let first = "CREATE TABLE big (a, b); INSERT INTO big VALUES (zeroblob(2000000), 1)";
    store.migrate(&[migration("1", first)]).await.expect("migrated");
    let alter = "ALTER TABLE big ADD COLUMN c CHECK (c > 0);
                 ALTER TABLE big ADD COLUMN d NOT NULL GENERATED ALWAYS AS (b + 1);
                 ALTER TABLE big DROP COLUMN b2";
    let alter = alter.replace("b2", "c");
    store.migrate(&[migration("2", &alter)]).await.expect("migrated");
    let rows = store.begin().query("SELECT length(a), b, d FROM big", Vec::new()).await;
    let row = vec![Value::Integer(2_000_000), Value::Integer(1), Value::Integer(2)];
    assert_eq!(rows.expect("a query").values, [row]);

    let refused = [
        ("CREATE TABLE n (x);\0DROP TABLE big", "NUL"),
        ("COMMIT", "all migrations of a deployment are one"),
        ("ALTER TABLE big ADD COLUMN e CHECK (b > 5)", "CHECK"),
        ("PRAGMA quick_check", "not offered"),
    ];
    for (text, reason) in refused {
        let all = [migration("1", first), migration("2", &alter), migration("3", text)];
        let error = store.try_migrations(&all).await.expect_err(text);
        assert!(error.to_string().contains(reason), "{error}");
    }
    let strict = "CREATE TABLE strict (x INTEGER) STRICT; INSERT INTO strict VALUES (1);
                  ALTER TABLE strict ADD COLUMN y TEXT DEFAULT 'a'";
    let all = [migration("1", first), migration("2", &alter), migration("3", strict)];
    store.migrate(&all).await.expect("migrated");
    for (statement, what) in [
        ("ALTER TABLE big ADD COLUMN e CHECK (e > 0)", "one with CHECK"),
        ("ALTER TABLE strict ADD COLUMN z TEXT", "a column of a STRICT table"),
    ] {
        let Err(Error::Sql(denied)) = sql(&store, statement).await else { panic!("{statement}") };
        assert_eq!(denied.kind, SqlErrorKind::Denied);
        assert!(denied.message.contains(what), "{}", denied.message);
        assert!(denied.message.contains("is added by a migration: all rows are looked at"));
    }
    sql(&store, "ALTER TABLE big ADD COLUMN e").await.expect("of any other table");
}
