//! From an outbox to a bus that has hardly any room.

use tempfile::TempDir;

use super::*;
use crate::bus::{BusOptions, ReadLimit};
use crate::event::Event;
use crate::state::StoreOptions;

/// Everything that a test has.
const ALL: ReadLimit = ReadLimit { max_events: usize::MAX, max_bytes: usize::MAX };

fn open_bus(folder: &TempDir, max_bytes: u64) -> Bus {
    let options = BusOptions { max_bytes, ..BusOptions::default() };
    Bus::open(&folder.path().join("bus.db"), options).expect("a bus")
}

/// A store whose outbox has so many events of this size.
async fn published(folder: &TempDir, events: usize, bytes: usize) -> Arc<Store> {
    let store = Store::new(folder.path().join("cart.db"), "cart", StoreOptions::default());
    for number in 0..events {
        let json = format!(
            r#"{{"specversion":"1.0","id":"{number}","source":"/test","type":"test","data":"{}"}}"#,
            "x".repeat(bytes)
        );
        let mut transaction = store.begin();
        let event = Event::from_json(json.as_bytes()).expect("an event");
        transaction.publish(event).expect("room");
        transaction.finish().await.expect("no conflict").durable().await.expect("a disk");
    }
    store
}

async fn ids(bus: &Bus) -> Vec<usize> {
    let events = bus.read(0, ALL).await.expect("a read").events;
    events.iter().map(|each| each.event.id.parse().expect("a number")).collect()
}

#[tokio::test]
async fn a_bus_without_room_for_all_of_them_gets_as_many_as_fit() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = published(&folder, 100, 1_000).await;
    let bus = open_bus(&folder, 64 << 10);
    let mut source = None;
    let refused = relay(&bus, &store, &mut source).await;
    assert!(matches!(refused, Err(RelayError::Bus(BusError::ShareFull(_)))), "{refused:?}");
    let there = ids(&bus).await;
    assert_eq!(there, (0..there.len()).collect::<Vec<_>>(), "in their order");
    let bytes = bus.health().bytes;
    let each = bytes / there.len() as u64;
    // The last quarter is for others.
    assert!(bytes + each > 48 << 10, "no other would fit: {bytes} of {} events", there.len());
    assert_eq!(source.as_ref().map(|source| source.most), Some(1), "the next try is a small one");

    // As once there is room again.
    bus.close().await;
    let bus = open_bus(&folder, 1 << 20);
    relay(&bus, &store, &mut source).await.expect("room");
    assert_eq!(ids(&bus).await, (0..100).collect::<Vec<_>>(), "each once");
    assert_eq!(store.outbox_len(), 0);
}

/// Has the store publish one more event, with this id.
async fn publish(store: &Arc<Store>, id: usize) {
    let json = format!(r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"test"}}"#);
    let mut transaction = store.begin();
    transaction.publish(Event::from_json(json.as_bytes()).expect("an event")).expect("room");
    transaction.finish().await.expect("no conflict").durable().await.expect("a disk");
}

#[tokio::test]
async fn an_outbox_that_gives_out_a_sequence_again_is_not_relayed_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = published(&folder, 2, 10).await;
    let bus = open_bus(&folder, 1 << 20);
    let (mut source, mut copied_source) = (None, None);
    relay(&bus, &store, &mut source).await.expect("room");
    store.close().await;
    let copy = folder.path().join("copy.db");
    let file = rusqlite::Connection::open(folder.path().join("cart.db")).expect("opened");
    file.execute("VACUUM INTO ?1", [copy.to_str()]).expect("copied");
    drop(file);
    let copied = Store::new(copy.clone(), "copy", StoreOptions::default());
    relay(&bus, &copied, &mut copied_source).await.expect("nothing to do");
    publish(&store, 2).await;
    relay(&bus, &store, &mut source).await.expect("room");

    // The same identity, and the same sequence, for another event.
    publish(&copied, 3).await;
    let refused = relay(&bus, &copied, &mut copied_source).await;
    let same = BusError::NotAbove { sequence: 3, last: 3 };
    assert!(matches!(&refused, Err(RelayError::Bus(error)) if *error == same), "{refused:?}");
    let stop = CancellationToken::new();
    let mut relaying = Box::pin(until_relayed(&bus, &copied, &mut copied_source, &stop));
    // Until it has written down that it stopped.
    let stopped = async {
        while copied.identity().await.expect("a store").stopped_at != Some(2) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut relaying => panic!("it waits for the operator"),
        () = stopped => {}
    }
    // Commits go on, and take nothing out.
    publish(&copied, 4).await;
    stop.cancel();
    assert!(!relaying.await, "it was not relayed");
    assert_eq!(ids(&bus).await, [0, 1, 2]);

    copied.close().await;
    let restarted = Store::new(copy, "copy", StoreOptions::default());
    let mut source = None;
    relay(&bus, &restarted, &mut source).await.expect("room");
    publish(&restarted, 5).await;
    relay(&bus, &restarted, &mut source).await.expect("room");
    assert_eq!(ids(&bus).await, [0, 1, 2, 3, 4, 5], "each once");
}
