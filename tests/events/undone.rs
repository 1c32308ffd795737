//! An event whose handler leaves what cannot be committed.

use serde_json::{Value, json};

use super::stores::{Stores, all};
use super::{event, publish, until_value};
use crate::harness::{Host, component, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn one_that_violates_a_deferred_foreign_key_becomes_a_dead_letter_and_costs_no_other_anything()
 {
    let (wasm, beside) = component("consumer");
    let manifest = beside.expect("its manifest")
        + "\n[[migration]]\nname = \"0002_family\"\nsql = \"\"\"\n\
           CREATE TABLE parent (id INTEGER PRIMARY KEY);\n\
           CREATE TABLE child (parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED);\n\"\"\"\n";
    let host =
        Host::builder().file("consumer.wasm", wasm).file("consumer.toml", manifest).start().await;
    let violate = json!([{ "do": "execute", "sql": "INSERT INTO child VALUES (-1)" }]);
    let mut events: Vec<Value> = Vec::new();
    for number in 0..60 {
        if number % 16 == 0 {
            events.push(event(&format!("ill-{number}"), violate.clone()));
        }
        let steps = json!([
            { "do": "execute", "sql": "INSERT INTO parent VALUES (NULL)" },
            { "do": "count", "key": format!("well-{number}") },
        ]);
        events.push(event(&format!("well-{number}"), steps));
    }
    publish(&host, Value::Array(events)).await;
    for number in 0..60 {
        until_value(&host, "counts", &format!("well-{number}"), "1").await;
    }
    let stores = Stores::at(&host.data());
    let dead = eventually("the four are dead letters", async || {
        let query = "SELECT key, attempts, reason FROM _dead ORDER BY key";
        let dead = all(&stores.store("consumer"), query, |row| {
            let text = |index| row.get::<_, String>(index).expect("a text");
            (text(0), row.get::<_, u32>(1).expect("attempts"), text(2))
        });
        (dead.len() == 4).then_some(dead)
    })
    .await;
    for (key, attempts, reason) in dead {
        assert!(key.starts_with("ill-"), "{key}");
        assert_eq!(attempts, 3, "{key}");
        assert!(reason.contains("deferred foreign key"), "{reason}");
    }
    let rows = "SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM child)";
    let rows: Vec<(u64, u64)> = all(&stores.store("consumer"), rows, |row| {
        (row.get(0).expect("a count"), row.get(1).expect("a count"))
    });
    assert_eq!(rows, [(60, 0)], "each effect is there once");
}
