use tempfile::TempDir;

use super::*;
use crate::bus::{BusOptions, ReadLimit};
use crate::manifest::Cron;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
/// A midnight in UTC.
const MIDNIGHT: u64 = 20_000 * 24 * HOUR;

fn hourly(missed: Missed) -> Vec<Wanted> {
    let schedule = Schedule {
        name: "hourly".to_owned(),
        cron: Cron::parse("0 * * * *", "UTC").expect("a schedule"),
        event_type: "shop.cart.expire".to_owned(),
        missed,
        data: None,
        key: None,
    };
    vec![("cart".parse().expect("a name"), schedule)]
}

fn open(folder: &TempDir) -> Bus {
    Bus::open(&folder.path().join("bus.db"), BusOptions::default()).expect("a bus")
}

struct Fixture {
    scheduler: Scheduler,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { scheduler: Scheduler::new(open(&folder)), folder }
    }

    /// The next host.
    async fn restarted(self) -> Self {
        self.scheduler.bus.close().await;
        Self { scheduler: Scheduler::new(open(&self.folder)), folder: self.folder }
    }

    async fn pass(&mut self, wanted: &[Wanted], now: u64) -> Option<u64> {
        self.scheduler.forget_gone(wanted, |_| false).await.expect("a bus");
        self.scheduler.pass(wanted, now, 0).await.expect("a bus")
    }

    /// The times of all ticks so far, in hours after midnight.
    async fn ticks(&self) -> Vec<u64> {
        let limit = ReadLimit { max_events: usize::MAX, max_bytes: usize::MAX };
        let batch = self.scheduler.bus.read(0, limit).await.expect("a read");
        let hour = |time: &str| {
            let time = humantime::parse_rfc3339(time).expect("a time");
            let since = time.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
            (since.as_millis() as u64 - MIDNIGHT) / HOUR
        };
        batch.events.iter().map(|each| hour(each.event.time.as_deref().expect("a time"))).collect()
    }
}

#[tokio::test]
async fn each_tick_comes_once_at_its_time() {
    let (mut host, wanted) = (Fixture::new(), hourly(Missed::Once));
    assert_eq!(host.pass(&wanted, MIDNIGHT).await, Some(MIDNIGHT + HOUR));
    assert_eq!(host.pass(&wanted, MIDNIGHT + HOUR - 1).await, Some(MIDNIGHT + HOUR));
    assert_eq!(host.ticks().await, [0; 0], "what was due at the beginning is not");
    for _ in 0..3 {
        assert_eq!(host.pass(&wanted, MIDNIGHT + HOUR).await, Some(MIDNIGHT + 2 * HOUR));
    }
    assert_eq!(host.pass(&wanted, MIDNIGHT + 2 * HOUR + 5).await, Some(MIDNIGHT + 3 * HOUR));
    assert_eq!(host.ticks().await, [1, 2]);
}

#[tokio::test]
async fn of_ticks_that_were_missed_the_last_comes_or_none() {
    for (missed, expected) in [(Missed::Once, vec![1, 5, 6]), (Missed::Skip, vec![1, 6])] {
        let (mut host, wanted) = (Fixture::new(), hourly(missed));
        host.pass(&wanted, MIDNIGHT).await;
        host.pass(&wanted, MIDNIGHT + HOUR).await;
        let mut host = host.restarted().await;
        let next = host.pass(&wanted, MIDNIGHT + 5 * HOUR + HOUR / 2).await;
        assert_eq!(next, Some(MIDNIGHT + 6 * HOUR));
        host.pass(&wanted, MIDNIGHT + 6 * HOUR).await;
        assert_eq!(host.ticks().await, expected, "{missed:?}");
    }
}

#[tokio::test]
async fn a_tick_before_a_crash_does_not_come_again_after_it() {
    for missed in [Missed::Once, Missed::Skip] {
        let (mut host, wanted) = (Fixture::new(), hourly(missed));
        host.pass(&wanted, MIDNIGHT).await;
        host.pass(&wanted, MIDNIGHT + HOUR).await;
        let mut host = host.restarted().await;
        host.pass(&wanted, MIDNIGHT + HOUR).await;
        // Not even where the clock was set back.
        let mut host = host.restarted().await;
        host.pass(&wanted, MIDNIGHT + 10).await;
        assert_eq!(host.pass(&wanted, MIDNIGHT + HOUR).await, Some(MIDNIGHT + 2 * HOUR));
        assert_eq!(host.ticks().await, [1], "{missed:?}");
    }
}

#[tokio::test]
async fn a_changed_schedule_begins_with_the_present() {
    let (mut host, wanted) = (Fixture::new(), hourly(Missed::Once));
    host.pass(&wanted, MIDNIGHT).await;
    let mut changed = wanted.clone();
    changed[0].1.cron = Cron::parse("0 */2 * * *", "UTC").expect("a schedule");
    let mut host = host.restarted().await;
    assert_eq!(host.pass(&changed, MIDNIGHT + 5 * HOUR).await, Some(MIDNIGHT + 6 * HOUR));
    host.pass(&changed, MIDNIGHT + 6 * HOUR).await;
    // And while the host runs.
    assert_eq!(host.pass(&wanted, MIDNIGHT + 6 * HOUR).await, Some(MIDNIGHT + 7 * HOUR));
    host.pass(&wanted, MIDNIGHT + 7 * HOUR).await;
    assert_eq!(host.ticks().await, [6, 7]);
}

