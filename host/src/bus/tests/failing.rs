use std::process::Command;

use super::*;

const LATER: u64 = 1 << 42;

#[tokio::test]
async fn a_full_bus_refuses_and_takes_all_once_it_is_trimmed() {
    let options = BusOptions { max_bytes: 10_000, ..BusOptions::default() };
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    let mut accepted = 0;
    let refused = loop {
        match bus.append(Sender::Operator, events([accepted])).await {
            Ok(_) => accepted += 1,
            Err(refused) => break refused,
        }
    };
    let BusError::ShareFull(reason) = refused else { panic!("{refused}") };
    assert!(reason.contains("[events] max-bytes)"), "{reason}");
    assert!(bus.health().full && bus.health().bytes <= 10_000);
    let relayed = bus.relay("cart", "one", outgoing(1..=50)).await;
    assert!(matches!(relayed, Err(BusError::Full(_))), "{relayed:?}");
    // What is here takes no room.
    let repeated = bus.append(Sender::Operator, events([0, 1])).await;
    assert_eq!(repeated, Ok(Appended { accepted: 0, repeats: vec![0, 1] }));
    assert_eq!(bus.last(), accepted);
    let cursor = Mirror { subscription: "cart/all".to_owned(), position: accepted, active: true };
    bus.mirror(vec![cursor]).await.expect("a full bus goes on otherwise");

    assert_eq!(bus.trim(LATER).await.expect("a trim").events, accepted);
    assert!(!bus.health().full);
    append(&bus, [accepted]).await;
    assert_eq!(bus.relay("cart", "one", outgoing(1..=5)).await, Ok(5), "nothing was taken before");
    assert_eq!(bus.last(), accepted + 6);
}

#[tokio::test]
async fn a_full_disk_refuses_and_takes_all_once_there_is_room() {
    let options = BusOptions { max_pages: 40, ..BusOptions::default() };
    let fixture = Fixture::new(options.clone());
    let bus = &fixture.bus;
    let mut accepted = 0;
    let refused = loop {
        match bus.relay("cart", "one", outgoing(accepted + 1..=accepted + 20)).await {
            Ok(last) => accepted = last,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, BusError::DiskFull);
    let refused = bus.append(Sender::Operator, events(0..100)).await;
    assert_eq!(refused, Err(BusError::DiskFull));
    assert!(bus.health().full && bus.health().failed.is_none());
    assert_eq!((bus.last(), bus.relayed("one").await), (accepted, Ok(accepted)));
    assert_eq!(ids(bus).await.len() as u64, accepted);

    let fixture = fixture.reopened(BusOptions::default()).await;
    append(&fixture.bus, 0..100).await;
    assert_eq!(
        fixture.bus.relay("cart", "one", outgoing(accepted + 1..=accepted + 20)).await,
        Ok(accepted + 20)
    );
    assert_eq!(fixture.bus.last(), accepted + 120);
    // Trimmed pages are room, too.
    let fixture = fixture.reopened(options).await;
    assert_eq!(fixture.bus.trim(LATER).await.expect("a trim").events, accepted + 120);
    append(&fixture.bus, 0..100).await;
}

#[tokio::test]
async fn a_bus_whose_file_failed_acknowledges_nothing_more() {
    let fixture = Fixture::new(BusOptions::default());
    append(&fixture.bus, 0..1_000).await;
    fixture.bus.close().await;
    let file = fixture.folder.path().join("bus.db");
    let options = BusOptions::default();
    let alarm = options.alarm.clone();
    let bus = open(&fixture.folder, options);
    append(&bus, ["before"]).await;
    // From outside the process: closing the file in here would end SQLite's locks.
    let broken = Command::new("dd")
        .args(["if=/dev/urandom", "bs=4096", "seek=12", "count=20", "conv=notrunc"])
        .arg(format!("of={}", file.display()))
        .output()
        .expect("dd runs");
    assert!(broken.status.success(), "{broken:?}");
    let read = bus.read(0, ALL).await;
    assert!(matches!(read, Err(BusError::Failed(_))), "{read:?}");
    for refused in [
        bus.append(Sender::Operator, events(["after"])).await.map(drop),
        bus.mirror(Vec::new()).await,
    ] {
        assert!(matches!(refused, Err(BusError::Failed(_))), "{refused:?}");
    }
    assert!(bus.health().failed.is_some());
    assert_eq!(bus.last(), 1_001);
    let reason = alarm.rung().await;
    assert!(reason.contains("bus.db failed"), "{reason}");
}

#[tokio::test]
async fn once_another_file_has_failed_the_bus_acknowledges_nothing_more() {
    let valve = Valve::default();
    let options = valve.options();
    let alarm = options.alarm.clone();
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    append(&bus, ["before"]).await;
    valve.set(true);
    let committing = tokio::spawn({
        let bus = bus.clone();
        async move { bus.append(Sender::Operator, events(["meanwhile"])).await }
    });
    valve.until_someone_waits().await;
    alarm.ring("a store failed".to_owned());
    valve.set(false);
    let failed = || BusError::Failed("a store failed".to_owned());
    assert_eq!(committing.await.expect("no panic"), Err(failed()));
    assert_eq!(bus.append(Sender::Operator, events(["after"])).await, Err(failed()));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_something_of_a_bus_that_stands_still_does_not_wait_for_ever() {
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let opened = Mutex::new(opened);
    // Each commit waits for a word, or for the end of the test.
    let before_commit = move || _ = opened.lock().expect("a lock").recv();
    let patience = Duration::from_millis(50);
    let options = BusOptions {
        patience,
        before_commit: Some(Arc::new(before_commit)),
        ..BusOptions::default()
    };
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    let late = bus.append(Sender::Operator, events([1])).await;
    assert!(
        matches!(&late, Err(BusError::Unavailable(reason)) if reason.contains("within 50ms")),
        "{late:?}"
    );
    assert_eq!(bus.health().late, 1);
    drop(open);
    let again = loop {
        match bus.append(Sender::Operator, events([1])).await {
            Ok(again) => break again,
            Err(BusError::Unavailable(_)) => {}
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(again.accepted + again.repeats.len(), 1, "once");
    assert_eq!(bus.last(), 1);
}
