use super::*;

#[tokio::test]
async fn a_tick_is_appended_once() {
    let fixture = Fixture::new(BusOptions::default());
    let bus = &fixture.bus;
    assert_eq!(bus.last_tick("cart", "nightly").await, Ok(None));
    assert_eq!(bus.append_tick("cart", "nightly", 5, Some(event("x"))).await, Ok(false));
    assert_eq!(bus.begin_schedule("cart", "nightly", "0 3 * * *", 100).await, Ok(100));
    assert_eq!(bus.append_tick("cart", "nightly", 200, Some(event("200"))).await, Ok(true));
    for late in [100, 199, 200] {
        let again = bus.append_tick("cart", "nightly", late, Some(event(late))).await;
        assert_eq!(again, Ok(false), "{late}");
    }
    let Fixture { bus, folder: _folder } = fixture.reopened(BusOptions::default()).await;
    assert_eq!(bus.begin_schedule("cart", "nightly", "0 3 * * *", 900).await, Ok(200));
    assert_eq!(bus.append_tick("cart", "nightly", 200, Some(event("200"))).await, Ok(false));
    assert_eq!(bus.append_tick("cart", "nightly", 300, None).await, Ok(true), "skipped");
    assert_eq!(bus.append_tick("cart", "nightly", 400, Some(event("400"))).await, Ok(true));
    assert_eq!(bus.last_tick("cart", "nightly").await, Ok(Some(400)));
    assert_eq!(ids(&bus).await, ["200", "400"]);
}

#[tokio::test]
async fn another_rule_begins_anew_and_so_does_one_that_comes_again() {
    let Fixture { bus, folder: _folder } = Fixture::new(BusOptions::default());
    bus.begin_schedule("cart", "nightly", "a", 100).await.expect("written");
    bus.begin_schedule("order", "nightly", "a", 150).await.expect("written");
    assert_eq!(bus.begin_schedule("cart", "nightly", "b", 200).await, Ok(200));
    assert_eq!(bus.begin_schedule("order", "nightly", "a", 300).await, Ok(150));
    let both = ["cart", "order"].map(|service| (service.to_owned(), "nightly".to_owned()));
    assert_eq!(bus.schedules().await.as_deref(), Ok(&both[..]));
    bus.end_schedule("cart", "nightly").await.expect("written");
    assert_eq!(bus.schedules().await.as_deref(), Ok(&both[1..]));
    assert_eq!(bus.begin_schedule("cart", "nightly", "b", 900).await, Ok(900));
}

#[tokio::test]
async fn a_tick_without_room_comes_later() {
    let options = BusOptions { max_bytes: 10, ..BusOptions::default() };
    let fixture = Fixture::new(options);
    let bus = &fixture.bus;
    bus.begin_schedule("cart", "nightly", "a", 100).await.expect("written");
    let refused = bus.append_tick("cart", "nightly", 200, Some(event("200"))).await;
    assert!(matches!(refused, Err(BusError::Full(_))), "{refused:?}");
    assert_eq!(bus.last_tick("cart", "nightly").await, Ok(Some(100)));
    let Fixture { bus, folder: _folder } = fixture.reopened(BusOptions::default()).await;
    assert_eq!(bus.append_tick("cart", "nightly", 200, Some(event("200"))).await, Ok(true));
}
