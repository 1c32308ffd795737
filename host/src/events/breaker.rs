//! The breaker: stops a failing version from burning every event's attempts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Keys that fail in a row, with no success between them, until it opens. One
/// bad event fails alone and never opens it.
const FAILING_KEYS: usize = 5;

/// How long it stays open at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The breaker of a lane of a subscription's (Nygard, "Release It!": circuit breaker).
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failing: BTreeSet<Arc<str>>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
    /// One delivery is under way to see whether it may close.
    probing: bool,
}

impl Breaker {
    /// Whether a delivery may begin now.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.open.as_ref().is_none_or(|open| !open.probing && now >= open.until)
    }

    /// One begins. Where it does when the pause is over it is the only one until its end is
    /// known.
    pub(super) fn begin(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = true;
        }
    }

    /// Whether it is open.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When the pause is over, if there is one.
    pub(super) fn until(&self) -> Option<Instant> {
        self.open.as_ref().filter(|open| !open.probing).map(|open| open.until)
    }

    /// A delivery ended well, or by the handler's own word that it is no use.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A delivery ended for a reason that says nothing about the handler.
    pub(super) fn undecided(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = false;
        }
    }

    /// A delivery failed. Returns whether it opened the breaker.
    pub(super) fn failed(&mut self, key: &Arc<str>, now: Instant) -> bool {
        if let Some(open) = &mut self.open {
            // Those that were under way when it opened say nothing new.
            if open.probing {
                open.pause = (open.pause * 2).min(MAX_PAUSE);
                open.until = now + open.pause;
                open.probing = false;
            }
            return false;
        }
        self.failing.insert(Arc::clone(key));
        if self.failing.len() < FAILING_KEYS {
            return false;
        }
        self.open = Some(Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE, probing: false });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Arc<str> {
        Arc::from(number.to_string())
    }

    #[test]
    fn it_opens_when_many_keys_fail_in_a_row() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..100 {
            assert!(!breaker.failed(&key(0), now), "one bad event alone");
        }
        for number in 1..FAILING_KEYS - 1 {
            assert!(!breaker.failed(&key(number), now));
        }
        assert!(breaker.admits(now));
        assert!(breaker.failed(&key(FAILING_KEYS), now));
        assert!(!breaker.admits(now));
    }

    #[test]
    fn a_success_in_between_keeps_it_closed() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for number in 0..100 {
            assert!(!breaker.failed(&key(number), now));
            breaker.succeeded();
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn after_the_pause_one_delivery_decides() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for number in 0..FAILING_KEYS {
            breaker.failed(&key(number), now);
        }
        now += FIRST_PAUSE;
        assert!(breaker.admits(now));
        breaker.begin();
        assert!(!breaker.admits(now), "only one");
        breaker.failed(&key(0), now);
        assert_eq!(breaker.until(), Some(now + 2 * FIRST_PAUSE));
        now += 2 * FIRST_PAUSE;
        assert!(breaker.admits(now));
        breaker.begin();
        breaker.succeeded();
        breaker.begin();
        assert!(breaker.admits(now));
    }
}
