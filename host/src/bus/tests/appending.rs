use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_shown_to_nobody_before_it_is_durable() {
    let valve = Valve::default();
    let Fixture { bus, folder: _folder } = Fixture::new(valve.options());
    append(&bus, ["a"]).await;
    let mut grown = bus.grown();
    assert_eq!(*grown.borrow_and_update(), 1);

    valve.set(true);
    let appending = tokio::spawn({
        let bus = bus.clone();
        async move { append(&bus, ["b"]).await }
    });
    valve.until_someone_waits().await;
    assert_eq!((bus.last(), ids(&bus).await), (1, vec!["a".to_owned()]));
    assert!(!appending.is_finished() && !grown.has_changed().expect("open"));
    valve.set(false);
    appending.await.expect("no panic");
    assert_eq!(*grown.borrow_and_update(), 2);
    assert_eq!(ids(&bus).await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_committed_is_told_before_it_is_synced() {
    let valve = Valve::default();
    let options = BusOptions { before_sync: Some(valve.hook()), ..BusOptions::default() };
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    valve.set(true);
    let mut appending = Box::pin(bus.append(Sender::Operator, events(["a"])));
    assert!((&mut appending).now_or_never().is_none());
    valve.until_someone_waits().await;
    // SQLite has it, as any reader's connection can see.
    let count =
        |file: &Connection| Ok(file.query_row("SELECT count(*) FROM event", [], count_of)?);
    assert_eq!(bus.readers.run(count).await, Ok(1));
    assert_eq!((bus.last(), ids(&bus).await), (0, Vec::new()));

    // Nor is what follows from it, however far the writer has come with that.
    let mut repeating = Box::pin(bus.append(Sender::Operator, events(["a"])));
    let mut relaying = Box::pin(bus.relay("cart", "one", outgoing(1..=400)));
    let mut asking = Box::pin(bus.relayed("one"));
    assert!((&mut repeating).now_or_never().is_none());
    assert!((&mut relaying).now_or_never().is_none());
    assert!((&mut asking).now_or_never().is_none());
    let committed = async || bus.readers.run(count).await == Ok(401);
    while !committed().await {
        tokio::task::yield_now().await;
    }
    assert!((&mut appending).now_or_never().is_none());
    assert!((&mut repeating).now_or_never().is_none());
    assert!((&mut relaying).now_or_never().is_none());
    assert!((&mut asking).now_or_never().is_none());
    assert_eq!(bus.last(), 0);

    valve.set(false);
    assert_eq!(appending.await, Ok(Appended { accepted: 1, repeats: vec![] }));
    assert_eq!(repeating.await, Ok(Appended { accepted: 0, repeats: vec![0] }));
    assert_eq!((relaying.await, asking.await), (Ok(400), Ok(400)));
    assert_eq!(bus.last(), 401);
}

fn count_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<u64> {
    row.get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_queued_during_a_commit_is_the_next_commit_in_its_order() {
    let (valve, commits) = (Valve::default(), Arc::new(AtomicUsize::new(0)));
    let (stall, counted) = (valve.options().before_commit, Arc::clone(&commits));
    let before_commit: BeforeCommit = Arc::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        stall.iter().for_each(|stall| stall());
    });
    let options = BusOptions { before_commit: Some(before_commit), ..BusOptions::default() };
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    valve.set(true);
    // Polled once, each is queued behind those before it.
    let append = |id: usize| {
        let mut appending = Box::pin(bus.append(Sender::Operator, vec![event(id)]));
        assert!((&mut appending).now_or_never().is_none());
        appending
    };
    let mut waiting = vec![append(0)];
    valve.until_someone_waits().await;
    waiting.extend((1..=50).map(append));
    valve.set(false);
    for each in waiting {
        each.await.expect("room");
    }
    assert_eq!(commits.load(Ordering::SeqCst), 2);
    let expected: Vec<_> = (0..=50).map(|id| id.to_string()).collect();
    assert_eq!(ids(&bus).await, expected);
}

#[tokio::test]
async fn a_large_group_is_parted() {
    let options = BusOptions { group_bytes: 1, ..BusOptions::default() };
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    futures_util::future::join_all((0..20).map(|id| append(&bus, [id]))).await;
    assert_eq!(bus.last(), 20);
}

#[tokio::test]
async fn positions_are_never_given_twice() {
    let fixture = Fixture::new(BusOptions::default());
    append(&fixture.bus, ["a", "b", "c"]).await;
    let later = crate::clock::now_ms() + 2 * 24 * HOUR.as_millis() as u64;
    assert_eq!(fixture.bus.trim(later).await.expect("a trim").events, 3);
    assert_eq!((fixture.bus.first(), fixture.bus.last()), (4, 3));
    let Fixture { bus, folder: _folder } = fixture.reopened(BusOptions::default()).await;
    assert_eq!((bus.first(), bus.last()), (4, 3));
    append(&bus, ["d"]).await;
    assert_eq!((bus.first(), bus.last(), bus.health().events), (4, 4, 1));
    let batch = bus.read(0, ALL).await.expect("a read");
    assert_eq!((batch.events[0].position, batch.upto), (4, 4));
}

#[tokio::test]
async fn a_closed_bus_says_so_and_has_committed_what_was_queued() {
    let fixture = Fixture::new(BusOptions::default());
    let bus = fixture.bus.clone();
    append(&bus, ["a"]).await;
    let fixture = fixture.reopened(BusOptions::default()).await;
    let closed = BusError::Unavailable("the bus is closed".to_owned());
    assert_eq!(bus.append(Sender::Operator, events(["b"])).await, Err(closed.clone()));
    assert_eq!(bus.mirrors().await, Err(closed));
    assert_eq!(ids(&fixture.bus).await, ["a"]);
}
