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

    let ids = ticks(&host);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{ids:?}");
    assert!(ids.iter().all(|id| id.starts_with("often-20") && id.ends_with('Z')), "{ids:?}");
}

#[tokio::test]
async fn a_missed_tick_comes_though_the_code_has_to_be_made_again() {
    let mut host = consumer(&EVERY_SECOND.replace("* * * * * *", "0 0 0 1 1 *")).await;
    let bus = host.data().join("bus.db");
    eventually("the schedule has begun", async || {
        let bus = Connection::open_with_flags(&bus, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        bus.query_row("SELECT name FROM schedule", [], |row| row.get::<_, String>(0)).ok()
    })
    .await;
    host.stop().await;
    // Two years pass, and the host is another build.
    let connection = Connection::open(&bus).expect("the bus");
    let years = "UPDATE schedule SET last_tick = last_tick - 2 * 366 * 86400000";
    assert_eq!(connection.execute(years, []), Ok(1));
    drop(connection);
    std::fs::remove_dir_all(host.data().join("compiled")).expect("compiled code");
    host.start().await;
    until_ticked(&host, 1).await;
    host.stop().await;
    assert_eq!(ticks(&host).len(), 1, "the last of those that were missed");
}

/// The ids of the ticks that are on the bus of a host that was stopped.
fn ticks(host: &Host) -> Vec<String> {
    let bus = host.data().join("bus.db");
    let bus = Connection::open_with_flags(bus, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a bus");
    let ids = "SELECT event ->> 'id' FROM event WHERE event ->> 'type' = 'test.tick'";
    let mut ids = bus.prepare(ids).expect("events");
    ids.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("ids")
}

/// Waits until so many ticks were handled. Returns how many were.
async fn until_ticked(host: &Host, ticks: u64) -> u64 {
    eventually("it ticks", async || {
        let ticked = value(host, "counts", "ticked").await?;
        Some(ticked.parse().expect("a number")).filter(|ticked| *ticked >= ticks)
    })
    .await
}
