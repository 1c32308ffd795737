use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::alarm::Alarm;
use crate::manifest::Sticky;
use crate::service::{Rule, Share};

const KEEP: usize = 10;

fn version(service: &str, number: u64, file: &str) -> VersionRecord {
    VersionRecord {
        id: VersionId { service: service.parse().expect("a name"), number },
        component: Digest::of(format!("{service}{number}").as_bytes()),
        manifest: Some(ManifestText { file: format!("{file}.toml"), text: String::new() }),
        origin: Origin::File(Stem::new(file)),
        who: Some("uid 1000".to_owned()),
        deployed_at: "2026-01-01T00:00:00Z".to_owned(),
        rolled_back: None,
    }
}

fn open(path: &Path) -> RecordFile {
    RecordFile::open(path, KEEP, Alarm::default()).expect("a record")
}

/// Deploys the version straight to all of its service's traffic.
fn deploy(record: &RecordFile, version: &VersionRecord) {
    let plan = TrafficPlan::all(version.id.number);
    record.deploy(version, &Seen::default(), &plan, None).expect("deployed");
}

fn refusal(content: &[u8]) -> RefusalRecord {
    RefusalRecord {
        seen: Seen { component: Some(Digest::of(content)), manifest: None },
        service: None,
        reasons: vec!["it is \"bad\"".to_owned(), "twice".to_owned()],
        blocked: true,
        waits: true,
        host: "0.1.0".to_owned(),
        at: "2026-01-01T00:00:00Z".to_owned(),
    }
}

fn serving(record: &RecordFile) -> Vec<String> {
    record
        .deployed()
        .expect("services")
        .iter()
        .flat_map(|(_, versions)| versions)
        .map(|each| format!("{} from {}", each.id, each.origin.file().expect("a file")))
        .collect()
}

fn refuse(record: &RecordFile, file: &str, refusal: RefusalRecord) {
    let files = BTreeMap::from([(Stem::new(file), Some(refusal))]);
    record.note_files(&files).expect("a refusal");
}

#[test]
fn what_was_recorded_is_there_after_a_restart() {
    let data = tempfile::tempdir().expect("a folder");
    let path = data.path().join("host.db");
    let record = open(&path);
    let cart = version("cart", 1, "cart");
    deploy(&record, &cart);
    refuse(&record, "order", refusal(b"order"));
    drop(record);
    let record = open(&path);
    assert_eq!(record.deployed().expect("services")[0].1, [cart]);
    assert_eq!(record.refusals().expect("refusals")[&Stem::new("order")], refusal(b"order"));
}

#[test]
fn numbers_are_never_given_twice() {
    let data = tempfile::tempdir().expect("a folder");
    let record = open(&data.path().join("host.db"));
    let cart = "cart".parse().expect("a name");
    assert_eq!(record.next_number(&cart).expect("a number"), 1);
    deploy(&record, &version("cart", 1, "cart"));
    record.remove_file(&Stem::new("cart")).expect("removed");
    assert_eq!(record.next_number(&cart).expect("a number"), 2);
    assert_eq!(record.next_number(&cart).expect("a number"), 3);
    assert_eq!(record.next_number(&"order".parse().expect("a name")).expect("a number"), 1);
}

#[test]
fn a_file_serves_one_service_and_a_service_comes_from_one_file() {
    let data = tempfile::tempdir().expect("a folder");
    let record = open(&data.path().join("host.db"));
    deploy(&record, &version("cart", 1, "cart"));
    refuse(&record, "cart", refusal(b"x"));
    deploy(&record, &version("basket", 1, "cart"));
    assert_eq!(serving(&record), ["basket v1 from cart"]);
    assert!(record.refusals().expect("refusals").is_empty());
    deploy(&record, &version("basket", 2, "basket"));
    assert_eq!(serving(&record), ["basket v2 from basket"]);
    record.remove_file(&Stem::new("cart")).expect("removed");
    assert_eq!(serving(&record), ["basket v2 from basket"]);
    record.remove_file(&Stem::new("basket")).expect("removed");
    assert!(serving(&record).is_empty());
}

