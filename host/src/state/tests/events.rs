//! What the outbox and the inbox promise.

use super::*;
use crate::event::Event;

pub(super) fn event(key: &str) -> Event {
    let text = format!(
        r#"{{"specversion":"1.0","id":"{key}","source":"/test","type":"test","data":{{"key":"{key}"}}}}"#
    );
    Event::from_json(text.as_bytes()).expect("an event")
}

async fn publish(store: &Arc<Store>, key: &str) {
    let mut transaction = store.begin();
    transaction.set("b", key, Bytes::from_static(b"1")).await.expect("room");
    transaction.publish(event(key)).expect("room");
    transaction.finish().await.expect("no conflict").durable().await.expect("a disk");
}

/// Everything that a test publishes.
const ALL: OutgoingLimit = OutgoingLimit { max_events: 1_000, max_bytes: usize::MAX };

pub(super) async fn published(store: &Arc<Store>, after: u64) -> Vec<(u64, String)> {
    let outgoing = store.outgoing(after, ALL).await.expect("a store");
    outgoing.into_iter().map(|each| (each.sequence, each.event.id.to_string())).collect()
}

pub(super) fn named(rows: &[(u64, &str)]) -> Vec<(u64, String)> {
    rows.iter().map(|(sequence, id)| (*sequence, (*id).to_owned())).collect()
}

pub(super) fn consumption(position: u64) -> Consumption {
    Consumption { subscription: Arc::from("s"), position, held: false }
}

/// A store with the subscription `s` that has scanned `positions`.
pub(super) async fn scanned(store: &Arc<Store>, positions: &[u64]) {
    let cursor = Cursor { subscription: "s".to_owned(), position: 0, until: None };
    store.begin_subscriptions(vec![cursor]).await.expect("a store");
    store.load_subscription(&Arc::from("s")).await.expect("a store").expect("a cursor");
    let upto = positions.last().copied().unwrap_or_default();
    assert_eq!(store.scan("s", upto, positions), positions);
}

async fn consume(store: &Arc<Store>, consumption: Consumption) -> Result<(), Error> {
    let mut transaction = store.begin();
    let key = consumption.position.to_string();
    transaction.set("effects", &key, Bytes::from_static(b"1")).await.expect("room");
    transaction.consume(consumption);
    transaction.finish().await?.durable().await
}

async fn has_effect(store: &Arc<Store>, position: u64) -> bool {
    store.begin().exists("effects", &position.to_string()).await.expect("a store")
}

pub(super) fn progress(store: &Arc<Store>) -> (u64, usize) {
    let progress = store.progress("s").expect("it is loaded");
    (progress.cursor, progress.outstanding)
}

#[tokio::test]
async fn what_is_published_is_in_the_outbox_when_it_is_committed_and_not_before() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    let mut transaction = store.begin();
    transaction.publish(event("undone")).expect("room");
    drop(transaction);
    publish(&store, "a").await;
    publish(&store, "b").await;
    assert_eq!(published(&store, 0).await, named(&[(1, "a"), (2, "b")]));
    assert_eq!(published(&store, 1).await, named(&[(2, "b")]));
    store.note_relayed(2);
    assert_eq!(published(&store, 2).await, []);
}

#[tokio::test]
async fn a_lease_holders_events_go_with_it_and_with_its_rollback() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    let leased = store.lease(false, None, |mut transaction| async move {
        transaction.publish(event("given up")).expect("room");
        transaction.rollback().await.expect("a store");
        transaction.publish(event("first")).expect("room");
        transaction.commit().await.expect("a store");
        transaction.publish(event("second")).expect("room");
        transaction.finish().await.expect("a store")
    });
    leased.await.expect("a lease").durable().await.expect("a disk");
    assert_eq!(published(&store, 0).await, named(&[(1, "first"), (2, "second")]));
}

#[tokio::test]
async fn sequences_are_never_used_twice_and_the_outbox_outlives_the_process() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    publish(&store, "a").await;
    store.note_relayed(1);
    // The next commit takes the relayed row out with it.
    publish(&store, "b").await;
    store.close().await;
    let again = Store::new(_folder.path().join("cart.db"), "cart", StoreOptions::default());
    let identity = again.identity().await.expect("a store");
    assert_eq!(identity.opened_at, 2);
    assert_eq!(published(&again, 0).await, named(&[(2, "b")]));
    again.note_relayed(2);
    publish(&again, "c").await;
    assert_eq!(published(&again, 2).await, named(&[(3, "c")]));
}

