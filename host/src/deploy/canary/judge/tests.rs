use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::service::{Outcome, VersionMetrics};

const BOTH: [Kind; 2] = [Kind::Request, Kind::Delivery];

/// So many of a kind that ended so after so long.
type Did = (Kind, u64, Ending, Duration);

fn did(all: &[Did]) -> Measurement {
    let metrics = Arc::new(VersionMetrics::default());
    for &(kind, count, ending, time) in all {
        (0..count).for_each(|_| metrics.count(kind, ending, time));
    }
    metrics.read()
}

fn measured(requests: u64, errors: u64) -> Measurement {
    let metrics = Arc::new(VersionMetrics::default());
    for number in 0..requests {
        let status = if number < errors { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        metrics.begin(Kind::Request).ended(Outcome::Answered, Some(status));
    }
    metrics.read()
}

fn took(requests: u64, time: Duration) -> Measurement {
    did(&[(Kind::Request, requests, Ending::Well, time)])
}

/// At the look that ends the first step.
fn verdict(old: &Measurement, new: &Measurement) -> Verdict {
    verdict_of(&BOTH, old, new)
}

fn verdict_of(takes: &[Kind], old: &Measurement, new: &Measurement) -> Verdict {
    let chance = Spending::at_step(0).last_look();
    Look { settings: &Canary::default(), old, new, takes, chance }.judge()
}

#[test]
fn nothing_is_said_of_few_requests() {
    for (old, new) in [(1000, 0), (1000, 19), (19, 1000)] {
        let verdict = verdict(&measured(old, 0), &measured(new, new));
        assert!(matches!(verdict, Verdict::TooFew(_)), "{verdict:?}");
    }
}

#[test]
fn a_version_that_fails_more_is_told_from_one_that_was_unlucky() {
    let failed = |old: (u64, u64), new: (u64, u64)| {
        let verdict = verdict(&measured(old.0, old.1), &measured(new.0, new.1));
        matches!(verdict, Verdict::Failed(_))
    };
    assert!(failed((2000, 0), (20, 6)), "30 % from the first twenty on");
    assert!(failed((20, 0), (20, 12)));
    assert!(failed((10_000, 100), (10_000, 400)));
    assert!(!failed((2000, 0), (20, 1)), "one may be chance");
    assert!(!failed((20, 1), (20, 3)));
    assert!(!failed((2000, 40), (20, 4)), "a fiftieth fails, and once in 1600 four of twenty do");
    assert!(!failed((2000, 600), (100, 30)), "as bad as before is no worse");
    assert!(!failed((10_000, 0), (10_000, 90)), "within the point that is borne");
}

#[test]
fn failures_of_the_store_conflicts_and_clients_that_leave_are_compared_too() {
    let ms = Duration::from_millis(1);
    let well = (Kind::Request, 500, Ending::Well, ms);
    let old = did(&[well]);
    for (ending, words) in [
        (Ending::HostFailed, "50.0 % of its requests ended with a failure of the store"),
        (Ending::Conflict, "50.0 % of its requests ended with a conflict"),
        (Ending::Left, "50.0 % of its requests were left by clients, each counted once"),
    ] {
        let new = did(&[well, (Kind::Request, 500, ending, ms)]);
        let Verdict::Failed(reason) = verdict(&old, &new) else { panic!("{words}") };
        assert!(reason.starts_with(words), "{reason}");
        assert_eq!(verdict(&new, &new), Verdict::Passed, "as bad as before is no worse");
    }
    let new = did(&[well, (Kind::Request, 500, Ending::Overloaded, ms)]);
    assert_eq!(verdict(&old, &new), Verdict::Passed, "they never came to the version");
    let new = did(&[well, (Kind::Request, 500, Ending::LeftAgain, ms)]);
    assert_eq!(verdict(&old, &new), Verdict::Passed, "they were left by those who had left");
    let only = did(&[(Kind::Request, 500, Ending::LeftAgain, ms)]);
    assert!(matches!(verdict(&old, &only), Verdict::TooFew(_)), "nor does it pass by them");
}

#[test]
fn a_version_that_is_slower_is_told_with_its_figures() {
    let old = took(1000, Duration::from_millis(20));
    let Verdict::Failed(reason) = verdict(&old, &took(20, Duration::from_millis(100))) else {
        panic!("it is five times as slow");
    };
    assert!(reason.starts_with("the median of its 20 requests took 1"), "{reason}");
    assert_eq!(verdict(&old, &took(1000, Duration::from_millis(25))), Verdict::Passed);
    let quick = took(1000, Duration::from_micros(200));
    assert_eq!(verdict(&quick, &took(1000, Duration::from_millis(2))), Verdict::Passed);
}

#[test]
fn events_are_compared_with_events_and_requests_with_requests() {
    let (request, event) = (Duration::from_millis(1), Duration::from_millis(100));
    let of = |requests, events, event| {
        did(&[
            (Kind::Request, requests, Ending::Well, request),
            (Kind::Delivery, events, Ending::Well, event),
        ])
    };
    let old = of(900, 100, event);
    assert_eq!(verdict(&old, &of(100, 900, event)), Verdict::Passed, "it got more events");
    let Verdict::Failed(reason) = verdict(&old, &of(900, 100, event * 3)) else {
        panic!("its handler is three times as slow");
    };
    assert!(reason.starts_with("the median of its 100 events took"), "{reason}");
}

#[test]
fn what_dominates_hides_nothing_of_the_other_kind() {
    let ms = Duration::from_millis(1);
    for (many, few, what) in
        [(Kind::Request, Kind::Delivery, "events"), (Kind::Delivery, Kind::Request, "requests")]
    {
        let old = did(&[(many, 100_000, Ending::Well, ms), (few, 100, Ending::Well, ms)]);
        let of =
            |failed| did(&[(many, 10_000, Ending::Well, ms), (few, failed, Ending::Failed, ms)]);
        let Verdict::Failed(reason) = verdict(&old, &of(20)) else { panic!("all {what} fail") };
        assert!(reason.starts_with(&format!("100.0 % of its {what} failed")), "{reason}");
        // Fewer are waited for, and in the end count all the same.
        let few_of_them = of(3);
        let Verdict::TooFew(reason) = verdict(&old, &few_of_them) else { panic!("three {what}") };
        assert!(reason.contains(&format!("3 {what} and the old version 100")), "{reason}");
        let at_the_end = |new: Measurement| {
            let chance = Spending::at_step(0).last_look();
            let settings = &Canary::default();
            Look { settings, old: &old, new: &new, takes: &BOTH, chance }.worse()
        };
        assert_eq!(at_the_end(of(1)), None);
        assert!(at_the_end(of(4)).is_some());
        // A version that takes none of this kind is not held for that.
        let other = of(0);
        assert_eq!(verdict_of(&[many], &old, &other), Verdict::Passed);
    }
}
