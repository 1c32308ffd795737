use super::*;

/// What the file says, whatever is in memory.
async fn from_file(bus: &Bus, after: Position, limit: ReadLimit) -> Batch {
    let last = bus.last();
    let read = bus.readers.run(move |file| readers::events(file, after, last, limit));
    read.await.expect("a read")
}

#[tokio::test]
async fn memory_and_file_say_the_same() {
    let options = BusOptions { tail_events: 40, tail_bytes: 16 << 10, ..BusOptions::default() };
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    for id in 0..100 {
        let data = format!("{:?}", "x".repeat(id * 7 % 600));
        let event = Event { data: Some(data.into()), ..event(id) };
        bus.append(Sender::Operator, vec![event]).await.expect("room");
    }
    let mut in_memory = 0;
    for max_events in [1, 7, usize::MAX] {
        for max_bytes in [0, 2_000, usize::MAX] {
            for after in 0..=102 {
                let limit = ReadLimit { max_events, max_bytes };
                in_memory += usize::from(bus.shared.read_tail(after, limit).is_some());
                let read = bus.read(after, limit).await.expect("a read");
                let expected = from_file(&bus, after, limit).await;
                assert_eq!(format!("{read:?}"), format!("{expected:?}"), "after {after}");
                assert_eq!(read.events.is_empty(), after >= 100, "one at the least");
                assert!(read.events.len() <= max_events);
                let bytes: usize = read.events.iter().map(|recorded| recorded.bytes).sum();
                assert!(bytes <= max_bytes || read.events.len() == 1);
            }
        }
    }
    assert!((9 * 10..9 * 50).contains(&in_memory), "both were read: {in_memory}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_falls_behind_and_catches_up_sees_every_event_once() {
    const EVENTS: u64 = 3_000;
    let options = BusOptions { tail_events: 8, ..BusOptions::default() };
    let Fixture { bus, folder: _folder } = Fixture::new(options);
    let appending = tokio::spawn({
        let bus = bus.clone();
        async move {
            for first in (1..=EVENTS).step_by(10) {
                append(&bus, first..first + 10).await;
            }
        }
    });
    let (mut grown, mut after) = (bus.grown(), 0);
    while after < EVENTS {
        let last = *grown.borrow_and_update();
        if last == after {
            grown.changed().await.expect("the bus is open");
        }
        let limit = ReadLimit { max_events: 7, max_bytes: usize::MAX };
        let batch = bus.read(after, limit).await.expect("a read");
        for recorded in &batch.events {
            after += 1;
            assert_eq!(recorded.position, after);
            assert_eq!(recorded.event.id, after.to_string());
        }
        assert_eq!(batch.upto, after);
    }
    appending.await.expect("no panic");
}

#[tokio::test]
async fn an_event_is_read_as_it_was_given() {
    let fixture = Fixture::new(BusOptions::default());
    let given = Event {
        subject: Some("an \"order\"".into()),
        time: Some("2026-11-23T17:57:42.5Z".into()),
        data_content_type: Some("application/octet-stream".into()),
        data_schema: Some("https://shop.example/order".into()),
        extensions: Extensions::from_iter([
            ("flag".into(), Value::Boolean(true)),
            ("number".into(), Value::Integer(-7)),
            ("text".into(), Value::Text("ä\u{1f980}".into())),
        ]),
        data: Some(bytes::Bytes::from_static(b"\0\xff")),
        ..event("a")
    };
    fixture.bus.append(Sender::Operator, vec![given.clone()]).await.expect("room");
    let from_memory = fixture.bus.read(0, ALL).await.expect("a read");
    assert_eq!(*from_memory.events[0].event, given);
    let Fixture { bus, folder: _folder } = fixture.reopened(BusOptions::default()).await;
    let from_file = bus.read(0, ALL).await.expect("a read");
    assert_eq!(*from_file.events[0].event, given);
    assert_eq!(from_file.events[0].recorded_at, from_memory.events[0].recorded_at);
}