#[test]
fn the_last_versions_of_each_service_are_kept() {
    let data = tempfile::tempdir().expect("a folder");
    let record = open(&data.path().join("host.db"));
    deploy(&record, &version("order", 1, "order"));
    for number in 1..=KEEP as u64 + 3 {
        deploy(&record, &version("cart", number, "cart"));
    }
    let kept = record.kept_components().expect("digests");
    assert_eq!(kept.len(), KEEP + 1);
    assert!(kept.contains(&Digest::of(b"order1")) && kept.contains(&Digest::of(b"cart4")));
    assert!(!kept.contains(&Digest::of(b"cart3")));
}

#[test]
fn what_served_before_is_known_and_kept() {
    let data = tempfile::tempdir().expect("a folder");
    let record = open(&data.path().join("host.db"));
    let cart: ServiceName = "cart".parse().expect("a name");
    let before = |number| record.earlier(&cart, number).expect("read");
    deploy(&record, &version("cart", 1, "cart"));
    assert_eq!(before(1), None);
    let split = |weight, number| TrafficPlan {
        versions: vec![
            Share { version: 1, weight: 100 - weight },
            Share { version: number, weight },
        ],
        ..TrafficPlan::all(1)
    };
    // However many are tried out meanwhile.
    let last = KEEP as u64 + 2;
    for number in 2..last {
        let tried = version("cart", number, "cart");
        record.deploy(&tried, &Seen::default(), &split(10, number), None).expect("deployed");
        assert_eq!(before(number + 1), Some(1), "v1 has the greatest share all the while");
    }
    deploy(&record, &version("cart", last, "cart"));
    assert_eq!(before(last), Some(1));
    assert!(record.version(&cart, 1).expect("read").is_some(), "a rollback leads to it");
    assert!(record.version(&cart, 2).expect("read").is_none());
    record.share(&cart, &split(50, last), None, None).expect("shared");
    assert_eq!(before(last + 1), Some(last), "the older of two equals counts");
    record.share(&cart, &split(50, last), None, None).expect("shared");
    assert_eq!(before(last + 1), Some(last), "nothing changed");
    record.share(&cart, &TrafficPlan::all(1), None, Some((last, "slow"))).expect("shared");
    assert_eq!(before(last + 1), Some(1), "the others were only tried out");
}

#[test]
fn of_versions_of_format_5_nobody_knows_whether_they_served() {
    let data = tempfile::tempdir().expect("a folder");
    let path = data.path().join("host.db");
    let cart: ServiceName = "cart".parse().expect("a name");
    let record = open(&path);
    for number in 1..=3 {
        deploy(&record, &version("cart", number, "cart"));
    }
    drop(record);
    let raw = Connection::open(&path).expect("SQLite");
    raw.execute_batch("ALTER TABLE version DROP COLUMN served; PRAGMA user_version = 5")
        .expect("as format 5 was");
    drop(raw);
    let record = open(&path);
    record.share(&cart, &TrafficPlan::all(2), None, Some((3, "slow"))).expect("shared");
    assert_eq!(record.earlier(&cart, 2).expect("read"), Some(1));
}

#[test]
fn another_format_and_another_programs_file_are_refused_and_left_alone() {
    let data = tempfile::tempdir().expect("a folder");
    let path = data.path().join("host.db");
    drop(open(&path));
    let raw = Connection::open(&path).expect("SQLite");
    raw.pragma_update(None, "user_version", 7).expect("a pragma");
    drop(raw);
    let refused = RecordFile::open(&path, KEEP, Alarm::default()).expect_err("a refusal");
    assert!(matches!(refused, RecordError::Newer { found: 7, known: 6 }), "{refused}");
    let other = data.path().join("other.db");
    Connection::open(&other).expect("SQLite").execute_batch("CREATE TABLE t (a)").expect("a table");
    assert!(matches!(RecordFile::open(&other, KEEP, Alarm::default()), Err(RecordError::Foreign)));
}