#[tokio::test]
async fn a_schedule_that_was_gone_for_a_while_begins_with_the_present() {
    for restart in [false, true] {
        let (mut host, wanted) = (Fixture::new(), hourly(Missed::Once));
        host.pass(&wanted, MIDNIGHT).await;
        if restart {
            host = host.restarted().await;
        }
        assert_eq!(host.pass(&[], MIDNIGHT + HOUR).await, None);
        assert_eq!(host.pass(&wanted, MIDNIGHT + 5 * HOUR + 1).await, Some(MIDNIGHT + 6 * HOUR));
        assert_eq!(host.ticks().await, [0; 0]);
    }
}

#[tokio::test]
async fn a_schedule_whose_service_is_not_restored_yet_or_was_lost_misses_its_ticks() {
    for lost in [false, true] {
        let (mut host, wanted) = (Fixture::new(), hourly(Missed::Once));
        host.pass(&wanted, MIDNIGHT).await;
        let mut host = host.restarted().await;
        if lost {
            host.scheduler.forget_gone(&[], |service| service == "cart").await.expect("a bus");
        }
        host.scheduler.pass(&[], MIDNIGHT + HOUR, 0).await.expect("a bus");
        assert_eq!(host.pass(&wanted, MIDNIGHT + 5 * HOUR + 1).await, Some(MIDNIGHT + 6 * HOUR));
        assert_eq!(host.ticks().await, [5], "lost: {lost}");
    }
}

#[tokio::test]
async fn the_next_tick_of_several_is_waited_for() {
    let (mut host, mut wanted) = (Fixture::new(), hourly(Missed::Once));
    let (service, mut other) = wanted[0].clone();
    other.name = "often".to_owned();
    other.cron = Cron::parse("*/10 * * * *", "UTC").expect("a schedule");
    wanted.push((service, other));
    assert_eq!(host.pass(&wanted, MIDNIGHT).await, Some(MIDNIGHT + HOUR / 6));
    host.pass(&wanted, MIDNIGHT + HOUR).await;
    assert_eq!(host.ticks().await, [1, 1]);
    assert_eq!(until(Some(MIDNIGHT + 70), MIDNIGHT), Duration::from_millis(70));
    assert_eq!(until(Some(MIDNIGHT), MIDNIGHT + 1), Duration::ZERO);
    assert_eq!(until(None, MIDNIGHT), MAX_SLEEP);
}

#[tokio::test]
async fn a_clock_that_was_ahead_and_is_set_back_silences_no_schedule() {
    for missed in [Missed::Once, Missed::Skip] {
        let (mut host, wanted) = (Fixture::new(), hourly(missed));
        host.pass(&wanted, MIDNIGHT).await;
        host.pass(&wanted, MIDNIGHT + 72 * HOUR).await;
        assert_eq!(host.pass(&wanted, MIDNIGHT + HOUR / 2).await, Some(MIDNIGHT + HOUR));
        host.pass(&wanted, MIDNIGHT + HOUR).await;
        // The same where the host that was ahead is no longer.
        host.pass(&wanted, MIDNIGHT + 96 * HOUR).await;
        let mut host = host.restarted().await;
        host.pass(&wanted, MIDNIGHT + HOUR + 1).await;
        host.pass(&wanted, MIDNIGHT + 2 * HOUR).await;
        assert_eq!(host.ticks().await, [72, 1, 96, 2]);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_by_less_than_a_tick_repeats_none() {
    let (mut host, wanted) = (Fixture::new(), hourly(Missed::Once));
    host.pass(&wanted, MIDNIGHT).await;
    host.pass(&wanted, MIDNIGHT + HOUR).await;
    assert_eq!(host.pass(&wanted, MIDNIGHT + HOUR / 2).await, Some(MIDNIGHT + 2 * HOUR));
    host.pass(&wanted, MIDNIGHT + HOUR).await;
    host.pass(&wanted, MIDNIGHT + 2 * HOUR).await;
    assert_eq!(host.ticks().await, [1, 2]);
}

#[tokio::test]
async fn a_tick_at_the_moment_of_setting_the_clock_back_is_not_left_out() {
    let (mut host, wanted) = (Fixture::new(), hourly(Missed::Once));
    host.pass(&wanted, MIDNIGHT).await;
    host.pass(&wanted, MIDNIGHT + 72 * HOUR).await;
    // It slept while the clock was set back, and past the hour.
    let looked = host.scheduler.pass(&wanted, MIDNIGHT + HOUR + 5 * SECOND, 10 * SECOND).await;
    assert_eq!(looked, Ok(Some(MIDNIGHT + 2 * HOUR)));
    assert_eq!(host.ticks().await, [72, 1]);
}
