//! The time. Nothing else of the host asks the machine for it where what it says is kept,
//! or decides how long something is kept.
//!
//! A machine's clock jumps: it is wrong at the start and put right later, or the other way
//! round. What is stored then is from the future, or seems years old. So ages and waits go
//! by [`Clock::steady_ms`], which does not believe a jump ahead at once; and a stored time
//! that is further ahead than its own period allows is taken as now.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How far a clock that is being corrected goes ahead without being doubted.
const TOLERANCE: Duration = Duration::from_secs(2);

/// How long a clock that jumped ahead is doubted.
const DOUBT: Duration = Duration::from_secs(60 * 60);

/// A clock. Clones are the same one.
#[derive(Clone)]
pub struct Clock {
    shared: Arc<Shared>,
}

struct Shared {
    source: Source,
    steady: Mutex<Option<Steady>>,
}

/// Where the time comes from.
enum Source {
    Machine {
        began: Instant,
    },
    /// A test's: what it says, and how long it has been going.
    Manual(Mutex<(u64, Duration)>),
}

/// When the clock was believed last.
struct Steady {
    wall_ms: u64,
    /// By a clock that does not jump.
    at: Duration,
    /// Since when the clock has been ahead of that.
    ahead_since: Option<Duration>,
}

impl Clock {
    /// A clock that a test sets, and that stands still otherwise.
    #[must_use]
    pub fn manual(wall_ms: u64) -> Self {
        Self::of(Source::Manual(Mutex::new((wall_ms, Duration::ZERO))))
    }

    /// Has a test's clock say this from here on, as if somebody had set it.
    pub fn set(&self, wall_ms: u64) {
        self.change(|(wall, _)| *wall = wall_ms);
    }

    /// Lets time pass on a test's clock.
    pub fn advance(&self, time: Duration) {
        self.change(|(wall, going)| {
            *wall += millis(time);
            *going += time;
        });
    }

    /// What the clock says, in ms since 1970: for what people and other machines read, and
    /// for what is to happen at a time of the day.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.read().0
    }

    /// The same without jumps ahead, unless they have lasted for an hour: for how old
    /// something is, and for when a wait is over. It is set back when the clock is.
    #[must_use]
    pub fn steady_ms(&self) -> u64 {
        let (wall_ms, at) = self.read();
        let mut steady = self.shared.steady.lock().unwrap_or_else(PoisonError::into_inner);
        let believed = Steady { wall_ms, at, ahead_since: None };
        let Some(known) = &mut *steady else {
            *steady = Some(believed);
            return wall_ms;
        };
        let expected = known.wall_ms + millis(at.saturating_sub(known.at));
        if wall_ms > expected + millis(TOLERANCE) {
            let since = *known.ahead_since.get_or_insert(at);
            if at.saturating_sub(since) < DOUBT {
                return expected;
            }
        }
        *steady = Some(believed);
        wall_ms
    }

    fn of(source: Source) -> Self {
        Self { shared: Arc::new(Shared { source, steady: Mutex::default() }) }
    }

    /// What it says, and what one says that does not jump.
    fn read(&self) -> (u64, Duration) {
        match &self.shared.source {
            Source::Machine { began } => (now_ms(), began.elapsed()),
            Source::Manual(manual) => *manual.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn change(&self, change: impl FnOnce(&mut (u64, Duration))) {
        if let Source::Manual(manual) = &self.shared.source {
            change(&mut manual.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Default for Clock {
    /// The machine's.
    fn default() -> Self {
        Self::of(Source::Machine { began: Instant::now() })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

/// What the machine's clock says. A test may have a debug build's differ:
/// `HOTDOCK_CLOCK=<file>` names a file with how many ms it is ahead.
pub(crate) fn now() -> SystemTime {
    let now = SystemTime::now();
    match ahead_ms() {
        0 => now,
        ahead @ 1.. => now + Duration::from_millis(ahead.unsigned_abs()),
        behind => now - Duration::from_millis(behind.unsigned_abs()),
    }
}

/// The same in ms since 1970.
pub(crate) fn now_ms() -> u64 {
    millis(now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

#[cfg(debug_assertions)]
fn ahead_ms() -> i64 {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();

    let file = FILE.get_or_init(|| std::env::var_os("HOTDOCK_CLOCK").map(PathBuf::from));
    let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(not(debug_assertions))]
#[inline(always)]
fn ahead_ms() -> i64 {
    0
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const START: u64 = 1_000_000_000_000;

    #[test]
    fn a_steady_clock_goes_with_the_other_as_long_as_that_does_not_jump() {
        let clock = Clock::manual(START);
        assert_eq!(clock.steady_ms(), START);
        clock.advance(HOUR);
        assert_eq!((clock.now_ms(), clock.steady_ms()), (START + 3_600_000, START + 3_600_000));
        clock.set(START + 3_601_000);
        assert_eq!(clock.steady_ms(), START + 3_601_000, "it is being corrected");
    }

    #[test]
    fn a_jump_ahead_is_believed_when_it_has_lasted() {
        let clock = Clock::manual(START);
        _ = clock.steady_ms();
        clock.set(START + 1_000_000_000);
        assert_eq!(clock.steady_ms(), START);
        clock.advance(HOUR / 2);
        assert_eq!(clock.steady_ms(), START + 1_800_000);
        // Set back in time, it was never ahead.
        clock.set(START + 1_800_000);
        assert_eq!(clock.steady_ms(), START + 1_800_000);
        clock.set(START + 1_000_000_000);
        _ = clock.steady_ms();
        clock.advance(HOUR);
        assert_eq!(clock.steady_ms(), START + 1_003_600_000);
    }

    #[test]
    fn a_clock_that_is_set_back_is_believed_at_once() {
        let clock = Clock::manual(START);
        _ = clock.steady_ms();
        clock.set(START - 1_000_000_000);
        assert_eq!(clock.steady_ms(), START - 1_000_000_000);
    }
}
