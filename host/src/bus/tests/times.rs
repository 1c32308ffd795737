use super::*;

#[tokio::test]
async fn a_position_is_found_by_its_time() {
    let fixture = Fixture::new(BusOptions::default());
    append(&fixture.bus, 1..=9).await;
    assert_eq!(fixture.bus.position_at(u64::MAX >> 1).await, Ok(None));
    fixture.bus.close().await;
    let file = Connection::open(fixture.folder.path().join("bus.db")).expect("a file");
    file.execute("DELETE FROM event WHERE position <= 2", ()).expect("trimmed");
    // Two at each time: 4 and 5 at 40, 6 and 7 at 60, 8 and 9 at 80.
    file.execute("UPDATE event SET recorded_at = position / 2 * 20", ()).expect("times");
    drop(file);
    let bus = open(&fixture.folder, BusOptions::default());
    for (time, position) in [(0, 3), (20, 3), (21, 4), (40, 4), (41, 6), (80, 8)] {
        assert_eq!(bus.position_at(time).await, Ok(Some(position)), "{time}");
    }
    assert_eq!(bus.position_at(81).await, Ok(None));
}
