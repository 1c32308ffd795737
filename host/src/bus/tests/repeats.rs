use super::*;

/// How many rows of recent ids, and how many runs, the file has.
async fn kept(bus: &Bus) -> (usize, usize, usize) {
    let count = |table: &str| format!("(SELECT count(*) FROM {table})");
    let query =
        format!("SELECT {}, {}, {}", count("recent_ids"), count("id_run"), count("id_block"));
    let read = bus.readers.run(move |file| {
        Ok(file.query_row(&query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
    });
    read.await.expect("a read")
}

#[tokio::test]
async fn an_outside_event_is_dropped_while_the_same_is_here() {
    let fixture = Fixture::new(BusOptions::default());
    let bus = &fixture.bus;
    let appended = bus.append(Sender::Operator, events(["a", "b", "a"])).await;
    assert_eq!(appended, Ok(Appended { accepted: 2, repeats: vec![2] }));
    let appended = bus.append(Sender::Operator, events(["b", "c"])).await;
    assert_eq!(appended, Ok(Appended { accepted: 1, repeats: vec![0] }));
    let other = Event { source: "https://other.example".into(), ..event("a") };
    // Neither the two together nor the one at the other's cost.
    let shifted = Event { source: "https://other.exampl".into(), ..event("ea") };
    let appended = bus.append(Sender::Operator, vec![other, shifted]).await;
    assert_eq!(appended, Ok(Appended { accepted: 2, repeats: vec![] }));

    let Fixture { bus, folder: _folder } = fixture.reopened(BusOptions::default()).await;
    let appended = bus.append(Sender::Operator, events(["a", "c", "d"])).await;
    assert_eq!(appended, Ok(Appended { accepted: 1, repeats: vec![0, 1] }));
    assert_eq!(ids(&bus).await, ["a", "b", "c", "a", "ea", "d"]);
}

#[tokio::test]
async fn what_a_service_publishes_is_no_repeat_of_what_came_from_outside() {
    let Fixture { bus, folder: _folder } = Fixture::new(BusOptions::default());
    append(&bus, ["o1", "o2"]).await;
    bus.relay("cart", "one", outgoing(1..=3)).await.expect("room");
    let appended = bus.append(Sender::Operator, events(["o3"])).await;
    assert_eq!(appended, Ok(Appended { accepted: 1, repeats: vec![] }));
    assert_eq!(bus.last(), 6);
}

#[tokio::test]
async fn what_one_sends_is_no_repeat_of_what_another_sent() {
    let fixture = Fixture::new(BusOptions::default());
    let anybody = |last| Sender::Anybody(std::net::Ipv6Addr::from_bits(last));
    let senders = [anybody(0), Sender::Operator, anybody(1)];
    for sender in senders {
        let appended = fixture.bus.append(sender, events(["a"])).await;
        assert_eq!(appended, Ok(Appended { accepted: 1, repeats: vec![] }), "{sender:?}");
    }
    let Fixture { bus, folder: _folder } = fixture.reopened(BusOptions::default()).await;
    for sender in senders {
        let appended = bus.append(sender, events(["b", "a", "b"])).await;
        assert_eq!(appended, Ok(Appended { accepted: 1, repeats: vec![1, 2] }), "{sender:?}");
    }
}

#[tokio::test]
async fn repeats_are_known_when_there_are_many() {
    repeats_are_known(64).await;
    // So many runs that they share several filters.
    repeats_are_known(16).await;
}

async fn repeats_are_known(run_ids: usize) {
    let options = BusOptions { run_ids, ..BusOptions::default() };
    let fixture = Fixture::new(options.clone());
    for first in (0..1_000).step_by(10) {
        append(&fixture.bus, first..first + 10).await;
    }
    let (rows, runs, _) = kept(&fixture.bus).await;
    assert!(rows < 7 && runs > 10, "{rows} {runs}");
    let fixture = fixture.reopened(options).await;
    for first in (0..1_000).step_by(50) {
        let appended = fixture.bus.append(Sender::Operator, events(first..first + 51)).await;
        // The one after each fifty is a repeat of the next, but for the last.
        let new = usize::from(first == 950);
        assert_eq!(appended, Ok(Appended { accepted: new, repeats: (0..51 - new).collect() }));
    }
    assert_eq!(fixture.bus.last(), 1_001);
}

#[tokio::test]
async fn ids_go_with_their_events() {
    ids_go(64).await;
    ids_go(8).await;
}

async fn ids_go(run_ids: usize) {
    let options = BusOptions { run_ids, ..BusOptions::default() };
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    let half = Mirror { subscription: "cart/all".to_owned(), position: 505, active: true };
    for first in (0..1_000).step_by(10) {
        append(&bus, first..first + 10).await;
    }
    let (_, runs, _) = kept(&bus).await;
    bus.mirror(vec![half]).await.expect("written");
    let later = crate::clock::now_ms() + 25 * HOUR.as_millis() as u64;
    assert_eq!(bus.trim(later).await.expect("a trim").events, 505);
    let left = kept(&bus).await.1;
    assert!((1..runs * 6 / 10).contains(&left), "of {runs} runs {left} are left");
    let appended = bus.append(Sender::Operator, events(505..1_000)).await;
    assert_eq!(
        appended,
        Ok(Appended { accepted: 0, repeats: (0..495).collect() }),
        "all that is here is known"
    );

    bus.forget("cart/all").await.expect("written");
    assert_eq!(bus.trim(later).await.expect("a trim").events, 495);
    assert_eq!(kept(&bus).await, (0, 0, 0));
    append(&bus, 0..1_000).await;
}
