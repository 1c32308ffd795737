//! Whoever's statements go wrong is told so, and nobody else.

use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::{Client, Host, Reply};

const FAMILY: &str = "
[limits]
queue = 2000

[[migration]]
name = \"0002_family\"
sql = \"\"\"
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
\"\"\"
";

/// Has the probe run statements in one transaction: what each came to.
async fn script(host: &Host, client: &Client, statements: &[&str]) -> Reply {
    let steps: Vec<Value> = statements.iter().map(|sql| json!(["execute", sql, []])).collect();
    let body = Value::Array(steps).to_string();
    let request = Request::post(host.url("/probe/sql-script")).body(Full::new(body.into()));
    client.send(request.expect("a request")).await.expect("an answer")
}

async fn count(host: &Host, table: &str) -> u64 {
    let query = format!("/probe/sql?mode=query&sql=SELECT+count(*)+FROM+{table}");
    host.post(&query, "").await.json()["rows"][0][0].as_u64().expect("a count")
}

async fn host() -> Host {
    let (wasm, beside) = crate::harness::component("probe");
    let manifest = beside.expect("its manifest") + FAMILY;
    Host::builder().file("probe.wasm", wasm).file("probe.toml", manifest).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_in_sixteen_that_violates_a_deferred_foreign_key_costs_no_other_an_answer() {
    let host = host().await;
    for client in [Client::new(), Client::h2c()] {
        let work = (0..16).map(|number| {
            let (host, client) = (&host, &client);
            async move {
                for _ in 0..20 {
                    if number == 0 {
                        let reply = script(host, client, &["INSERT INTO child VALUES (-1)"]).await;
                        let detail = reply.problem(502, "foreign-key");
                        assert!(detail.contains("foreign key"), "{detail}");
                        assert_eq!(reply.header("retry-after"), "", "it would not help");
                    } else {
                        let write = ["INSERT INTO parent VALUES (NULL)"];
                        let reply = script(host, client, &write).await;
                        assert_eq!(reply.status, 200, "{reply:?}");
                    }
                }
            }
        });
        join_all(work).await;
    }
    assert_eq!((count(&host, "parent").await, count(&host, "child").await), (600, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_statements_are_stopped_costs_no_other_an_answer() {
    const ENDLESS: &str = "INSERT INTO parent WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL \
                           SELECT i + 1 FROM n) SELECT sum(i) FROM n";
    let host = host().await;
    let client = &host.client;
    let endless = async {
        for _ in 0..6 {
            let reply = script(&host, client, &[ENDLESS]).await;
            assert!(matches!(reply.status.as_u16(), 502..=504), "{reply:?}");
        }
    };
    let work = (0..8).map(|number| {
        let host = &host;
        async move {
            for round in 0..40 {
                // Half of them by SQL, half by buffered writes.
                let reply = if number % 2 == 0 {
                    script(host, client, &["INSERT INTO parent VALUES (NULL)"]).await
                } else {
                    host.post(&format!("/probe/increment?key=k{number}-{round}"), "").await
                };
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        }
    });
    tokio::join!(endless, join_all(work));
    assert_eq!(count(&host, "parent").await, 160, "each is there once");
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_as_a_conflict_clause_is_refused_and_nothing_of_it_is_kept_under_a_key() {
    let host = host().await;
    let send = async |sql: &str| {
        let body = json!([["execute", "INSERT INTO parent VALUES (1)", []], ["execute", sql, []]]);
        let request = Request::post(host.url("/probe/sql-script"))
            .header("idempotency-key", format!("\"{sql}\""))
            .body(Full::new(body.to_string().into()));
        host.send(request.expect("a request")).await
    };
    let refused = send("INSERT OR ROLLBACK INTO parent VALUES (1)").await;
    assert_eq!(refused.status, 200, "{refused:?}");
    assert!(refused.text().contains("Denied"), "{refused:?}");
    assert_eq!(count(&host, "parent").await, 1, "what was before it is committed");
    // One that is answered with an error has no answer kept.
    for _ in 0..2 {
        send("INSERT INTO child VALUES (9)").await.problem(502, "foreign-key");
    }
}
