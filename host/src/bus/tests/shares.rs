use super::*;

const DAY_AND_MORE: Duration = Duration::from_secs(25 * 60 * 60);

fn small() -> BusOptions {
    BusOptions { max_bytes: 8_000, max_bytes_per_source: 4_000, ..BusOptions::default() }
}

/// Publishes events of this service's, one after the other, until it may no more. Returns the
/// last sequence.
async fn fill(bus: &Bus, service: &str) -> u64 {
    for sequence in 1.. {
        match bus.relay(service, service, outgoing([sequence])).await {
            Ok(_) => {}
            Err(BusError::ShareFull(reason)) => {
                assert!(reason.contains(&format!("service {service} has ")), "{reason}");
                assert!(reason.contains("max-bytes-per-source"), "{reason}");
                return sequence - 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("it is full before")
}

fn bytes_of(bus: &Bus, publisher: &str) -> u64 {
    let shares = bus.shares();
    shares.iter().find(|share| share.publisher == publisher).map_or(0, |share| share.bytes)
}

#[tokio::test]
async fn one_publisher_does_not_fill_the_bus_for_the_others() {
    let fixture = Fixture::new(small());
    let last = fill(&fixture.bus, "evil").await;
    let held = bytes_of(&fixture.bus, "evil");
    assert!(held <= 4_000 && held == fixture.bus.health().bytes && !fixture.bus.health().full);
    append(&fixture.bus, ["from outside"]).await;
    fixture.bus.relay("cart", "cart", outgoing(1..=3)).await.expect("room for others");

    // It is counted exactly, also by the next host.
    let Fixture { bus, folder: _folder } = fixture.reopened(small()).await;
    let again = bus.relay("evil", "evil", outgoing([last + 1])).await;
    assert!(matches!(again, Err(BusError::ShareFull(_))), "{again:?}");
    assert_eq!(bytes_of(&bus, "evil"), held);
    let all: u64 = bus.shares().iter().map(|share| share.bytes).sum();
    assert_eq!(all, bus.health().bytes);
    let refused = bus.shares().into_iter().find(|share| share.publisher == "evil");
    assert_eq!(refused.expect("it published").refused, 1);
}

#[tokio::test]
async fn many_publishers_together_do_not_fill_the_bus_for_another() {
    let options = BusOptions { max_bytes: 1 << 20, ..small() };
    let options = BusOptions { max_bytes_per_source: options.max_bytes, ..options };
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    let publish = async |service: &str, sequence: u64| {
        bus.relay(service, service, outgoing(sequence * 10 + 1..=sequence * 10 + 10)).await
    };
    for number in 0..20 {
        let service = format!("evil-{number}");
        let mut sequence = 0;
        while publish(&service, sequence).await.is_ok() {
            sequence += 1;
        }
        assert!(sequence > 0, "{service} comes after {number} others, who have all that they may");
        // What it may have no more of is for others.
        let refused = publish(&service, sequence).await;
        let Err(BusError::ShareFull(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.contains("kept for those who have less"), "{reason}");
        assert!(bus.health().full);
    }
    publish("cart", 0).await.expect("room for one who has nothing");
    append(&bus, ["from outside"]).await;
    assert!(!bus.health().full && bytes_of(&bus, "evil-0") > 700_000);
    let again = publish("evil-1", 1_000).await;
    assert!(matches!(again, Err(BusError::ShareFull(_))), "{again:?}");
}

#[tokio::test]
async fn what_is_trimmed_no_longer_counts_for_its_publisher() {
    let Fixture { bus, folder: _folder } = Fixture::new(small());
    // In turns, and one position of a commit held by a subscription.
    bus.relay("cart", "cart", outgoing(1..=4)).await.expect("room");
    append(&bus, 0..2).await;
    bus.relay("cart", "cart", outgoing(5..=8)).await.expect("room");
    let held = Mirror { subscription: "a/b".to_owned(), position: 8, active: true };
    bus.mirror(vec![held]).await.expect("written");
    let later = crate::clock::now_ms() + DAY_AND_MORE.as_millis() as u64;
    assert_eq!(bus.trim(later).await.expect("a trim").events, 8);
    assert_eq!(bytes_of(&bus, "_operator"), 0);
    assert_eq!(bytes_of(&bus, "cart"), bus.health().bytes, "of the two that are left");
    bus.forget("a/b").await.expect("written");
    assert_eq!(bus.trim(later).await.expect("a trim").events, 2);
    assert_eq!((bytes_of(&bus, "cart"), bus.health().bytes), (0, 0));
    fill(&bus, "evil").await;
}

#[tokio::test]
async fn a_commit_that_fails_takes_nothing_of_a_share() {
    let options = BusOptions { max_pages: 200, ..BusOptions::default() };
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    let mut sequence = 0;
    while bus.relay("evil", "evil", outgoing(sequence + 1..=sequence + 20)).await.is_ok() {
        sequence += 20;
    }
    assert_eq!(bytes_of(&bus, "evil"), bus.health().bytes);
}
