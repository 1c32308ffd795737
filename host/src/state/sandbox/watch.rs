//! The end of a guest's statement: SQLite asks here, every few operations, whether it goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, InterruptHandle};
use rustix::time::{ClockId, clock_gettime};

use crate::state::budget::Budget;
use crate::state::memory::{self, Over};
use crate::state::threads;

/// Operations of SQLite between two looks. Few, since one can take long where values are
/// large; a look costs little until the system's coarse clock has moved on.
const OPERATIONS: i32 = 4;

/// How long a statement computes before its thread gives way to others.
const PATIENCE: Duration = Duration::from_millis(10);

/// Of a statement that was not looked at, this much counts at most.
const LONGEST_UNSEEN: Duration = Duration::from_millis(8);

/// What a statement is held to.
#[derive(Clone, Debug)]
pub(in crate::state) struct Watched {
    /// When it ends.
    pub(in crate::state) deadline: Instant,
    /// What its time counts against.
    pub(in crate::state) budget: Budget,
    /// Set when nobody waits for it any more.
    pub(in crate::state) gone: Option<Arc<AtomicBool>>,
    /// Whether it also ends with its invocation, or that one's budget. One that writes does not:
    /// SQLite would give up all that is to be committed together, and its deadline is near.
    pub(in crate::state) ends_early: bool,
    /// Whether its thread gives way to others when it computes for long.
    pub(in crate::state) gives_way: bool,
}

/// Why a statement was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Deadline,
    /// Its invocation has no more of this.
    Cpu(Duration),
    /// Nobody waits for it.
    Over,
    /// It has taken more memory than it may.
    Memory,
}

/// A connection's watch over its guest's statements.
#[derive(Default)]
pub(super) struct Watch {
    /// Whether a guest's statement runs.
    on: AtomicBool,
    /// The coarse clock's time at the last look.
    looked: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    /// How many statements there were.
    number: u64,
    ended: Option<Ended>,
}

struct Running {
    watched: Watched,
    begun: Instant,
    /// The thread's own time at the first look, and what counts before it.
    since: Option<(Duration, Duration)>,
}

/// Ends a connection's statement from another thread.
#[derive(Clone)]
pub(in crate::state) struct Stopper {
    watch: Arc<Watch>,
    handle: Arc<InterruptHandle>,
}

impl Watch {
    pub(super) fn install(self: &Arc<Self>, connection: &mut Connection) -> rusqlite::Result<()> {
        let watch = Arc::clone(self);
        connection.progress_handler(OPERATIONS, Some(move || watch.is_over()))
    }

    pub(super) fn stopper(self: &Arc<Self>, connection: &Connection) -> Stopper {
        let handle = Arc::new(connection.get_interrupt_handle());
        Stopper { watch: Arc::clone(self), handle }
    }

    pub(super) fn begin(&self, watched: Watched) {
        let mut state = self.lock();
        state.number += 1;
        state.ended = None;
        state.running = Some(Running { watched, begun: Instant::now(), since: None });
        self.on.store(true, Ordering::Relaxed);
    }

    /// The running statement writes: it ends at this deadline, and for nothing else.
    pub(super) fn writes_until(&self, deadline: Instant) {
        if let Some(running) = &mut self.lock().running {
            running.watched.deadline = deadline;
            running.watched.ends_early = false;
        }
    }

    /// Why it was ended, if it was.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.lock().ended
    }

    pub(super) fn end(&self) {
        self.on.store(false, Ordering::Relaxed);
        if let Some(running) = self.lock().running.take() {
            running.watched.budget.take_sql(running.took());
            if running.watched.gives_way {
                // A thread that may not is not used again; see `threads`.
                threads::speed_up();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Over for Watch {
    /// Whether the running statement, if it is a guest's, has to end.
    fn is_over(&self) -> bool {
        if !self.on.load(Ordering::Relaxed) {
            return false;
        }
        if memory::is_overdrawn() {
            self.lock().ended.get_or_insert(Ended::Memory);
            return true;
        }
        let time = coarse_time();
        if self.looked.swap(time, Ordering::Relaxed) == time {
            return false;
        }
        let mut state = self.lock();
        let State { running: Some(running), ended, .. } = &mut *state else { return false };
        *ended = ended.or_else(|| running.end());
        ended.is_some()
    }
}

impl Running {
    fn end(&mut self) -> Option<Ended> {
        if self.since.is_none() {
            let before = self.begun.elapsed().min(LONGEST_UNSEEN);
            self.since = Some((thread_time(), before));
        }
        let took = self.took();
        let Watched { deadline, budget, gone, ends_early, gives_way } = &self.watched;
        if *gives_way && took > PATIENCE {
            threads::slow_down();
        }
        if Instant::now() >= *deadline {
            return Some(Ended::Deadline);
        }
        if !ends_early {
            return None;
        }
        if budget.is_over() || gone.as_ref().is_some_and(|gone| gone.load(Ordering::Relaxed)) {
            return Some(Ended::Over);
        }
        budget.left().is_none_or(|left| took > left).then(|| Ended::Cpu(budget.limit()))
    }

    /// The time that it had on a processor.
    fn took(&self) -> Duration {
        match self.since {
            None => self.begun.elapsed().min(LONGEST_UNSEEN),
            Some((since, before)) => before + thread_time().saturating_sub(since),
        }
    }
}

impl Stopper {
    /// The number of the statement that runs.
    pub(in crate::state) fn running(&self) -> u64 {
        self.watch.lock().number
    }

    /// Ends the statement of that number if it is still running, and no other.
    pub(in crate::state) fn stop(&self, number: u64) {
        // Held, so that the statement does not end and one of the host's begin meanwhile.
        let state = self.watch.lock();
        if state.number == number && state.running.is_some() {
            self.handle.interrupt();
        }
    }
}

/// Nanoseconds, some milliseconds exact.
fn coarse_time() -> u64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds
        .wrapping_mul(1_000_000_000)
        .wrapping_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}
