use super::*;

const LATER: u64 = 1 << 42;

/// What reads and figures say of the log.
async fn extent(bus: &Bus) -> (Position, Position, u64) {
    let health = bus.health();
    assert_eq!(health.events, ids(bus).await.len() as u64);
    (health.first, health.last, health.events)
}

/// A log of the positions 1 to 5, of which somebody knows up to 10.
async fn older_copy() -> Fixture {
    let Fixture { bus, folder } = Fixture::new(BusOptions::default());
    append(&bus, 0..5).await;
    bus.close().await;
    let (file, copy) = (folder.path().join("bus.db"), folder.path().join("copy"));
    std::fs::copy(&file, &copy).expect("a copy");
    let bus = open(&folder, BusOptions::default());
    append(&bus, 5..10).await;
    assert_eq!(bus.last(), 10);
    bus.close().await;
    std::fs::copy(&copy, &file).expect("a copy");
    let fixture = Fixture { bus: open(&folder, BusOptions::default()), folder };
    assert_eq!(extent(&fixture.bus).await, (1, 5, 5));
    fixture
}

#[tokio::test]
async fn an_older_copy_gives_no_position_out_again() {
    let fixture = older_copy().await;
    assert_eq!(fixture.bus.skip_to(10).await, Ok(true));
    assert_eq!(fixture.bus.skip_to(10).await, Ok(false), "nothing is left to do");
    assert_eq!(extent(&fixture.bus).await, (1, 10, 5));
    append(&fixture.bus, ["new"]).await;
    has_all_but_what_it_lacks(&fixture.bus).await;
    let fixture = fixture.reopened(BusOptions::default()).await;
    has_all_but_what_it_lacks(&fixture.bus).await;
}

async fn has_all_but_what_it_lacks(bus: &Bus) {
    assert_eq!(extent(bus).await, (1, 11, 6));
    assert_eq!(ids(bus).await, ["0", "1", "2", "3", "4", "new"]);
    for after in 5..=10 {
        let batch = bus.read(after, ALL).await.expect("a read");
        assert_eq!((batch.events[0].position, batch.upto), (11, 11), "after {after}");
    }
}

#[tokio::test]
async fn whoever_reads_up_to_what_is_lacking_gets_past_it() {
    let Fixture { bus, folder: _folder } = older_copy().await;
    let mut grown = bus.grown();
    grown.mark_unchanged();
    bus.skip_to(10).await.expect("written");
    assert!(grown.has_changed().expect("it is open"), "a reader at the end reads on");
    for after in 5..10 {
        let batch = bus.read(after, ALL).await.expect("a read");
        assert_eq!((batch.events.len(), batch.upto), (0, 10), "after {after}");
    }
    let one = ReadLimit { max_events: 1, max_bytes: usize::MAX };
    let batch = bus.read(3, one).await.expect("a read");
    assert_eq!((batch.events.len(), batch.upto), (1, 4), "what it has comes first");
}

#[tokio::test]
async fn what_is_lacking_is_trimmed_with_what_is_before_it() {
    let fixture = older_copy().await;
    fixture.bus.skip_to(10).await.expect("written");
    append(&fixture.bus, ["new", "newer"]).await;
    let cursor = Mirror { subscription: "cart/all".to_owned(), position: 7, active: true };
    fixture.bus.mirror(vec![cursor]).await.expect("written");
    assert_eq!(fixture.bus.trim(LATER).await.expect("a trim").events, 5);
    let fixture = fixture.reopened(BusOptions::default()).await;
    assert_eq!(extent(&fixture.bus).await, (11, 12, 2));
    fixture.bus.forget("cart/all").await.expect("written");
    assert_eq!(fixture.bus.trim(LATER).await.expect("a trim").events, 2);
    assert_eq!(extent(&fixture.bus).await, (13, 12, 0));
}

#[tokio::test]
async fn a_new_log_begins_after_what_is_known() {
    let fixture = Fixture::new(BusOptions::default());
    assert_eq!(fixture.bus.skip_to(0).await, Ok(false));
    assert_eq!(fixture.bus.skip_to(7).await, Ok(true));
    assert_eq!(extent(&fixture.bus).await, (8, 7, 0));
    let fixture = fixture.reopened(BusOptions::default()).await;
    append(&fixture.bus, ["a"]).await;
    assert_eq!(extent(&fixture.bus).await, (8, 8, 1));
}
