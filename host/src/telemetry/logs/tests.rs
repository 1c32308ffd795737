use serde_json::Map;

use super::*;

/// What a line of these tests takes.
const BYTES: usize = 172;

fn line(service: &str, level: LogLevel, logged_at: u64) -> LogLine {
    LogLine {
        position: 0,
        logged_at,
        level,
        target: "guest".to_owned(),
        service: Some(service.to_owned()),
        version: Some(1),
        message: "one".to_owned(),
        fields: Map::new(),
    }
}

/// With lines of `cart` at the times 1 to `count`.
fn logs(room: usize, count: u64) -> Logs {
    assert_eq!(line("cart", LogLevel::Info, 0).bytes(), BYTES);
    let logs = Logs::new(room * BYTES);
    (1..=count).for_each(|time| logs.keep(line("cart", LogLevel::Info, time)));
    logs
}

fn positions(page: &LogPage) -> Vec<u64> {
    page.lines.iter().map(|line| line.position).collect()
}

#[test]
fn the_oldest_lines_go_and_who_is_behind_is_told_how_many_it_missed() {
    let (logs, all) = (logs(5, 12), WantedLines::default());
    let page = logs.after(Some(3), 10, &all);
    assert_eq!(positions(&page), [8, 9, 10, 11, 12]);
    assert_eq!((page.missed, page.next, page.last), (4, 12, 12));
    assert_eq!(logs.after(Some(9), 10, &all).missed, 0);
    assert_eq!(logs.after(None, 10, &all).missed, 0, "who begins missed nothing");
    let counts = logs.counts();
    assert_eq!((counts.logged, counts.dropped), (12, 7));
}

#[test]
fn pages_lead_to_the_end_and_newest_comes_without_them() {
    let (logs, all) = (logs(1000, 700), WantedLines::default());
    let first = logs.after(None, 300, &all);
    assert_eq!((first.lines.len(), first.next, first.last), (300, 300, 700));
    let rest = logs.after(Some(first.next), 1000, &all);
    assert_eq!((rest.lines.len(), rest.next), (400, 700));
    assert_eq!(positions(&logs.newest(3, &all)), [698, 699, 700]);
    assert_eq!(logs.newest(1000, &all).lines.len(), 700);
}

#[test]
fn only_what_is_wanted_is_there() {
    let logs = logs(1000, 300);
    logs.keep(line("order", LogLevel::Warn, 301));
    (302..=600).for_each(|time| logs.keep(line("cart", LogLevel::Info, time)));
    let order = WantedLines { service: Some("order".to_owned()), ..WantedLines::default() };
    let loud = WantedLines { level: LogLevel::Warn, ..WantedLines::default() };
    for wanted in [&order, &loud] {
        assert_eq!(positions(&logs.newest(10, wanted)), [301]);
        let page = logs.after(None, 10, wanted);
        assert_eq!((positions(&page), page.next), (vec![301], 600));
    }
    let late = WantedLines { since: 599, ..WantedLines::default() };
    assert_eq!(positions(&logs.after(None, 10, &late)), [599, 600]);
}

#[test]
fn a_position_of_an_earlier_run_begins_anew() {
    let page = logs(1000, 3).after(Some(50), 10, &WantedLines::default());
    assert_eq!((positions(&page), page.missed), (vec![1, 2, 3], 0));
}

#[test]
fn a_line_larger_than_all_the_room_is_counted_and_gone() {
    let (logs, all) = (Logs::new(BYTES - 1), WantedLines::default());
    logs.keep(line("cart", LogLevel::Info, 1));
    assert!(logs.newest(10, &all).lines.is_empty());
    let page = logs.after(Some(0), 10, &all);
    assert_eq!((page.missed, page.next, page.last), (1, 1, 1));
}

#[tokio::test]
async fn who_waits_is_woken_by_the_next_line() {
    let logs = logs(10, 1);
    logs.grown(0).await;
    let waiting = tokio::spawn({
        let logs = logs.clone();
        async move { logs.grown(1).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    logs.keep(line("cart", LogLevel::Info, 2));
    waiting.await.expect("it ends");
}

#[test]
fn what_a_service_prints_pushes_out_its_own_lines_only() {
    let (logs, all) = (logs(20, 3), WantedLines::default());
    let of_host = |service: Option<&str>| LogLine {
        target: "hotdock::deploy".to_owned(),
        service: service.map(str::to_owned),
        ..line("", LogLevel::Warn, 4)
    };
    logs.keep(of_host(None));
    logs.keep(of_host(Some("noisy")));
    (6..=1000).for_each(|time| logs.keep(line("noisy", LogLevel::Info, time)));
    let page = logs.newest(100, &all);
    assert_eq!(positions(&page)[..5], [1, 2, 3, 4, 5], "what others said, and what was said of it");
    let page = logs.after(Some(5), 100, &all);
    assert_eq!(page.missed + page.lines.len() as u64, 995, "each is there or missed");
    assert_eq!((page.next, page.last), (1000, 1000));
    // Another gets its part, too.
    (0..100).for_each(|time| logs.keep(line("order", LogLevel::Info, 1001 + time)));
    let count = |service: &str| {
        let wanted = WantedLines { service: Some(service.to_owned()), ..all.clone() };
        logs.newest(100, &wanted).lines.len()
    };
    assert!(count("order").abs_diff(count("noisy")) <= 2);
}
