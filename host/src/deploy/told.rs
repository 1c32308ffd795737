//! How many refusals of plugin files the log has one by one: a folder of thousands that are
//! no components is a line with their number.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::parts::Parts;

/// How many in a window; what is more is counted.
const ONE_BY_ONE: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// What was told in this window.
#[derive(Debug, Default)]
pub(super) struct Told {
    window: Mutex<Option<Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    told: u32,
    untold: u64,
}

/// What is done about one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Told,
    /// The first that is only counted.
    Summed,
    Counted,
}

impl Told {
    fn next(&self, now: Instant) -> Next {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Window { began: now, told: 0, untold: 0 };
        // One with some that are only counted ends with the line that says how many.
        let over = |window: &Window| now - window.began >= WINDOW && window.untold == 0;
        let current = window.take().filter(|window| !over(window)).unwrap_or(fresh);
        let (next, current) = match current {
            Window { told, .. } if told < ONE_BY_ONE => {
                (Next::Told, Window { told: told + 1, ..current })
            }
            Window { untold: 0, .. } => (Next::Summed, Window { untold: 1, ..current }),
            Window { untold, .. } => (Next::Counted, Window { untold: untold + 1, ..current }),
        };
        *window = Some(current);
        next
    }

    /// How many were only counted; another window begins.
    fn sum(&self) -> u64 {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner).take();
        window.map_or(0, |window| window.untold)
    }
}

/// Whether the log is to have a line for one more; otherwise it is counted, and the log has
/// the sum in a while.
pub(super) fn one_by_one(parts: &Arc<Parts>) -> bool {
    let next = parts.told.next(Instant::now());
    if next == Next::Summed {
        let parts = Arc::clone(parts);
        parts.clone().tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(WINDOW) => {}
                () = parts.stopping.cancelled() => {}
            }
            let files = parts.told.sum();
            tracing::warn!(files, "more files are refused; `hotdock status` has the reasons");
        });
    }
    next == Next::Told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_counted_and_few_are_told() {
        let told = Told::default();
        let mut now = Instant::now();
        let count = |now: Instant, wanted: Next, times: u32| {
            (0..times).for_each(|_| assert_eq!(told.next(now), wanted));
        };
        count(now, Next::Told, ONE_BY_ONE - 1);
        now += WINDOW;
        count(now, Next::Told, ONE_BY_ONE);
        count(now, Next::Summed, 1);
        count(now, Next::Counted, 9_000);
        now += WINDOW;
        count(now, Next::Counted, 99);
        assert_eq!(told.sum(), 9_100);
        assert_eq!(told.next(now), Next::Told);
        assert_eq!(told.sum(), 0);
    }
}