#[tokio::test]
async fn what_waits_for_the_bus_counts_after_a_restart_too() {
    let options = StoreOptions { max_outbox: 3, ..StoreOptions::default() };
    let Fixture { store, _folder } = fixture(options.clone());
    for id in ["a", "b", "c"] {
        publish(&store, id).await;
    }
    store.note_relayed(1);
    publish(&store, "d").await;
    store.close().await;
    let again = Store::new(_folder.path().join("cart.db"), "cart", options);
    again.identity().await.expect("a store");
    assert_eq!(again.outbox_len(), 3);
    assert!(matches!(again.begin().publish(event("e")), Err(Error::OutboxFull)));
    again.note_relayed(2);
    assert_eq!(again.outbox_len(), 2);
    publish(&again, "e").await;
    again.note_relayed(5);
    assert_eq!(again.outbox_len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_waits_for_a_store_but_not_for_ever() {
    let valve = Valve::default();
    let patience = Duration::from_millis(500);
    let Fixture { store, _folder } =
        fixture(StoreOptions { host_patience: patience, ..valve.options() });
    publish(&store, "a").await;
    valve.set(true);
    let stuck = tokio::spawn({
        let store = Arc::clone(&store);
        async move { publish(&store, "b").await }
    });
    valve.until_someone_waits().await;
    let cursor = |name: &str| Cursor { subscription: name.to_owned(), position: 0, until: None };
    let late = store.begin_subscriptions(vec![cursor("late")]).await;
    let late = late.expect_err("nothing can be written").to_string();
    assert!(late.contains("the store of cart did not get to"), "{late}");
    assert!(late.contains("its writer commits"), "{late}");
    assert!(store.try_close().await.is_err(), "it is in use");
    assert!(store.cursors().await.expect("what is there can be read").is_empty());
    assert_eq!(store.late_count(), 2);
    valve.set(false);
    stuck.await.expect("no panic");
    store.begin_subscriptions(vec![cursor("good")]).await.expect("a store");
    // What nobody waited for any more was not begun.
    assert_eq!(store.cursors().await.expect("a store"), [cursor("good")]);
    store.try_close().await.expect("it is free");
    assert!(!store.is_open());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_waits_for_a_store_than_may() {
    let valve = Valve::default();
    let Fixture { store, _folder } = fixture(StoreOptions {
        host_patience: Duration::from_millis(20),
        max_queued: 4,
        ..valve.options()
    });
    valve.set(true);
    let stuck = tokio::spawn({
        let store = Arc::clone(&store);
        async move { publish(&store, "a").await }
    });
    valve.until_someone_waits().await;
    let cursor = Cursor { subscription: "s".to_owned(), position: 0, until: None };
    let mut refused = String::new();
    for _ in 0..5 {
        let late = store.begin_subscriptions(vec![cursor.clone()]).await;
        refused = late.expect_err("it stands still").to_string();
    }
    assert!(refused.contains("as much waits for the store of cart as may (4)"), "{refused}");
    valve.set(false);
    stuck.await.expect("no panic");
    eventually(|| store.in_the_way() == "nothing uses it").await;
    publish(&store, "b").await;
}

#[tokio::test]
async fn a_restored_store_gets_another_identity_and_keeps_what_is_new() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    publish(&store, "a").await;
    store.close().await;
    let again = Store::new(_folder.path().join("cart.db"), "cart", StoreOptions::default());
    let before = again.identity().await.expect("a store");
    publish(&again, "b").await;
    let after = again.renew_identity(before.opened_at).await.expect("a store");
    assert_ne!(before.store_id, after.store_id);
    assert_eq!(again.identity().await.expect("a store"), after);
    assert_eq!(published(&again, after.opened_at).await, named(&[(2, "b")]));
    again.note_relayed(2);
}

#[tokio::test]
async fn while_the_bus_is_far_behind_nothing_more_is_published() {
    let Fixture { store, _folder } =
        fixture(StoreOptions { max_outbox: 2, ..StoreOptions::default() });
    publish(&store, "a").await;
    publish(&store, "b").await;
    assert!(matches!(store.begin().publish(event("c")), Err(Error::OutboxFull)));
    store.note_relayed(1);
    assert!(store.begin().publish(event("c")).is_ok());
}

#[tokio::test]
async fn what_is_taken_out_at_once_and_kept_in_memory_is_bounded_by_bytes() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    for number in 0..40 {
        let mut large = event(&number.to_string());
        large.data = Some(Bytes::from(vec![b'x'; 1_000_000]));
        let mut transaction = store.begin();
        transaction.publish(large).expect("room");
        transaction.finish().await.expect("no conflict").durable().await.expect("a disk");
    }
    let (events, bytes) = store.core.outbox.in_memory();
    assert!(events > 10 && bytes <= 16 << 20, "{events} events with {bytes} bytes");
    let limit = OutgoingLimit { max_events: 512, max_bytes: 4 << 20 };
    // From the file, and from memory.
    for after in [0, 30] {
        let outgoing = store.outgoing(after, limit).await.expect("a store");
        let sequences: Vec<u64> = outgoing.iter().map(|each| each.sequence).collect();
        let first = after + 1;
        assert!(sequences.len() >= 3, "{sequences:?}");
        assert_eq!(sequences, (first..first + sequences.len() as u64).collect::<Vec<_>>());
        let bytes: usize = outgoing.iter().map(|each| each.event.size()).sum();
        assert!(bytes <= 4 << 20, "{bytes}");
        let least = OutgoingLimit { max_bytes: 1, ..limit };
        assert_eq!(store.outgoing(after, least).await.expect("a store").len(), 1, "one at least");
    }
    store.note_relayed(40);
    assert_eq!(store.core.outbox.in_memory(), (0, 0));
}

#[tokio::test]
async fn an_effect_is_there_once_however_often_its_event_comes() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    scanned(&store, &[3, 5, 9]).await;
    consume(&store, consumption(5)).await.expect("the first time");
    assert!(matches!(consume(&store, consumption(5)).await, Err(Error::Consumed)));
    let unknown = consume(&store, consumption(4)).await;
    assert!(matches!(unknown, Err(Error::Consumed)), "it was never scanned");
    assert!(!has_effect(&store, 4).await);
    assert_eq!(progress(&store), (2, 2), "up to the first that is not finished");
    consume(&store, consumption(3)).await.expect("the first time");
    assert_eq!(progress(&store), (8, 1));
    consume(&store, consumption(9)).await.expect("the first time");
    assert_eq!(progress(&store), (9, 0));
}

