use super::*;

fn ms(text: &str) -> u64 {
    let time = DateTime::parse_from_rfc3339(text).expect("a time");
    time.timestamp_millis().try_into().expect("after 1970")
}

/// The next `count` ticks.
fn ticks(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let cron = Cron::parse(text, zone).expect("a schedule");
    let following = std::iter::successors(Some(ms(after)), |time| cron.next_after(*time));
    following.skip(1).take(count).map(rfc3339).collect()
}

#[test]
fn ticks_are_on_the_zones_clocks() {
    let after = "2026-06-01T12:00:00Z";
    assert_eq!(ticks("30 3 * * *", "UTC", after, 1), ["2026-06-02T03:30:00Z"]);
    assert_eq!(ticks("30 3 * * *", "Europe/Berlin", after, 1), ["2026-06-02T01:30:00Z"]);
    assert_eq!(ticks("0 0 1 1 *", "Asia/Tokyo", after, 1), ["2026-12-31T15:00:00Z"]);
    let seconds = ["2026-06-01T12:00:10Z", "2026-06-01T12:00:20Z"];
    assert_eq!(ticks("*/10 * * * * *", "UTC", after, 2), seconds);
}

#[test]
fn a_tick_at_a_fixed_time_that_is_skipped_comes_right_after_the_gap() {
    // Clocks in Berlin went from 2:00 to 3:00 on 30 March 2025.
    let fixed = ticks("30 2 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z", 2);
    assert_eq!(fixed, ["2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z"]);
    let every = ticks("*/30 * * * *", "Europe/Berlin", "2025-03-30T00:00:00Z", 3);
    let expected = ["2025-03-30T00:30:00Z", "2025-03-30T01:00:00Z", "2025-03-30T01:30:00Z"];
    assert_eq!(every, expected);
}

#[test]
fn a_tick_at_a_fixed_time_that_is_repeated_comes_once() {
    // Clocks in Berlin went from 3:00 to 2:00 on 26 October 2025.
    let fixed = ticks("30 2 * * *", "Europe/Berlin", "2025-10-25T12:00:00Z", 2);
    assert_eq!(fixed, ["2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z"]);
    let every = ticks("*/30 * * * *", "Europe/Berlin", "2025-10-26T00:00:00Z", 4);
    let expected = [
        "2025-10-26T00:30:00Z",
        "2025-10-26T01:00:00Z",
        "2025-10-26T01:30:00Z",
        "2025-10-26T02:00:00Z",
    ];
    assert_eq!(every, expected);
}

#[test]
fn the_last_tick_until_a_time_is_one_of_the_ticks() {
    let crons = ["30 2 * * *", "*/20 1-3 * * *", "0 0 * * *", "7 * * * *", "0 0 2 * * SUN"];
    let zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"];
    for (text, zone) in crons.iter().flat_map(|text| zones.map(|zone| (*text, zone))) {
        let cron = Cron::parse(text, zone).expect("a schedule");
        // A year, so that its clocks go forward and back.
        let (mut tick, end) = (
            cron.next_after(ms("2025-01-01T00:00:00Z")).expect("a tick"),
            ms("2026-01-08T00:00:00Z"),
        );
        while tick < end {
            let next = cron.next_after(tick).expect("a tick");
            for time in [tick, tick + 1, tick + 999, tick + 1_000, next - 1_000, next - 1] {
                let case = format!("{text} {zone} {}", rfc3339(time));
                assert_eq!(cron.last_until(time).map(rfc3339), Some(rfc3339(tick)), "{case}");
                assert_eq!(cron.next_after(time), Some(next), "{case}");
            }
            tick = next;
        }
    }
}

#[test]
fn what_is_no_schedule_is_refused() {
    let refused = |text: &str, zone: &str| Cron::parse(text, zone).expect_err(text);
    let no_pattern =
        ["", "* * * *", "61 * * * * *", "0 0 0 1 1 * 2030", "@reboot", "every day", "*/0 * * * *"];
    for text in no_pattern {
        assert!(matches!(refused(text, "UTC"), CronError::Pattern(_)), "{text}");
    }
    assert_eq!(refused("0 0 30 2 *", "UTC"), CronError::Never);
    assert_eq!(refused("* * * * *", "Berlin"), CronError::Zone);
    assert_eq!(refused("* * * * *", ""), CronError::Zone);
}
