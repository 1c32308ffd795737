//! What no statement of a guest's can do: reach the host's, run on, or take the memory.

use std::time::Instant;

use super::*;

const MIB: usize = 1 << 20;

async fn ask(store: &Arc<Store>, statement: &str, parameters: Vec<Value>) -> Result<Rows, Error> {
    store.begin().query(statement, parameters).await
}

/// The kind and the text of the refusal that a statement meets.
async fn refusal(store: &Arc<Store>, statement: &str) -> (SqlErrorKind, String) {
    match run(store, statement).await {
        Err(Error::Sql(error)) => (error.kind, error.message),
        other => panic!("{statement}: {other:?}"),
    }
}

async fn run(store: &Arc<Store>, statement: &str) -> Result<(), Error> {
    let text = statement.to_owned();
    let ran = invoke(store, move |transaction| {
        let text = text.clone();
        Box::pin(async move { transaction.execute(&text, Vec::new()).await })
    });
    ran.await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_offered_is_denied_and_the_text_says_what_it_is() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    store.migrate(&[migration("1", "CREATE TABLE t (x)")]).await.expect("migrated");
    for (statement, named) in [
        ("SELECT fts3_tokenizer('a')", "fts3_tokenizer"),
        ("SELECT sqlite_log(1, 'a')", "sqlite_log()"),
        ("SELECT load_extension('x')", "load_extension"),
        ("SELECT * FROM dbstat", "dbstat"),
        ("SELECT * FROM fts3tokenize WHERE input = 'a'", "fts3tokenize"),
        ("SELECT * FROM pragma_database_list", "PRAGMA database_list"),
        ("SELECT * FROM pragma_table_info('_kv')", "_kv"),
        ("SELECT * FROM pragma_table_info(CAST(x'5f6bff' AS TEXT))", "_k\u{fffd}"),
        ("SELECT * FROM pragma_index_info('sqlite_autoindex__idempotency_1')", "_idempotency_1"),
        ("PRAGMA journal_mode = DELETE", "PRAGMA journal_mode"),
        ("PRAGMA max_page_count", "PRAGMA max_page_count"),
        ("PRAGMA main.table_info(\"_kv\")", "_kv"),
        ("CREATE VIRTUAL TABLE v USING fts5(x)", "virtual tables"),
        ("CREATE VIRTUAL TABLE v USING rtree(a, b, c)", "virtual tables"),
        ("CREATE TEMP TABLE u (x)", "temporary"),
        ("CREATE TEMPORARY VIEW u AS SELECT 1", "temporary"),
        ("CREATE TEMP TRIGGER u AFTER INSERT ON t BEGIN SELECT 1; END", "temporary"),
        ("CREATE TABLE temp.u (x)", "temporary"),
        ("CREATE TABLE IF NOT EXISTS \"Temp\".t AS SELECT 1", "temporary"),
        ("CREATE VIEW temp.u AS SELECT 1", "temporary"),
        ("CREATE TRIGGER temp.u AFTER INSERT ON t BEGIN SELECT 1; END", "temporary"),
        ("CREATE TRIGGER temp.u AFTER INSERT ON main.t BEGIN SELECT 1; END", "temporary"),
        ("SELECT * FROM temp.sqlite_schema", "temporary"),
        ("SELECT * FROM sqlite_temp_schema", "temporary"),
        ("PRAGMA temp.table_list", "temporary"),
        ("ATTACH 'other.db' AS other", "one store"),
        ("BEGIN", "hotdock:transaction"),
        ("SAVEPOINT a", "hotdock:transaction"),
    ] {
        let (kind, message) = refusal(&store, statement).await;
        assert!(message.contains(named), "{statement}: {message}");
        assert!(
            matches!(kind, SqlErrorKind::Denied | SqlErrorKind::Syntax),
            "{statement}: {kind:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_the_hosts_is_reached_by_no_statement() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    let tables = "CREATE TABLE t (x INTEGER PRIMARY KEY AUTOINCREMENT, y); CREATE INDEX i ON t (y)";
    store.migrate(&[migration("1", tables)]).await.expect("migrated");
    for statement in [
        "SELECT * FROM _kv",
        "SELECT * FROM main.\"_KV\"",
        "SELECT * FROM [_outbox]",
        "SELECT (SELECT 1 FROM `_meta`) FROM t",
        "WITH a AS (SELECT * FROM _kv) SELECT * FROM a",
        "CREATE TABLE u AS SELECT * FROM _kv",
        "INSERT INTO t (y) SELECT value FROM _kv",
        "UPDATE t SET y = (SELECT value FROM _kv)",
        "INSERT INTO _outbox VALUES (1, x'')",
        "DELETE FROM _outbox",
        "CREATE TABLE _u (x)",
        "CREATE TABLE IF NOT EXISTS main._u (x)",
        "CREATE VIEW _u AS SELECT 1",
        "CREATE INDEX _u ON t (y)",
        "CREATE INDEX u ON _kv (value)",
        "CREATE TRIGGER _u AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE TRIGGER u AFTER INSERT ON _outbox BEGIN SELECT 1; END",
        "CREATE TRIGGER u AFTER INSERT ON t BEGIN DELETE FROM _outbox; END",
        "CREATE TRIGGER u AFTER UPDATE OF y ON t BEGIN UPDATE _meta SET value = 1; END",
        "CREATE TRIGGER u AFTER DELETE ON t WHEN (SELECT count(*) FROM _kv) BEGIN SELECT 1; END",
        "CREATE VIEW u AS SELECT * FROM _kv",
        "CREATE VIEW u AS SELECT * FROM t WHERE y IN (SELECT key FROM _kv)",
        "CREATE TABLE r (x REFERENCES _outbox (nope))",
        "CREATE TABLE r (x REFERENCES \"_Outbox\")",
        "CREATE TABLE r (x, FOREIGN KEY (x) REFERENCES _kv (bucket) ON DELETE CASCADE)",
        "CREATE TABLE r (x REFERENCES sqlite_sequence (name))",
        "ALTER TABLE t ADD COLUMN z REFERENCES _outbox",
        "ALTER TABLE t RENAME TO _x",
        "ALTER TABLE t RENAME TO \"_x\"",
        "CREATE TABLE json_each (x)",
        "ALTER TABLE t RENAME TO pragma_foreign_key_list",
        "ALTER TABLE _kv RENAME TO kv",
        "ALTER TABLE _kv ADD COLUMN x",
        "ALTER TABLE _outbox DROP COLUMN event",
        "DROP TABLE _outbox",
        "DROP TABLE IF EXISTS main._meta",
        "REINDEX",
        "REINDEX _kv",
        "ANALYZE",
        "ANALYZE _kv",
        "UPDATE sqlite_sequence SET seq = 0 WHERE name = '_outbox'",
        "INSERT INTO sqlite_sequence VALUES ('_outbox', 0)",
        "DELETE FROM sqlite_sequence",
        "SELECT * FROM sqlite_sequence",
        "DROP TABLE sqlite_sequence",
        "INSERT INTO sqlite_stat1 VALUES ('t', 'i', '1 1')",
        "/* ANALYZE */ DELETE FROM sqlite_stat1",
        "DELETE FROM sqlite_schema",
        "UPDATE sqlite_master SET sql = ''",
    ] {
        let before =
            ask(&store, "SELECT name, sql FROM sqlite_schema", vec![]).await.expect("read");
        let (kind, message) = refusal(&store, statement).await;
        assert!(
            matches!(kind, SqlErrorKind::Denied | SqlErrorKind::Syntax),
            "{statement}: {message}"
        );
        let after = ask(&store, "SELECT name, sql FROM sqlite_schema", vec![]).await.expect("read");
        assert_eq!(before, after, "{statement}");
        if !statement.contains("sqlite_") {
            let failed = store.migrate(&[migration("2", statement)]).await.expect_err(statement);
            assert!(failed.to_string().contains("migration 2 failed"), "{statement}: {failed}");
        }
    }
    // All of it is as it was.
    let mut transaction = store.begin();
    put(&mut transaction, "a", 1).await.expect("a write");
    transaction.finish().await.expect("validated").durable().await.expect("durable");
    run(&store, "INSERT INTO t (y) VALUES (1)").await.expect("a guest's own table");
    run(&store, "ANALYZE t").await.expect("its statistics");
    run(&store, "REINDEX i").await.expect("its index");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_is_changed_within_the_rules() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    for statement in [
        "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, _x TEXT, y AS (upper(_x)) STORED)",
        "CREATE TABLE b (a REFERENCES a ON DELETE CASCADE, n CHECK (length(n) < 10)) STRICT, WITHOUT ROWID",
        "CREATE TABLE b (a REFERENCES a ON DELETE CASCADE, n INTEGER CHECK (n < 10) DEFAULT 1)",
        "CREATE INDEX a_y ON a (replace(_x, 'a', 'b')) WHERE instr(_x, 'a') > 0",
        "CREATE VIEW v AS SELECT _x AS w, count(*) AS n FROM a JOIN b ON b.a = a.id GROUP BY trim(_x)",
        "CREATE TRIGGER g AFTER INSERT ON a BEGIN INSERT INTO b (a) VALUES (new.id); END",
        "CREATE TRIGGER h INSTEAD OF INSERT ON v BEGIN INSERT INTO a (_x) VALUES (new.w); END",
        "ALTER TABLE a RENAME COLUMN _x TO x",
        "ALTER TABLE b ADD COLUMN z DEFAULT 2",
        "ALTER TABLE b DROP COLUMN z",
        "ALTER TABLE b RENAME TO c",
        "INSERT INTO v (w) VALUES ('aa')",
        "INSERT INTO a (x) VALUES ('b') ON CONFLICT DO UPDATE SET x = excluded.x RETURNING id",
        "DELETE FROM a",
        "DROP VIEW v",
        "DROP TABLE c",
    ] {
        let ran = run(&store, statement).await;
        // The second has a column without a type.
        assert_eq!(ran.is_err(), statement.contains("STRICT"), "{statement}: {ran:?}");
    }
    let left =
        "SELECT (SELECT count(*) FROM a), group_concat(name ORDER BY name) FROM sqlite_schema
                WHERE name NOT GLOB '_*' AND name NOT GLOB 'sqlite_*'";
    let left = ask(&store, left, vec![]).await.expect("rows");
    assert_eq!(left.values, [[Value::Integer(0), Value::Text("a,a_y,g".into())]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_function_takes_longer_than_the_statement_may() {
    let options =
        StoreOptions { statement_timeout: Duration::from_millis(100), ..StoreOptions::default() };
    let Fixture { store, _folder } = fixture(options);
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    let case = format!("CASE {} END", "WHEN ?1 = (?1 COLLATE NOCASE) || 'b' THEN 1 ".repeat(900));
    let list = format!("1 IN ({} 2)", "?1 + 0, ".repeat(2_000));
    let calls = format!("1 IN ({} 2)", "length(upper(?1)), ".repeat(1_000));
    for expression in [
        "instr(zeroblob(16000000), CAST(zeroblob(120000) || x'01' AS BLOB))",
        "instr(?1, substr(?1, 1, 100000) || 'b')",
        "replace(?1, substr(?1, 1, 100000) || 'b', 'c')",
        "trim(?1, substr(?1, 1, 100000) || 'b')",
        "?1 LIKE '%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'",
        "?1 GLOB '*a*a*a*a*aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'",
        "hex(?1)",
        "quote(?1)",
        "upper(?1) || lower(?1)",
        "printf('%4000000d%4000000d', 1, 2)",
        "format(replace(?1, 'a', '%d'))",
        "json_patch('{\"a\":1}', '\"' || ?1 || '\"')",
        "json_set('[' || replace(?1, 'a', '0,') || '0]', '$[0]', 1, '$[#-1]', 2)",
        "unhex(?1, ?1)",
        "?1 + ?1 + ?1 + ?1 + ?1 + ?1 + ?1 + ?1 + ?1 + ?1 + ?1 + ?1 + ?1 + ?1 + ?1 + ?1",
        "randomblob(4000000)",
        "(SELECT group_concat(?1) FROM n)",
        "(SELECT json_group_array(?1) FROM n)",
        "(SELECT sum(length(?1 || i)) FROM n)",
        "(SELECT count(*) FROM n WHERE ?1 LIKE '%b')",
        "(SELECT count(*) FROM json_each('[' || replace(?1, 'a', '0,') || '0]'))",
        "(SELECT sum(length(fullkey || value)) FROM json_tree(replace(substr(?1, 1, 900), 'a', '[') \
         || replace(substr(?1, 1, 900), 'a', ']')), n)",
        "(SELECT max(length(x)) FROM (SELECT group_concat(?1) OVER (ROWS 1 PRECEDING) AS x FROM n))",
        "(SELECT count(*) FROM (SELECT i FROM n ORDER BY -i))",
        "(SELECT count(*) FROM (SELECT i FROM n ORDER BY (?1 || i) COLLATE NOCASE))",
        "(SELECT count(*) FROM (SELECT DISTINCT ?1 || i FROM n))",
        "(SELECT count(*) FROM n WHERE i IN (SELECT -i FROM n))",
        "(SELECT count(*) FROM n WHERE ?1 || i = ?1 COLLATE NOCASE)",
        "(SELECT min(upper(?1 || i), lower(?1 || i)) FROM n)",
        "(SELECT max(i % (i / 2 + 1)) FROM n GROUP BY i % 1000000007)",
        case.as_str(),
        list.as_str(),
        calls.as_str(),
    ] {
        for size in [4 * MIB, 300_000, 16_000] {
            let statement = format!("{endless} SELECT {expression}");
            let value = Value::Text("a".repeat(size));
            let parameters = if expression.contains("?1") { vec![value] } else { vec![] };
            let budget = Budget::default();
            let mut transaction = store.begin();
            transaction.count_against(&budget);
            let result = transaction.query(&statement, parameters).await;
            if let Err(Error::Sql(error)) = &result {
                assert_eq!(error.kind, SqlErrorKind::Limit, "{expression}: {error:?}");
            }
            // What the machine does besides does not count, and the compiler was not asked
            // for speed.
            let took = budget.sql();
            assert!(took < Duration::from_millis(250), "{expression}, {size}: {took:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_sql_has_an_end_and_is_given_back() {
    let options =
        StoreOptions { statement_timeout: Duration::from_secs(60), ..StoreOptions::default() };
    let Fixture { store, _folder } = fixture(options);
    let rows = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200000)";
    for statement in [
        "SELECT i FROM n ORDER BY zeroblob(400000), i",
        "SELECT count(*) FROM (SELECT DISTINCT i, randomblob(1000) FROM n)",
        "SELECT count(*) FROM (SELECT i, randomblob(1000) FROM n UNION SELECT i, zeroblob(9) FROM n)",
        "SELECT max(i) FROM (SELECT i, row_number() OVER (ORDER BY randomblob(1000)) FROM n)",
        "SELECT json_group_array(hex(randomblob(500))) FROM n",
    ] {
        let refused = ask(&store, &format!("{rows} {statement}"), vec![]).await;
        let Err(Error::Sql(SqlError { kind: SqlErrorKind::Limit, message })) = refused else {
            // Some that need no more memory than there is.
            panic!("{statement}: {:?}", refused.map(|rows| rows.values.len()));
        };
        assert!(
            ["memory", "larger than", "longer"].iter().any(|limit| message.contains(limit)),
            "{statement}: {message}"
        );
        let (used, _) = store.sql_memory();
        assert!(used < 8 * MIB as u64, "{statement}: {used} bytes stay");
    }
    let (_, refused) = store.sql_memory();
    assert!(refused > 0, "it is counted");
    // As long as it has room, it sorts as many rows as there are.
    let last = format!("{rows} SELECT i FROM n ORDER BY -i LIMIT 1 OFFSET 199999");
    assert_eq!(ask(&store, &last, vec![]).await.expect("rows").values, [[Value::Integer(1)]]);
    assert!(ask(&store, "SELECT 1", vec![]).await.is_ok(), "the store goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_nobody_waits_for_ends_and_gives_its_thread_back() {
    let options =
        StoreOptions { statement_timeout: Duration::from_secs(60), ..StoreOptions::default() };
    let Fixture { store, _folder } = fixture(options);
    let endless =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { ask(&store, endless, vec![]).await })
        })
        .collect();
    eventually(|| store.reading() == 4).await;
    for waiting in waiting {
        waiting.abort();
    }
    eventually(|| store.reading() == 0).await;
    assert!(ask(&store, "SELECT 1", vec![]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_ends_when_its_budget_is_used_up() {
    let options =
        StoreOptions { statement_timeout: Duration::from_secs(60), ..StoreOptions::default() };
    let Fixture { store, _folder } = fixture(options);
    let mut transaction = store.begin();
    let budget = Budget::new(Duration::from_millis(50));
    transaction.count_against(&budget);
    let endless =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let ended = transaction.query(endless, vec![]).await;
    let Err(Error::Sql(SqlError { kind: SqlErrorKind::Limit, message })) = ended else {
        panic!("{ended:?}");
    };
    assert!(message.contains("[limits] cpu"), "{message}");
    assert!(budget.is_used_up() && budget.sql() >= Duration::from_millis(50), "{budget:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_reads_while_all_of_a_stores_threads_compute() {
    let options =
        StoreOptions { statement_timeout: Duration::from_secs(60), ..StoreOptions::default() };
    let Fixture { store, _folder } = fixture(options);
    let endless =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let busy: Vec<_> = (0..64)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { ask(&store, endless, vec![]).await })
        })
        .collect();
    eventually(|| store.reading() == 4).await;
    let neighbour = fixture(StoreOptions::default());
    let answer = tokio::time::timeout(
        Duration::from_secs(5),
        ask(&neighbour.store, "SELECT 41 + 1", vec![]),
    );
    let rows = answer.await.expect("in time").expect("rows");
    assert_eq!(rows.values, [[Value::Integer(42)]]);
    for busy in busy {
        busy.abort();
    }
    eventually(|| store.reading() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_text_is_refused_in_time() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    let nested = |open: &str, inner: &str, close: &str, n: usize| {
        format!("SELECT {}{inner}{}", open.repeat(n), close.repeat(n))
    };
    let mut views = String::from("CREATE TABLE t (x); CREATE VIEW v0 AS SELECT x FROM t;");
    for n in 1..40 {
        let before = n - 1;
        views += &format!(
            "CREATE VIEW v{n} AS SELECT a.x FROM v{before} a, V{before} b
             WHERE a.x IN (SELECT x FROM \"v{before}\");"
        );
    }
    let refused = store.migrate(&[migration("1", &views)]).await.expect_err("views of views");
    assert!(refused.to_string().contains("uses of views"), "{refused}");
    for statement in [
        nested("(", "1", ")", 45_000),
        nested("(SELECT ", "1", ")", 9_000),
        format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(6_000), ")".repeat(6_000)),
        nested("-", "1", "", 99_000),
        nested("1+", "1", "", 49_000),
        nested("json_array(", "1", ")", 8_000),
        nested("NOT ", "1", "", 24_000),
        format!("SELECT {}1", "1,".repeat(49_000)),
        format!("SELECT 1 IN ({}1)", "1,".repeat(49_000)),
        format!("SELECT CASE {} END", "WHEN 1=2 THEN 3 ".repeat(6_000)),
        format!("VALUES (1){}", ",(1)".repeat(24_000)),
        format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(5_000)),
        format!("SELECT 1 FROM (SELECT 1) {}", ", (SELECT 1)".repeat(150)),
        format!(
            "WITH {} a9999(x) AS (SELECT 1) SELECT 1",
            (0..5_000).map(|n| format!("a{n}(x) AS (SELECT 1),")).collect::<String>()
        ),
        format!("SELECT '{}'", "\0".repeat(1_000)),
        format!("SELECT \"{}\"", "a".repeat(90_000)),
        "SELECT ?32766".to_owned(),
        "SELECT ?999999999999999".to_owned(),
        format!("SELECT {}", "?,".repeat(40_000)),
    ] {
        let begun = Instant::now();
        let result = ask(&store, &statement, vec![]).await;
        let took = begun.elapsed();
        let start: String = statement.chars().take(40).collect();
        assert!(took < Duration::from_millis(2_500), "{start}: {took:?} {:?}", result.err());
        assert!(!matches!(result, Err(Error::Unavailable(_))), "{start}: {result:?}");
    }
    assert!(ask(&store, "SELECT 1", vec![]).await.is_ok(), "the store goes on");
}

#[tokio::test]
async fn what_sqlite_says_of_its_limits_is_told_as_a_limit() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    let keys = |count: usize| {
        let columns: Vec<_> = (0..90).map(|column| format!("c{column}")).collect();
        let keys: Vec<_> =
            (0..count).map(|key| format!("FOREIGN KEY (c{}) REFERENCES p", key % 90)).collect();
        format!("CREATE TABLE y ({}, {})", columns.join(", "), keys.join(", "))
    };
    let compound = ["SELECT 1"; 6].join(" UNION ");
    let deep = format!("{}t{}", "SELECT * FROM (".repeat(200), ")".repeat(200));
    for statement in [&keys(1_600), "SELECT ?101", &compound, &deep, "SELECT max(1"] {
        let (kind, message) = refusal(&store, statement).await;
        let expected = if message.contains("incomplete") || message.contains("syntax") {
            SqlErrorKind::Syntax
        } else {
            SqlErrorKind::Limit
        };
        assert_eq!(kind, expected, "{message}");
    }
    let (kind, message) = refusal(&store, &keys(1_600)).await;
    assert!(kind == SqlErrorKind::Limit && message.contains("schema"), "{message}");
    let (kind, message) = refusal(&store, "SELECT 1\0; DROP TABLE t").await;
    assert!(kind == SqlErrorKind::Syntax && message.contains("NUL"), "{message}");
    assert_eq!(refusal(&store, "VACUUM").await.0, SqlErrorKind::Denied);
}
