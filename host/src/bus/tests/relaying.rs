use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[tokio::test]
async fn a_sequence_that_is_not_above_those_before_it_is_refused_and_never_skipped() {
    let fixture = Fixture::new(BusOptions::default());
    let bus = &fixture.bus;
    assert_eq!(bus.relayed("one").await, Ok(0));
    assert_eq!(bus.relay("cart", "one", outgoing(1..=10)).await, Ok(10));
    let refused = |sequence, last| Err(BusError::NotAbove { sequence, last });
    assert_eq!(bus.relay("cart", "one", outgoing(1..=10)).await, refused(1, 10));
    let fixture = fixture.reopened(BusOptions::default()).await;
    let bus = &fixture.bus;
    assert_eq!(bus.relayed("one").await, Ok(10));
    assert_eq!(bus.relay("cart", "one", outgoing(10..=15)).await, refused(10, 10));
    assert_eq!(bus.relay("cart", "one", outgoing([11, 13, 12])).await, refused(12, 13));
    assert_eq!(bus.relay("cart", "one", outgoing([11, 11])).await, refused(11, 11));
    assert_eq!(bus.relayed("one").await, Ok(10), "nothing of those is there");
    assert_eq!(bus.relay("cart", "one", outgoing(11..=15)).await, Ok(15));
    assert_eq!(bus.relay("cart", "one", Vec::new()).await, Ok(15));
    let expected: Vec<_> = (1..=15).map(|sequence| format!("o{sequence}")).collect();
    assert_eq!(ids(bus).await, expected);
}

#[tokio::test]
async fn each_store_has_its_own_sequence() {
    let Fixture { bus, folder: _folder } = Fixture::new(BusOptions::default());
    // Numbers that a rolled-back transaction took are never seen.
    assert_eq!(bus.relay("cart", "two", outgoing([2, 5])).await, Ok(5));
    assert_eq!(bus.relay("cart", "one", outgoing([1, 3])).await, Ok(3));
    assert_eq!(bus.relay("cart", "two", outgoing([6])).await, Ok(6));
    assert_eq!(bus.relay("cart", "one", outgoing([4, 7])).await, Ok(7));
    assert_eq!(ids(&bus).await, ["o2", "o5", "o1", "o3", "o6", "o4", "o7"]);
    assert_eq!((bus.relayed("one").await, bus.relayed("two").await), (Ok(7), Ok(6)));
}

#[tokio::test]
async fn a_relayed_event_says_where_in_the_outbox_it_was() {
    let Fixture { bus, folder: _folder } = Fixture::new(BusOptions::default());
    let entries = outgoing([42]);
    let published = Arc::clone(&entries[0].event);
    bus.relay("cart", "one", entries).await.expect("room");
    let read = bus.read(0, ALL).await.expect("a read");
    let sequence = Value::Text("00000000000000000042".into());
    assert_eq!(read.events[0].event.extensions.get(SEQUENCE), Some(&sequence));
    assert!(!published.extensions.contains_key(SEQUENCE), "others' copy is left alone");
}

#[tokio::test]
async fn after_a_crash_before_the_commit_the_whole_outbox_is_relayed_once() {
    let crash = Arc::new(AtomicBool::new(false));
    let crashing = Arc::clone(&crash);
    let before_commit: BeforeCommit =
        Arc::new(move || assert!(!crashing.load(Ordering::SeqCst), "the host crashes"));
    let options = BusOptions { before_commit: Some(before_commit), ..BusOptions::default() };
    let fixture = Fixture::new(options);
    fixture.bus.relay("cart", "one", outgoing(1..=3)).await.expect("room");
    crash.store(true, Ordering::SeqCst);
    let lost = fixture.bus.relay("cart", "one", outgoing(4..=6)).await;
    assert!(matches!(lost, Err(BusError::Failed(_))), "{lost:?}");
    assert_eq!(fixture.bus.last(), 3, "what is not durable is not shown");

    let Fixture { bus, folder: _folder } = fixture.reopened(BusOptions::default()).await;
    assert_eq!(bus.relayed("one").await, Ok(3));
    assert_eq!(bus.relay("cart", "one", outgoing(4..=8)).await, Ok(8));
    let expected: Vec<_> = (1..=8).map(|sequence| format!("o{sequence}")).collect();
    assert_eq!(ids(&bus).await, expected);
    assert_eq!(bus.last(), 8);
}