#[tokio::test]
async fn a_leased_run_that_comes_too_late_leaves_nothing_behind() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    scanned(&store, &[1]).await;
    consume(&store, consumption(1)).await.expect("the first time");
    let leased = store.lease(false, None, |mut transaction| async move {
        transaction.set("effects", "late", Bytes::from_static(b"1")).await.expect("room");
        transaction.publish(event("late")).expect("room");
        transaction.consume(consumption(1));
        transaction.finish().await.map(drop)
    });
    assert!(matches!(leased.await.expect("a lease"), Err(Error::Consumed)));
    assert!(!store.begin().exists("effects", "late").await.expect("a store"));
    publish(&store, "next").await;
    assert_eq!(published(&store, 0).await, named(&[(1, "next")]));
}

#[tokio::test]
async fn what_finished_ahead_of_the_cursor_is_known_after_a_restart() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    scanned(&store, &[1, 2, 3, 4]).await;
    for position in [2, 4] {
        consume(&store, consumption(position)).await.expect("the first time");
    }
    store.close().await;
    let again = Store::new(_folder.path().join("cart.db"), "cart", StoreOptions::default());
    let name = Arc::from("s");
    let progress = again.load_subscription(&name).await.expect("a store").expect("a cursor");
    assert_eq!((progress.cursor, progress.scanned), (0, 0));
    assert_eq!(again.scan("s", 4, &[1, 2, 3, 4]), [1, 3]);
    consume(&again, consumption(1)).await.expect("the first time");
    consume(&again, consumption(3)).await.expect("the first time");
    assert_eq!(self::progress(&again), (4, 0));
}

