//! A disk that fails: the N-th write or sync from some moment on.

use std::time::Instant;

use bytes::Bytes;
use fuser::Errno;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::load::{Ledgers, WithLedgers as _};
use super::stores::Stores;
use super::{event, publish, soak, until_value};
use crate::deploy::operator::ask;
use crate::harness::disk::{Disk, Fault, Operation, Unsynced};
use crate::harness::{Host, eventually};

/// The longest that it takes until an operation fails.
const MOST: u64 = 50;

/// How many faults there are between two looks at what is there.
const CHECKED: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_ends_the_host_and_nothing_acknowledged_is_lost() {
    // The kernel parts a write at a page's end. Where only the second part fails, and only
    // once, the host writes that part again, and nothing has failed.
    every_fault(Operation::Write, Errno::EIO, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_ends_the_host_and_nothing_acknowledged_is_lost() {
    every_fault(Operation::Sync, Errno::EIO, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_back_pressure_until_there_is_room() {
    every_fault(Operation::Write, Errno::ENOSPC, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_when_it_syncs_ends_the_host_and_nothing_acknowledged_is_lost() {
    every_fault(Operation::Sync, Errno::ENOSPC, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_ends_while_its_disk_is_full_and_what_was_to_be_held_is_met_again() {
    let Some(disk) = Disk::mount() else { return };
    let mut host = Host::builder().data(disk.path()).plugin("consumer").start().await;
    // The handler waits for as long as it takes the disk to be full.
    let steps = json!([
        {"do": "sleep", "ms": 1_000},
        {"do": "fail", "times": 1},
        {"do": "log", "key": "k", "text": "a"},
    ]);
    let later = json!([{"do": "log", "key": "k", "text": "b"}]);
    publish(&host, json!([event("k", steps), event("k", later)])).await;
    host.until_metric("hotdock_bus_events", 2).await;
    let (operation, error) = (Operation::Write, Errno::ENOSPC);
    disk.fail(Fault { operation, after: 1, error, stays: true });
    host.until_logged("its store takes no note of what failed").await;
    assert!(host.stop().await.success(), "{}", host.log());

    disk.mend();
    host.start().await;
    until_value(&host, "logs", "k", "a b ").await;
}

/// The log of an ended host may look written and not be on the disk. The next host takes it into
/// the file; a power cut then must not bring back the part of it that is.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_start_took_from_the_log_stays_over_a_power_cut() {
    let Some(mut disk) = Disk::mount() else { return };
    let mut host = Host::builder().data(disk.path()).start().await;
    assert_eq!(take(&host, "synced").await, Some(StatusCode::ACCEPTED));
    let (operation, error) = (Operation::Sync, Errno::ENOSPC);
    disk.fail(Fault { operation, after: 1, error, stays: true });
    assert_ne!(take(&host, "written").await, Some(StatusCode::ACCEPTED));
    restart(&mut disk, &mut host, Power::On).await;
    assert_eq!(shown(&host).await, ["synced", "written"]);
    host.kill();
    disk.cut_power(Unsynced::Lost);
    host.start().await;
    assert_eq!(shown(&host).await, ["synced", "written"], "who saw it relies on it");
}

/// Sends an event from outside. What it is answered, if it is.
async fn take(host: &Host, id: &str) -> Option<StatusCode> {
    let event = json!({"specversion": "1.0", "id": id, "source": "/here", "type": "test.kept"});
    let request = Request::post(host.admin_url("/events"))
        .header(CONTENT_TYPE, "application/cloudevents+json")
        .body(Full::new(Bytes::from(event.to_string())));
    let sent = host.client.send(request.expect("a request")).await;
    Some(sent.ok()?.status)
}

/// The ids of the events that an operator sees.
async fn shown(host: &Host) -> Vec<String> {
    let page = ask(host, Method::GET, "/v1/events?after=0", Value::Null).await.json();
    let events = page["events"].as_array().expect("events");
    events.iter().map(|event| event["event"]["id"].as_str().expect("an id").to_owned()).collect()
}

/// What becomes of the power between a host's end and the next one's start.
#[derive(Clone, Copy)]
enum Power {
    On,
    Cut,
}

/// Has the operation fail after 1, 2, … of its kind under load.
async fn every_fault(operation: Operation, error: Errno, stays: bool) {
    let Some(mut disk) = Disk::mount() else { return };
    let mut host = Host::builder().data(disk.path()).ledgers().start().await;
    let ledgers = Ledgers::default();
    let (began, mut faults, mut ends) = (Instant::now(), 0, 0);
    let is_full = operation == Operation::Write && error == Errno::ENOSPC;
    for after in (1..=MOST).cycle().take(soak(50, 500)) {
        disk.fail(Fault { operation, after, error, stays });
        let clients = ledgers.start(&host, 6);
        eventually(&format!("{operation:?} {after} fails"), async || {
            disk.has_failed().then_some(())
        })
        .await;
        faults += 1;
        if !is_full || !until_room_again(&disk, &mut host, &ledgers).await {
            // Every other time the power stays on: what was not synced then still looks
            // written when the host starts again, until the next cut.
            let power = if ends % 2 == 0 { Power::On } else { Power::Cut };
            restart(&mut disk, &mut host, power).await;
            ends += 1;
        }
        ledgers.end();
        clients.join_all().await;
        if faults % CHECKED == 0 {
            check(&disk, &ledgers).await;
        }
    }
    check(&disk, &ledgers).await;
    eprintln!(
        "{operation:?} {error:?}: {faults} faults in {:?}, {ends} ended the host; entries: {}",
        began.elapsed(),
        ledgers.summary()
    );
}

async fn check(disk: &Disk, ledgers: &Ledgers) {
    let (stores, _copy) = Stores::drained(disk).await;
    ledgers.check(&stores);
}

/// The host ends by itself and says why; it starts again on a disk that works.
async fn restart(disk: &mut Disk, host: &mut Host, power: Power) {
    let ended = host.ended().await;
    assert_eq!(ended.code(), Some(1), "{}", host.log());
    assert!(host.log().contains("nothing more is acknowledged"), "{}", host.log());
    match power {
        Power::On => disk.mend(),
        Power::Cut => disk.cut_power(Unsynced::Lost),
    }
    host.start().await;
}

/// What is refused while the disk is full is taken when there is room again. False
/// where the host ended instead.
async fn until_room_again(disk: &Disk, host: &mut Host, ledgers: &Ledgers) -> bool {
    for refused in [ledgers.publish_one(host).await, ledgers.post_one(host).await] {
        assert!(matches!(refused, None | Some(StatusCode::SERVICE_UNAVAILABLE)), "{refused:?}");
    }
    disk.mend();
    eventually("what is published is taken again", async || {
        match (ledgers.publish_one(host).await, ledgers.post_one(host).await) {
            (Some(StatusCode::OK), Some(StatusCode::ACCEPTED)) => Some(true),
            _ => host.has_ended().then_some(false),
        }
    })
    .await
}