#[test]
fn how_traffic_is_shared_and_the_canary_are_there_after_a_restart() {
    let data = tempfile::tempdir().expect("a folder");
    let path = data.path().join("host.db");
    let record = open(&path);
    let cart: ServiceName = "cart".parse().expect("a name");
    deploy(&record, &version("cart", 1, "cart"));
    let origin = Origin::Oci("oci://registry.example/shop/cart:2@sha256:00".to_owned());
    let uploaded = VersionRecord { origin, ..version("cart", 2, "cart") };
    let plan = TrafficPlan {
        versions: vec![Share { version: 1, weight: 90 }, Share { version: 2, weight: 10 }],
        rules: vec![Rule { header: "x-beta".to_owned(), value: "1".to_owned(), version: 2 }],
        sticky: Some(Sticky::Header("x-user".to_owned())),
    };
    let canary = CanaryRecord {
        deployment: "some".to_owned(),
        old: 1,
        new: 2,
        settings: Canary::default(),
        step: 1,
        held: true,
        reason: Some("its last step is done".to_owned()),
    };
    let deployed = record.deploy(&uploaded, &Seen::default(), &plan, Some(&canary));
    assert_eq!(deployed.expect("deployed"), (2, false));
    drop(record);
    let record = open(&path);
    let (deployed, versions) = record.deployed().expect("services").remove(0);
    assert_eq!(
        deployed,
        DeployedRecord {
            service: cart.clone(),
            file: None,
            revision: 2,
            plan,
            canary: Some(canary)
        }
    );
    assert_eq!(versions[1], uploaded);

    let revision = record.share(&cart, &TrafficPlan::all(1), None, Some((2, "too slow")));
    assert_eq!(revision.expect("shared"), 3);
    let rolled_back = record.versions(&cart).expect("versions").remove(0).rolled_back;
    assert_eq!(rolled_back.as_deref(), Some("too slow"));
    record.share(&cart, &TrafficPlan::all(2), None, None).expect("shared");
    assert_eq!(record.version(&cart, 2).expect("read").expect("kept").rolled_back, None);
    assert!(record.share(&cart, &TrafficPlan::all(7), None, None).is_err(), "there is none");
    record.remove(&cart).expect("removed");
    assert!(record.deployed().expect("services").is_empty());
    assert_eq!(record.versions(&cart).expect("versions").len(), 2, "they are kept");
}

#[test]
fn a_log_that_an_earlier_process_left_is_begun_anew() {
    let data = tempfile::tempdir().expect("a folder");
    let (path, copy) = (data.path().join("host.db"), data.path().join("copy.db"));
    let record = open(&path);
    let cart = version("cart", 1, "cart");
    deploy(&record, &cart);
    // As a process leaves it that is killed.
    for beside in ["db", "db-wal"] {
        let copied = std::fs::copy(path.with_extension(beside), copy.with_extension(beside));
        assert!(copied.expect("a copy") > 0);
    }
    let again = open(&copy);
    let log = copy.with_extension("db-wal");
    assert_eq!(std::fs::metadata(&log).expect("a log").len(), 0);
    assert_eq!(again.deployed().expect("services")[0].1, [cart]);
}

#[test]
fn the_log_is_carried_over_and_its_failure_would_be_heard_of() {
    let data = tempfile::tempdir().expect("a folder");
    let path = data.path().join("host.db");
    let record = open(&path);
    let automatic: i64 = record
        .connection
        .pragma_query_value(None, "wal_autocheckpoint", |row| row.get(0))
        .expect("a setting");
    assert_eq!(automatic, 0, "what SQLite does by itself fails quietly");
    let before = std::fs::metadata(&path).expect("a file").len();
    let long = "x".repeat(64 << 10);
    for number in 0..80 {
        let refusal = RefusalRecord { reasons: vec![long.clone()], ..refusal(b"order") };
        refuse(&record, &format!("file{number}"), refusal);
    }
    assert!(std::fs::metadata(&path).expect("a file").len() > before + (2 << 20));
    let log = std::fs::metadata(path.with_extension("db-wal")).expect("a log");
    assert!(log.len() < 6 << 20, "it began anew: {}", log.len());
}
