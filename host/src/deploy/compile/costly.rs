//! Components that could not be compiled within their limits: the same one is not
//! tried again and again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::digest::Digest;

/// How long one is let be after it failed; twice as long after each time.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How many are remembered; beyond it those that may be tried again first go first.
const MAX_REMEMBERED: usize = 256;

/// What is remembered of components, until the host ends.
#[derive(Debug, Default)]
pub(in super::super) struct Costly {
    known: Mutex<HashMap<Digest, Failed>>,
}

#[derive(Clone, Debug)]
struct Failed {
    times: u32,
    until: Instant,
    reason: String,
}

impl Costly {
    /// It failed for this reason, after it had used much.
    pub(super) fn failed(&self, digest: Digest, reason: String, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let times = known.get(&digest).map_or(0, |failed| failed.times).saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(times - 1).unwrap_or(u32::MAX));
        known.insert(digest, Failed { times, until: now + pause.min(LONGEST_PAUSE), reason });
        if known.len() > MAX_REMEMBERED {
            let first = known.iter().min_by_key(|(_, failed)| failed.until);
            let first = first.map(|(digest, _)| *digest);
            first.map(|digest| known.remove(&digest));
        }
    }

    pub(super) fn compiles(&self, digest: &Digest) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    /// Why it is not tried now, if it is not.
    pub(super) fn refusal(&self, digest: &Digest, now: Instant) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Failed { times, until, reason } = known.get(digest)?;
        let left = until.checked_duration_since(now).filter(|left| !left.is_zero())?;
        let again = humantime::format_rfc3339_seconds(SystemTime::now() + left);
        let often = if *times == 1 { String::new() } else { format!(", {times} times in a row") };
        Some(format!(
            "{reason}{often}; the same component is not tried again before {again}: bring a \
             smaller one"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_component_is_let_be_for_longer_each_time() {
        let costly = Costly::default();
        let (slow, other) = (Digest::of(b"slow"), Digest::of(b"other"));
        let mut now = Instant::now();
        for (pause, often) in [(60, "; "), (120, ", 2 times"), (240, ", 3 times")] {
            costly.failed(slow, "too slow".to_owned(), now);
            let said = costly.refusal(&slow, now).expect("a reason");
            assert!(said.starts_with(&format!("too slow{often}")), "{said}");
            assert!(costly.refusal(&other, now).is_none());
            now += Duration::from_secs(pause - 1);
            assert!(costly.refusal(&slow, now).is_some());
            now += Duration::from_secs(1);
            assert!(costly.refusal(&slow, now).is_none());
        }
        for _ in 0..40 {
            costly.failed(slow, String::new(), now);
        }
        assert!(costly.refusal(&slow, now + LONGEST_PAUSE).is_none());
        costly.compiles(&slow);
        assert!(costly.refusal(&slow, now).is_none());
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let costly = Costly::default();
        let now = Instant::now();
        for number in 0..1000_u32 {
            costly.failed(Digest::of(&number.to_le_bytes()), String::new(), now);
        }
        assert_eq!(costly.known.lock().expect("not poisoned").len(), MAX_REMEMBERED);
    }
}
