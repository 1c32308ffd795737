//! Figures, not promises: `cargo test --release -p hotdock --lib bus::tests::bench -- --ignored
//! --nocapture --test-threads 1`. They are of a file on the disk that `TMPDIR` is on.

use std::time::Instant;

use super::*;

/// Events of each measurement.
const EVENTS: usize = 1_000_000;

fn report(what: &str, events: usize, began: Instant) {
    let rate = events as f64 / began.elapsed().as_secs_f64();
    eprintln!("{what}: {rate:.0} events/s");
}

/// `callers` at once, each appending batches of `batch` with ids of `id`.
async fn append_at_once(bus: &Bus, callers: usize, batch: usize, id: fn() -> String) {
    let quarter = EVENTS / 4;
    for part in 1..=4 {
        let began = Instant::now();
        let work = (0..callers).map(|_| {
            let bus = bus.clone();
            tokio::spawn(async move {
                for _ in 0..quarter / callers / batch {
                    append(&bus, (0..batch).map(|_| id())).await;
                }
            })
        });
        for done in futures_util::future::join_all(work).await {
            done.expect("no panic");
        }
        report(&format!("append {callers} x {batch}, quarter {part}"), quarter, began);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn appending() {
    for (callers, batch) in [(1, 100), (4, 100), (16, 100), (1, 500), (4, 500)] {
        let Fixture { bus, folder: _folder } = Fixture::new(BusOptions::default());
        append_at_once(&bus, callers, batch, || uuid::Uuid::new_v4().to_string()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn relaying() {
    for (stores, batch) in [(1, 100), (4, 100), (1, 500), (4, 500)] {
        let Fixture { bus, folder: _folder } = Fixture::new(BusOptions::default());
        let began = Instant::now();
        let work = (0..stores).map(|store| {
            let bus = bus.clone();
            tokio::spawn(async move {
                for first in (1..=(EVENTS / stores) as u64).step_by(batch) {
                    let entries = outgoing(first..first + batch as u64);
                    bus.relay("cart", &format!("store-{store}"), entries).await.expect("room");
                }
            })
        });
        for done in futures_util::future::join_all(work).await {
            done.expect("no panic");
        }
        report(&format!("relay {stores} x {batch}"), EVENTS, began);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn reading_and_trimming() {
    let Fixture { bus, folder: _folder } = Fixture::new(BusOptions::default());
    append_at_once(&bus, 4, 500, || uuid::Uuid::new_v4().to_string()).await;
    let (began, mut after, mut read) = (Instant::now(), 0, 0);
    while after < bus.last() {
        let limit = ReadLimit { max_events: 500, max_bytes: 1 << 20 };
        let batch = bus.read(after, limit).await.expect("a read");
        (after, read) = (batch.upto, read + batch.events.len());
    }
    report("read from the file", read, began);
    let began = Instant::now();
    let trimmed = bus.trim(crate::clock::now_ms() + 25 * 60 * 60 * 1_000).await.expect("a trim");
    report("trim", usize::try_from(trimmed.events).expect("small"), began);
}
