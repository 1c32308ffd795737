//! Whether a version does as well as the one before it. Only numbers, no time.

use std::time::Duration;

use crate::manifest::Canary;
use crate::service::{Latencies, Measurement};

/// How sure a difference in errors must be, in standard deviations: one in seven
/// hundred by chance, as it is looked at again and again.
const SURE: f64 = 3.0;

/// Quantiles that are compared, what they are called, how many requests or events of
/// each version that takes, and what is borne besides the times as long: less says
/// nothing on a busy machine.
const QUANTILES: [(f64, &str, u64, Duration); 2] = [
    (0.5, "median", 20, Duration::from_millis(5)),
    (0.99, "99th percentile", 500, Duration::from_millis(50)),
];

/// What two measurements say of the new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::deploy) enum Verdict {
    /// It does worse, and how.
    Failed(String),
    /// Too few requests to tell.
    TooFew(String),
    /// It does as well.
    Passed,
}

/// Compares what was measured of both in the same time.
pub(in crate::deploy) fn judge(settings: &Canary, old: &Measurement, new: &Measurement) -> Verdict {
    let least = settings.requests;
    if new.requests < least || old.requests < least {
        return Verdict::TooFew(format!(
            "it answered {} {} and the old version {}; {least} of each are needed to compare them",
            new.requests,
            what(old, new),
            old.requests
        ));
    }
    let allowed = f64::from(settings.errors) / 100.0;
    if surely_more_by(old, new) > allowed {
        return Verdict::Failed(format!(
            "{:.1} % of its {} failed ({} of {}), and {:.1} % of the old version's ({} of {}); \
             {} points more are borne",
            share(new) * 100.0,
            what(old, new),
            new.errors,
            new.requests,
            share(old) * 100.0,
            old.errors,
            old.requests,
            settings.errors,
        ));
    }
    let kinds =
        [("requests", &old.answers, &new.answers), ("events", &old.deliveries, &new.deliveries)];
    let slow = kinds.into_iter().find_map(|(kind, old, new)| {
        QUANTILES.iter().find_map(|quantile| slower(settings, kind, old, new, quantile))
    });
    slow.map_or(Verdict::Passed, Verdict::Failed)
}

/// What the two were given.
fn what(old: &Measurement, new: &Measurement) -> &'static str {
    match (
        old.answers.count() + new.answers.count(),
        old.deliveries.count() + new.deliveries.count(),
    ) {
        (_, 0) => "requests",
        (0, _) => "events",
        _ => "requests and events",
    }
}

/// Why it is too slow at this quantile, if it is.
fn slower(
    settings: &Canary,
    kind: &str,
    old: &Latencies,
    new: &Latencies,
    (quantile, name, least, slack): &(f64, &str, u64, Duration),
) -> Option<String> {
    if new.count() < *least || old.count() < *least {
        return None;
    }
    let (old_took, new_took) = (old.quantile(*quantile)?, new.quantile(*quantile)?);
    let borne = old_took.mul_f64(settings.slower) + *slack;
    (new_took > borne).then(|| {
        format!(
            "the {name} of its {} {kind} took {} ms, of the old version's {} {} ms; {:.1} ms are borne",
            new.count(),
            millis(new_took),
            old.count(),
            millis(old_took),
            millis(borne),
        )
    })
}

/// By how much the new version's share of errors is above the old one's, at least,
/// as far as is sure (Newcombe 1998, method 10).
fn surely_more_by(old: &Measurement, new: &Measurement) -> f64 {
    let (old_share, new_share) = (share(old), share(new));
    let (_, old_highest) = bounds(old);
    let (new_lowest, _) = bounds(new);
    new_share - old_share - (new_share - new_lowest).hypot(old_highest - old_share)
}

/// Between what the true share of errors lies (Wilson 1927).
fn bounds(measured: &Measurement) -> (f64, f64) {
    let (count, share) = (measured.requests as f64, share(measured));
    let square = SURE * SURE;
    let middle = share + square / (2.0 * count);
    let half = SURE * (share * (1.0 - share) / count + square / (4.0 * count * count)).sqrt();
    let scale = 1.0 + square / count;
    ((middle - half) / scale, (middle + half) / scale)
}

fn share(measured: &Measurement) -> f64 {
    measured.errors as f64 / measured.requests as f64
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use std::sync::Arc;

    use super::*;
    use crate::service::{Kind, Outcome, VersionMetrics};

    fn measured(requests: u64, errors: u64) -> Measurement {
        let metrics = Arc::new(VersionMetrics::default());
        for number in 0..requests {
            let status = if number < errors { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
            metrics.begin(Kind::Request).ended(Outcome::Answered, Some(status));
        }
        metrics.read()
    }

    fn took(requests: u64, time: Duration) -> Measurement {
        took_each(&[(Kind::Request, requests, time)])
    }

    fn took_each(all: &[(Kind, u64, Duration)]) -> Measurement {
        let metrics = Arc::new(VersionMetrics::default());
        for &(kind, count, time) in all {
            (0..count).for_each(|_| metrics.count(kind, false, time));
        }
        metrics.read()
    }

    fn verdict(old: &Measurement, new: &Measurement) -> Verdict {
        judge(&Canary::default(), old, new)
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
        assert!(!failed((2000, 600), (100, 30)), "as bad as before is no worse");
        assert!(!failed((10_000, 0), (10_000, 90)), "within the point that is borne");
    }

    #[test]
    fn a_version_that_is_slower_is_told_with_its_figures() {
        let old = took(1000, Duration::from_millis(20));
        let Verdict::Failed(reason) = verdict(&old, &took(20, Duration::from_millis(100))) else {
            panic!("it is five times as slow");
        };
        assert!(reason.starts_with("the median of its 20 requests took 1"), "{reason}");
        assert_eq!(verdict(&old, &took(1000, Duration::from_millis(30))), Verdict::Passed);
        let quick = took(1000, Duration::from_micros(200));
        assert_eq!(verdict(&quick, &took(1000, Duration::from_millis(3))), Verdict::Passed);
    }

    #[test]
    fn events_are_compared_with_events_and_requests_with_requests() {
        let (request, event) = (Duration::from_millis(1), Duration::from_millis(100));
        let of = |requests, events, event| {
            took_each(&[(Kind::Request, requests, request), (Kind::Delivery, events, event)])
        };
        let old = of(900, 100, event);
        assert_eq!(verdict(&old, &of(100, 900, event)), Verdict::Passed, "it got more events");
        let Verdict::Failed(reason) = verdict(&old, &of(900, 100, event * 3)) else {
            panic!("its handler is three times as slow");
        };
        assert!(reason.starts_with("the median of its 100 events took"), "{reason}");
    }
}
