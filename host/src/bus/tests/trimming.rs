use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// This much from now, in ms since 1970.
fn after(duration: Duration) -> u64 {
    crate::clock::now_ms() + duration.as_millis() as u64
}

fn mirror(position: Position, active: bool) -> Vec<Mirror> {
    vec![Mirror { subscription: "cart/all".to_owned(), position, active }]
}

async fn trim(bus: &Bus, now: u64) -> u64 {
    let trimmed = bus.trim(now).await.expect("a trim").events;
    let health = bus.health();
    let read = bus.read(0, ALL).await.expect("a read");
    assert_eq!(
        (health.events, bus.first()),
        (read.events.len() as u64, bus.last() + 1 - health.events)
    );
    let bytes: usize = read.events.iter().map(|recorded| recorded.bytes).sum();
    assert_eq!(health.bytes, bytes as u64);
    trimmed
}

#[tokio::test]
async fn an_event_stays_for_as_long_as_it_is_retained() {
    let Fixture { bus, folder: _folder } = Fixture::new(BusOptions::default());
    append(&bus, 0..10).await;
    assert_eq!(trim(&bus, after(23 * HOUR)).await, 0);
    assert_eq!(trim(&bus, after(25 * HOUR)).await, 10);
    assert_eq!(trim(&bus, after(25 * HOUR)).await, 0);
}

#[tokio::test]
async fn an_active_subscription_holds_what_it_is_not_past() {
    let fixture = Fixture::new(BusOptions::default());
    append(&fixture.bus, 0..10).await;
    fixture.bus.mirror(mirror(4, true)).await.expect("written");
    assert_eq!(trim(&fixture.bus, after(365 * DAY)).await, 4);
    let Fixture { bus, folder: _folder } = fixture.reopened(BusOptions::default()).await;
    assert_eq!(bus.first(), 5);
    assert_eq!(trim(&bus, after(365 * DAY)).await, 0);
    bus.mirror(mirror(7, true)).await.expect("written");
    assert_eq!(trim(&bus, after(365 * DAY)).await, 3);
    bus.forget("cart/all").await.expect("written");
    assert_eq!(trim(&bus, after(365 * DAY)).await, 3);
}

#[tokio::test]
async fn the_slowest_of_several_counts() {
    let Fixture { bus, folder: _folder } = Fixture::new(BusOptions::default());
    append(&bus, 0..10).await;
    let other = Mirror { subscription: "order/all".to_owned(), position: 9, active: true };
    let both: Vec<_> = mirror(2, true).into_iter().chain([other]).collect();
    bus.mirror(both).await.expect("written");
    assert_eq!(trim(&bus, after(2 * DAY)).await, 2);
}

#[tokio::test]
async fn a_service_that_is_gone_holds_for_some_time() {
    let Fixture { bus, folder: _folder } = Fixture::new(BusOptions::default());
    append(&bus, 0..10).await;
    bus.mirror(mirror(3, true)).await.expect("written");
    let [active] = &bus.mirrors().await.expect("a read")[..] else { panic!("one row") };
    eventually(|| crate::clock::now_ms() > active.changed_at).await;
    bus.mirror(mirror(3, false)).await.expect("written");
    let [gone] = &bus.mirrors().await.expect("a read")[..] else { panic!("one row") };
    assert!(gone.changed_at > active.changed_at && !gone.active);
    // Copied again, it is gone since when it was.
    bus.mirror(mirror(3, false)).await.expect("written");
    assert_eq!(&bus.mirrors().await.expect("a read")[0], gone);

    assert_eq!(trim(&bus, after(6 * DAY)).await, 3);
    assert_eq!(trim(&bus, after(8 * DAY)).await, 7);
    assert_eq!(bus.mirrors().await.expect("a read").len(), 1, "its gap is seen");
}

#[tokio::test]
async fn the_operators_bound_passes_cursors_and_the_gap_is_seen() {
    let options = BusOptions { retain_at_most: Some(3 * DAY), ..BusOptions::default() };
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    append(&bus, 0..10).await;
    bus.mirror(mirror(4, true)).await.expect("written");
    assert_eq!(trim(&bus, after(2 * DAY)).await, 4);
    assert_eq!(trim(&bus, after(4 * DAY)).await, 6);
    let cursor = &bus.mirrors().await.expect("a read")[0];
    assert!(cursor.position + 1 < bus.first(), "{cursor:?}");
    append(&bus, ["new"]).await;
    let read = bus.read(cursor.position, ALL).await.expect("a read");
    assert_eq!(read.events[0].position, bus.first(), "reading goes on after the gap");
}

#[tokio::test]
async fn more_than_a_batch_is_trimmed_at_once() {
    let fixture = Fixture::new(BusOptions::default());
    append(&fixture.bus, 0..5_001).await;
    assert_eq!(trim(&fixture.bus, after(2 * DAY)).await, 5_001);
    append(&fixture.bus, ["a"]).await;
    let before = fixture.bus.health();
    let Fixture { bus, folder: _folder } = fixture.reopened(BusOptions::default()).await;
    assert_eq!(bus.health(), before);
}

#[tokio::test]
async fn events_of_a_clock_that_was_ahead_are_as_old_as_what_follows() {
    let Fixture { bus, folder } = Fixture::new(BusOptions::default());
    append(&bus, 0..10).await;
    bus.close().await;
    let file = Connection::open(folder.path().join("bus.db")).expect("a file");
    let ahead = "UPDATE event SET recorded_at = recorded_at * 2 WHERE position IN (1, 2, 5, 10)";
    file.execute(ahead, []).expect("written");
    drop(file);
    let bus = open(&folder, BusOptions::default());
    assert_eq!(trim(&bus, after(2 * DAY)).await, 9, "nothing follows the last");
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_trims_nothing_and_one_set_back_holds_nothing_for_days() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
    const START: u64 = 20_000 * DAY_MS;
    let clock = Clock::manual(START);
    let retain_at_most = Some(Duration::from_secs(3 * 24 * 60 * 60));
    let options = BusOptions { clock: clock.clone(), retain_at_most, ..BusOptions::default() };
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    assert_eq!(bus.clock().steady_ms(), START);
    append(&bus, [1, 2]).await;
    clock.set(START + 100 * DAY_MS);
    assert_eq!(bus.trim(bus.clock().steady_ms()).await.expect("a trim").events, 0);
    // Believed after a while: what goes by then stays gone, and what is noted is ahead.
    clock.advance(HOUR);
    let mirror = |active| Mirror { subscription: "cart/all".to_owned(), position: 0, active };
    bus.mirror(vec![mirror(true)]).await.expect("written");
    bus.mirror(vec![mirror(false)]).await.expect("written");
    clock.set(START + 2_000);
    assert_eq!(bus.trim(bus.clock().steady_ms()).await.expect("a trim").events, 0);
    let changed_at = bus.mirrors().await.expect("read")[0].changed_at;
    assert_eq!(changed_at, START + 2_000, "the service is gone since now, not since later");
}