#[tokio::test]
async fn a_store_tells_the_last_position_that_it_knows() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    assert_eq!(store.last_position().await.expect("a store"), 0);
    scanned(&store, &[1, 2, 7]).await;
    assert_eq!(store.last_position().await.expect("a store"), 0, "nothing of it is finished");
    consume(&store, consumption(2)).await.expect("the first time");
    assert_eq!(store.last_position().await.expect("a store"), 2, "done ahead of the cursor");
    consume(&store, consumption(7)).await.expect("the first time");
    assert_eq!(store.last_position().await.expect("a store"), 7);
    store.close().await;
    assert_eq!(last_position(_folder.path()), 7);
    let replay = Cursor { subscription: "s@1".to_owned(), position: 1, until: Some(9) };
    store.begin_subscriptions(vec![replay]).await.expect("a store");
    assert_eq!(store.last_position().await.expect("a store"), 9, "a replay ends there");
}

#[tokio::test]
async fn a_held_event_is_finished_once_and_a_buried_one_can_come_back() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    scanned(&store, &[1, 2]).await;
    let key: Arc<str> = Arc::from("k");
    let hold = |position| Settlement::Hold {
        consumption: consumption(position),
        key: Arc::clone(&key),
        event: Arc::new(event("held")),
        attempts: 1,
        due: Due::At(7),
        reason: "not now".to_owned(),
    };
    let settle = async |settlements| {
        let settled = store.settle(settlements).await.expect("a store");
        settled.durable().await.expect("a disk");
    };
    settle(vec![hold(1), hold(2), hold(1)]).await;
    assert_eq!(progress(&store), (2, 0), "the cursor passes what is held");
    let name: Arc<str> = Arc::from("s");
    let held = store.held(&name, 0, 10).await.expect("a store");
    let entry = HeldEntry {
        position: 1,
        key: "k".to_owned(),
        attempts: 1,
        due: Due::At(7),
        reason: "not now".to_owned(),
        origin: "outside".to_owned(),
        bytes: event("held").to_json().len(),
    };
    assert_eq!((held.len(), &held[0]), (2, &entry));

    let again = Consumption { held: true, ..consumption(1) };
    consume(&store, again.clone()).await.expect("the first time");
    assert!(matches!(consume(&store, again).await, Err(Error::Consumed)));

    settle(vec![Settlement::Bury {
        consumption: Consumption { held: true, ..consumption(2) },
        key: Arc::clone(&key),
        event: Arc::new(event("held")),
        attempts: 8,
        reason: "never".to_owned(),
        kept: Arc::default(),
    }])
    .await;
    assert_eq!(store.held(&name, 0, 10).await.expect("a store"), []);
    let dead = store.dead_letters(None, 0, 10).await.expect("a store");
    assert!(!dead.more);
    let id = dead.letters[0].id;
    let dead = store.dead_letter(id).await.expect("a store").expect("it is there");
    assert_eq!((dead.position, dead.attempts), (2, 8));
    let revived = store.retry_dead(id, &name, None).await.expect("a store");
    assert_eq!(
        revived,
        Revival::Revived { key: "k".to_owned(), position: 2, origin: "outside".to_owned() }
    );
    assert_eq!(store.dead_count(&name).await.expect("a store"), 0);
    assert!(store.held_event(&name, 2).await.expect("a store").is_some());
    assert_eq!(store.retry_dead(id, &name, None).await.expect("a store"), Revival::Gone);
}

#[tokio::test]
async fn a_lease_that_ends_too_late_has_its_event_and_its_effect_or_neither() {
    // From too short for anything to long enough for all of it.
    for milliseconds in 1..=24 {
        let lease_timeout = Duration::from_millis(milliseconds);
        let options = StoreOptions { lease_timeout, ..StoreOptions::default() };
        let Fixture { store, _folder } = fixture(options);
        scanned(&store, &[1]).await;
        let leased = store.lease(true, None, |mut transaction| async move {
            transaction.set("effects", "1", Bytes::from_static(b"1")).await?;
            for number in 0..500 {
                transaction.publish(event(&number.to_string()))?;
            }
            transaction.consume(consumption(1));
            transaction.finish().await
        });
        let committed = match leased.await.and_then(|ended| ended) {
            Ok(committed) => committed.durable().await.is_ok(),
            Err(_) => false,
        };
        assert_eq!(has_effect(&store, 1).await, committed, "within {lease_timeout:?}");
        let outgoing = store.outgoing(0, ALL).await.expect("a store");
        assert_eq!(outgoing.len(), if committed { 500 } else { 0 }, "within {lease_timeout:?}");
        let again = consume(&store, consumption(1)).await;
        assert_eq!(again.is_err(), committed, "within {lease_timeout:?}: {again:?}");
    }
}

