//! Threads on which SQLite may take its time.
//!
//! They are the host's own and not those that tokio keeps for whoever blocks. Each store
//! has at most one turn of its writer and [`StoreOptions::max_reading`] statements on
//! them at once, so none takes another's; they are made when they are needed, and
//! as many at most as the pool says: what comes then waits in its order.
//!
//! [`StoreOptions::max_reading`]: super::options::StoreOptions::max_reading

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a thread waits for work before it ends.
const KEEP: Duration = Duration::from_secs(10);

/// How much nicer than the host's others a thread is on which a guest, or its SQL, computes for
/// long. Where all processors are wanted by others such threads have a tenth of each (sched(7): a
/// weight of 110 beside 1024): at 19, with 15, whoever had little left to do got to it after its
/// deadline.
pub(crate) const NICER: i32 = 10;

/// For statements that read: with the default of four a store, 128 stores can have all of
/// theirs at once.
pub(super) static READING: LazyLock<Pool> = LazyLock::new(|| Pool::new("sql-reading", 512));

/// For the writers' turns, one a store at most. A turn takes as long as a lease or a sync.
pub(super) static WRITING: LazyLock<Pool> = LazyLock::new(|| Pool::new("store-writing", 512));

thread_local! {
    /// The niceness that a thread which is slowed down had before.
    static SLOWED: Cell<Option<i32>> = const { Cell::new(None) };
    static SPOILED: Cell<bool> = const { Cell::new(false) };
}

type Work = Box<dyn FnOnce() + Send>;

/// Threads that are made when there is work for them.
pub(super) struct Pool {
    name: &'static str,
    max: usize,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    threads: usize,
    idle: usize,
}

impl Pool {
    fn new(name: &'static str, max: usize) -> Self {
        Self { name, max, state: Mutex::default(), news: Condvar::new() }
    }

    /// Has it done by one of the threads. Work that the system has no thread for, and no other
    /// thread will come to, is dropped.
    pub(super) fn spawn(&'static self, work: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        state.waiting.push_back(Box::new(work));
        if state.idle >= state.waiting.len() {
            drop(state);
            self.news.notify_one();
        } else if state.threads < self.max {
            state.threads += 1;
            drop(state);
            self.start();
        }
    }

    fn start(&'static self) {
        let started = thread::Builder::new().name(self.name.to_owned()).spawn(|| self.run());
        if let Err(error) = started {
            tracing::error!(pool = self.name, %error, "a thread could not be started");
            drop(self.not_started());
        }
    }

    /// A thread is not there: what waits and no other comes to.
    fn not_started(&self) -> VecDeque<Work> {
        let mut state = self.lock();
        state.threads -= 1;
        if state.threads == 0 { std::mem::take(&mut state.waiting) } else { VecDeque::new() }
    }

    fn run(&'static self) {
        while let Some(work) = self.next() {
            // Whoever waits for it notices that it never replied.
            let _ = catch_unwind(AssertUnwindSafe(work));
            if !speed_up() {
                // It may not be preferred again: another takes its place.
                let start = {
                    let mut state = self.lock();
                    let start = !state.waiting.is_empty();
                    state.threads -= usize::from(!start);
                    start
                };
                if start {
                    self.start();
                }
                return;
            }
        }
    }

    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.waiting.pop_front() {
                return Some(work);
            }
            state.idle += 1;
            let (woken, waited) =
                self.news.wait_timeout(state, KEEP).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.waiting.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the system prefer other threads to this one.
pub(super) fn slow_down() {
    if SLOWED.get().is_some() {
        return;
    }
    // On Linux both are of one thread.
    let slowed = rustix::process::getpriority_process(None).and_then(|before| {
        SLOWED.set(Some(before));
        rustix::process::setpriority_process(None, before + NICER)
    });
    if let Err(error) = slowed {
        tracing::debug!(%error, "a thread's priority could not be lowered");
    }
}

/// Takes that back. False where this thread is not allowed to.
pub(super) fn speed_up() -> bool {
    if let Some(before) = SLOWED.take() {
        SPOILED.set(rustix::process::setpriority_process(None, before).is_err());
    }
    !SPOILED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_thread_that_is_not_there_is_dropped() {
        let pool = Pool::new("test", 2);
        let held = std::sync::Arc::new(());
        for _ in 0..2 {
            let held = std::sync::Arc::clone(&held);
            pool.lock().waiting.push_back(Box::new(move || drop(held)));
        }
        pool.lock().threads = 2;
        assert_eq!(pool.not_started().len(), 0, "the other comes to it");
        assert_eq!(pool.not_started().len(), 2);
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
    }
}
