//! Schedules: events at given times.

use std::collections::HashSet;

use rusqlite::{Connection, OpenFlags};

use super::{consumer, value};
use crate::harness::{Host, eventually};

const EVERY_SECOND: &str = r#"
[[schedule]]
name = "often"
cron = "* * * * * *"
type = "test.tick"
data = '[{"do": "count", "key": "ticked"}]'
"#;

#[tokio::test]
async fn a_schedules_ticks_are_handled_each_once_also_over_a_crash() {
    let mut host = consumer(EVERY_SECOND).await;
    let before = until_ticked(&host, 2).await;
    host.kill();
    host.start().await;
    until_ticked(&host, before + 2).await;
    host.stop().await;

    let bus = host.data().join("bus.db");
    let bus = Connection::open_with_flags(bus, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a bus");
    let ids = "SELECT event ->> 'id' FROM event WHERE event ->> 'type' = 'test.tick'";
    let mut ids = bus.prepare(ids).expect("events");
    let ids: Vec<String> =
        ids.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("ids");
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{ids:?}");
    assert!(ids.iter().all(|id| id.starts_with("often-20") && id.ends_with('Z')), "{ids:?}");
}

/// Waits until so many ticks were handled. Returns how many were.
async fn until_ticked(host: &Host, ticks: u64) -> u64 {
    eventually("it ticks", async || {
        let ticked = value(host, "counts", "ticked").await?;
        Some(ticked.parse().expect("a number")).filter(|ticked| *ticked >= ticks)
    })
    .await
}