#[tokio::test]
async fn an_event_is_not_published_under_a_sequence_that_was_given_out_before() {
    let Fixture { store, _folder } = fixture(StoreOptions::default());
    for key in ["a", "b", "c"] {
        publish(&store, key).await;
    }
    store.note_relayed(3);
    // As somebody's hand in the file would.
    let back = |writer: &mut writer::Writer| {
        let sql = "UPDATE sqlite_sequence SET seq = 0 WHERE name = '_outbox'";
        writer.connection.execute(sql, ())?;
        writer.connection.execute("DELETE FROM _outbox", ()).map(drop)
    };
    store.host_member(back).await.expect("done").0.durable().await.expect("durable");
    let mut transaction = store.begin();
    transaction.set("b", "d", Bytes::new()).await.expect("room");
    transaction.publish(event("d")).expect("room");
    let refused = match transaction.finish().await {
        Ok(committed) => committed.durable().await,
        Err(error) => Err(error),
    };
    let Err(Error::Unavailable(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("gives out sequence 1, and has given out 3 before"), "{reason}");
    assert!(!store.begin().exists("b", "d").await.expect("a read"), "nothing of it is there");
}

/// A dead letter of `bytes` of data by this source, at this position. Returns whether it is kept.
async fn bury(store: &Arc<Store>, source: &str, position: u64, bytes: usize) -> bool {
    let name: Arc<str> = Arc::from("s");
    assert_eq!(store.scan(&name, position, &[position]), [position]);
    let json = format!(
        r#"{{"specversion":"1.0","id":"{position}","source":"{source}","type":"t","data":"{}"}}"#,
        "x".repeat(bytes)
    );
    let kept = Arc::new(AtomicBool::new(true));
    let letter = Settlement::Bury {
        consumption: consumption(position),
        key: Arc::from("k"),
        event: Arc::new(Event::from_json(json.as_bytes()).expect("an event")),
        attempts: 1,
        reason: "rejected".to_owned(),
        kept: Arc::clone(&kept),
    };
    store.settle_durably(vec![letter]).await.expect("a store");
    kept.load(Ordering::Relaxed)
}

#[tokio::test]
async fn one_sources_dead_letters_leave_room_for_the_others() {
    let options = StoreOptions { max_dead_bytes: 10_000, ..StoreOptions::default() };
    let Fixture { store, _folder } = fixture(options.clone());
    scanned(&store, &[]).await;
    let mut position = 0;
    let mut kept = 0;
    loop {
        position += 1;
        if !bury(&store, "/services/evil", position, 2_000).await {
            break;
        }
        kept += 1;
    }
    let letters = store.dead_letters(None, 0, 1_000).await.expect("a store").letters;
    let whole = letters.iter().filter(|letter| !letter.without_data).count();
    assert_eq!((letters.len(), whole), (kept, 4), "then heads, and then nothing");
    let head = Event::from_json(&letters[4].event).expect("an event");
    assert_eq!((head.id.as_str(), &head.data, &*letters[4].key), ("5", &None, "k"));
    assert_eq!(letters[4].reason, "rejected");
    let all: usize = letters.iter().map(|letter| letter.event.len()).sum();
    assert!(all < 20_000, "{all}");
    assert_eq!(store.dead_letters_cut(), (kept as u64 - 4, 1));

    assert!(bury(&store, "/services/cart", position + 1, 2_000).await, "another has room");
    let last = store.dead_letters(None, letters.last().expect("one").id, 10).await;
    assert!(!last.expect("a store").letters[0].without_data);

    // What is taken out makes room, also for the next host.
    for letter in &letters {
        assert!(store.drop_dead(letter.id).await.expect("a store"));
    }
    store.close().await;
    let again = Store::new(_folder.path().join("cart.db"), "cart", options);
    again.load_subscription(&Arc::from("s")).await.expect("a store").expect("a cursor");
    for number in 2..=6 {
        assert!(bury(&again, "/services/evil", position + number, 2_000).await);
    }
    let letters = again.dead_letters(None, 0, 1_000).await.expect("a store").letters;
    let whole = letters.iter().filter(|letter| !letter.without_data).count();
    assert_eq!((letters.len(), whole), (6, 5), "of cart one, of evil four and a head");
}
