use super::*;

fn version(service: &str, number: u64, file: &str) -> VersionRecord {
    VersionRecord {
        id: VersionId { service: service.parse().expect("a name"), number },
        component: Digest::of(format!("{service}{number}").as_bytes()),
        manifest: Some(ManifestText { file: format!("{file}.toml"), text: String::new() }),
        file: Stem::new(file),
        deployed_at: "2026-01-01T00:00:00Z".to_owned(),
    }
}

fn refusal(content: &[u8]) -> RefusalRecord {
    RefusalRecord {
        seen: Seen { component: Some(Digest::of(content)), manifest: None },
        service: None,
        reasons: vec!["it is \"bad\"".to_owned(), "twice".to_owned()],
        blocked: true,
        host: "0.1.0".to_owned(),
        at: "2026-01-01T00:00:00Z".to_owned(),
    }
}

fn serving(record: &Record) -> Vec<String> {
    record
        .serving()
        .expect("versions")
        .iter()
        .map(|each| format!("{} from {}", each.id, each.file))
        .collect()
}

#[test]
fn what_was_recorded_is_there_after_a_restart() {
    let data = tempfile::tempdir().expect("a folder");
    let path = data.path().join("host.db");
    let record = Record::open(&path).expect("a record");
    let cart = version("cart", 1, "cart");
    record.swap(&cart).expect("a swap");
    record.refuse(&Stem::new("order"), &refusal(b"order")).expect("a refusal");
    drop(record);
    let record = Record::open(&path).expect("a record");
    assert_eq!(record.serving().expect("versions"), [cart]);
    assert_eq!(record.refusals().expect("refusals")[&Stem::new("order")], refusal(b"order"));
}

#[test]
fn numbers_are_never_given_twice() {
    let data = tempfile::tempdir().expect("a folder");
    let record = Record::open(&data.path().join("host.db")).expect("a record");
    let cart = "cart".parse().expect("a name");
    assert_eq!(record.next_number(&cart).expect("a number"), 1);
    record.swap(&version("cart", 1, "cart")).expect("a swap");
    record.remove(&Stem::new("cart")).expect("removed");
    assert_eq!(record.next_number(&cart).expect("a number"), 2);
    assert_eq!(record.next_number(&cart).expect("a number"), 3);
    assert_eq!(record.next_number(&"order".parse().expect("a name")).expect("a number"), 1);
}

#[test]
fn a_file_serves_one_service_and_a_service_comes_from_one_file() {
    let data = tempfile::tempdir().expect("a folder");
    let record = Record::open(&data.path().join("host.db")).expect("a record");
    record.swap(&version("cart", 1, "cart")).expect("a swap");
    record.refuse(&Stem::new("cart"), &refusal(b"x")).expect("a refusal");
    record.swap(&version("basket", 1, "cart")).expect("a swap");
    assert_eq!(serving(&record), ["basket v1 from cart"]);
    assert!(record.refusals().expect("refusals").is_empty());
    record.swap(&version("basket", 2, "basket")).expect("a swap");
    assert_eq!(serving(&record), ["basket v2 from basket"]);
    record.remove(&Stem::new("cart")).expect("removed");
    assert_eq!(serving(&record), ["basket v2 from basket"]);
    record.remove(&Stem::new("basket")).expect("removed");
    assert!(serving(&record).is_empty());
}

#[test]
fn the_last_versions_of_each_service_are_kept() {
    let data = tempfile::tempdir().expect("a folder");
    let record = Record::open(&data.path().join("host.db")).expect("a record");
    record.swap(&version("order", 1, "order")).expect("a swap");
    for number in 1..=KEPT_VERSIONS as u64 + 3 {
        record.swap(&version("cart", number, "cart")).expect("a swap");
    }
    let kept = record.kept_components().expect("digests");
    assert_eq!(kept.len(), KEPT_VERSIONS + 1);
    assert!(kept.contains(&Digest::of(b"order1")) && kept.contains(&Digest::of(b"cart4")));
    assert!(!kept.contains(&Digest::of(b"cart3")));
}

#[test]
fn another_format_and_another_programs_file_are_refused_and_left_alone() {
    let data = tempfile::tempdir().expect("a folder");
    let path = data.path().join("host.db");
    drop(Record::open(&path).expect("a record"));
    let raw = Connection::open(&path).expect("SQLite");
    raw.pragma_update(None, "user_version", 2).expect("a pragma");
    drop(raw);
    let refused = Record::open(&path).expect_err("a refusal");
    assert!(matches!(refused, RecordError::Newer { found: 2, known: 1 }), "{refused}");
    let other = data.path().join("other.db");
    Connection::open(&other).expect("SQLite").execute_batch("CREATE TABLE t (a)").expect("a table");
    assert!(matches!(Record::open(&other), Err(RecordError::Foreign)));
}
