use std::path::Path;

use super::*;

const FORMAT_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/bus-format-1.db");

/// A copy of the log that the first host wrote: three relayed events, five from
/// outside of which four are a run, a cursor past two and a schedule.
#[tokio::test]
async fn a_log_of_format_1_is_read_on() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(FORMAT_1, folder.path().join("bus.db")).expect("a copy");
    let bus = open(&folder, BusOptions::default());
    assert_eq!(ids(&bus).await, ["o3", "a", "b", "c", "d", "e"]);
    assert_eq!((bus.first(), bus.last()), (3, 8));
    assert_eq!(bus.relayed("one").await, Ok(3));
    let appended = bus.append(Sender::Operator, events(["a", "d", "e", "f"])).await;
    assert_eq!(appended, Ok(Appended { accepted: 1, repeats: vec![0, 1, 2] }));
    let [cursor] = &bus.mirrors().await.expect("a read")[..] else { panic!("one row") };
    assert_eq!(
        (cursor.subscription.as_str(), cursor.position, cursor.active),
        ("cart/all", 2, true)
    );
    assert_eq!(bus.begin_schedule("cart", "nightly", "0 3 * * *", 900).await, Ok(200));
    assert_eq!(bus.append_tick("cart", "nightly", 300, Some(event("t"))).await, Ok(true));
    let last = bus.read(9, ALL).await.expect("a read");
    assert_eq!((last.events[0].position, last.events[0].event.id.as_str()), (10, "t"));
}

/// Writes that file; for the next format a new one, beside the old.
#[tokio::test]
#[ignore = "writes the frozen file"]
async fn freeze_the_format() {
    let fixture = Fixture::new(BusOptions { run_ids: 4, ..BusOptions::default() });
    let bus = &fixture.bus;
    bus.relay("cart", "one", outgoing(1..=3)).await.expect("room");
    append(bus, ["a", "b", "c", "d"]).await;
    append(bus, ["e"]).await;
    let cursor = Mirror { subscription: "cart/all".to_owned(), position: 2, active: true };
    bus.mirror(vec![cursor]).await.expect("written");
    bus.begin_schedule("cart", "nightly", "0 3 * * *", 200).await.expect("written");
    bus.trim(crate::clock::now_ms() + 48 * HOUR.as_millis() as u64).await.expect("a trim");
    bus.close().await;
    std::fs::copy(fixture.folder.path().join("bus.db"), FORMAT_1).expect("a copy");
}

#[tokio::test]
async fn a_closed_log_is_one_file() {
    let Fixture { bus, folder } = Fixture::new(BusOptions::default());
    append(&bus, 0..5).await;
    bus.mirrors().await.expect("a read");
    bus.close().await;
    let names = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let files: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").map(names).collect();
    assert_eq!(files, ["bus.db"], "whoever copies it has all of it");
}

#[tokio::test]
async fn a_log_may_be_elsewhere_by_a_link() {
    let (folder, elsewhere) = (tempfile::tempdir(), tempfile::tempdir());
    let (folder, elsewhere) = (folder.expect("a folder"), elsewhere.expect("a folder"));
    let file = elsewhere.path().join("kept.db");
    std::fs::File::create(&file).expect("a file");
    std::os::unix::fs::symlink(&file, folder.path().join("bus.db")).expect("a link");
    let bus = open(&folder, BusOptions::default());
    append(&bus, ["a"]).await;
    bus.close().await;
    let bus = open(&folder, BusOptions::default());
    assert_eq!(ids(&bus).await, ["a"]);
}

fn refused(path: &Path) -> String {
    let refused = Bus::open(path, BusOptions::default());
    refused.expect_err("a refusal").to_string()
}

#[tokio::test]
async fn a_file_of_someone_else_or_a_newer_host_is_refused_and_left_alone() {
    let Fixture { bus, folder } = Fixture::new(BusOptions::default());
    bus.close().await;
    let path = folder.path().join("bus.db");
    let file = Connection::open(&path).expect("a file");
    file.pragma_update(None, "user_version", 99).expect("written");
    drop(file);
    assert!(
        refused(&path).contains("it has format 99, this host knows up to"),
        "{}",
        refused(&path)
    );

    let other = folder.path().join("other.db");
    let file = Connection::open(&other).expect("a file");
    file.execute_batch("CREATE TABLE theirs (x)").expect("written");
    drop(file);
    let before = std::fs::read(&other).expect("a file");
    assert!(refused(&other).contains("not made by hotdock"), "{}", refused(&other));
    assert_eq!(std::fs::read(&other).expect("a file"), before);
    std::fs::write(&other, "not a database, but long enough to be looked at".repeat(100))
        .expect("written");
    assert!(refused(&other).contains("cannot be opened"), "{}", refused(&other));
}
