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
        let mut appending = Box::pin(bus.append(vec![event(id)]));
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
    let later = group::now() + 2 * 24 * HOUR.as_millis() as u64;
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
    assert_eq!(bus.append(events(["b"])).await, Err(closed.clone()));
    assert_eq!(bus.mirrors().await, Err(closed));
    assert_eq!(ids(&fixture.bus).await, ["a"]);
}
