//! Where guests compute. An invocation begins on the runtime that serves its
//! connection; one that goes on computing is handed to the *slow lane*, a second
//! runtime whose threads the system prefers less, so that guests that spin
//! take from other services little more than those leave.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::engine::TICK;
use crate::state::{Budget, NICER};

/// How much a guest computes after it was first found computing, before it is
/// handed over. (A tick can come right after a guest began.) On a busy machine whoever is
/// handed over waits for long, so those stay who only do a little more than others: an
/// interpreter that collects its garbage, or the first call of a new instance.
const PATIENCE: Duration = Duration::from_millis(5);

/// What one poll can have taken at most before a tick ended it, and the host's
/// part in it. Whatever the wall clock says beyond that, other threads had.
const LONGEST_INEXACT_POLL: Duration = TICK.saturating_mul(2);

thread_local! {
    /// Whether a guest gave this thread back because of a tick.
    static YIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Called where a tick finds a guest computing, and where its host computes for it. Never
/// inlined: it is called on a guest's stack, which goes from thread to thread.
#[inline(never)]
pub(super) fn note_yield() {
    YIELDED.set(true);
}

/// The runtime for guests that compute for long.
pub(super) struct SlowLane {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// A task on the slow lane. Dropping it ends the task at its next tick.
pub(super) struct SlowTask<T> {
    task: JoinHandle<T>,
}

/// Counts the time that a guest computes, against a budget. That of its SQL is counted where
/// it is spent.
#[derive(Debug, Default)]
pub(super) struct Meter {
    budget: Budget,
    /// How much it computed since a tick found it computing.
    computing: Option<Duration>,
}

impl SlowLane {
    /// Starts as many threads as there are processors.
    pub(super) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("slow-lane")
            .on_thread_start(|| {
                // On Linux this is one thread's own.
                if let Err(error) = rustix::process::nice(NICER) {
                    tracing::warn!(%error, "the slow lane's priority could not be lowered");
                }
            })
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> SlowTask<T> {
        let runtime = self.runtime.as_ref().expect("there until it is dropped");
        SlowTask { task: runtime.spawn(work) }
    }
}

impl Drop for SlowLane {
    fn drop(&mut self) {
        // Where it is dropped nothing may wait for its threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<T> Future for SlowTask<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.task).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(output)) => Poll::Ready(output),
            Poll::Ready(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The host is going down and has ended what was left.
                Err(_) => Poll::Pending,
            },
        }
    }
}

impl<T> Drop for SlowTask<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Meter {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, computing: None }
    }

    /// Polls the guest and counts what it takes.
    pub(super) fn poll<F: Future + Unpin>(
        &mut self,
        guest: &mut F,
        context: &mut Context<'_>,
    ) -> Poll<F::Output> {
        YIELDED.set(false);
        let sql = self.budget.sql();
        let clock = Clock::start(self.computing.is_some());
        let polled = Pin::new(guest).poll(context);
        let took = clock.elapsed();
        let yielded = YIELDED.get();
        // One that holds the writer runs its SQL right here.
        let own = took.saturating_sub(self.budget.sql().saturating_sub(sql));
        self.budget.take(match clock {
            Clock::Wall(_) => own.min(LONGEST_INEXACT_POLL),
            Clock::Thread(_) => own,
        });
        self.computing = match self.computing {
            _ if !yielded => None,
            None => Some(Duration::ZERO),
            Some(before) => Some(before + took),
        };
        polled
    }

    /// Whether the budget is used up.
    pub(super) fn is_used_up(&self) -> bool {
        self.budget.is_used_up()
    }

    /// Whether the guest is one for the slow lane.
    pub(super) fn computes_long(&self) -> bool {
        self.computing.is_some_and(|computed| computed >= PATIENCE)
    }
}

/// A stop watch. The thread's own time is exact whatever else the machine does,
/// but asking for it is a system call, so it is asked for only of guests that
/// compute.
enum Clock {
    Wall(Instant),
    Thread(Duration),
}

impl Clock {
    fn start(exact: bool) -> Self {
        if exact { Self::Thread(thread_time()) } else { Self::Wall(Instant::now()) }
    }

    fn elapsed(&self) -> Duration {
        match self {
            Self::Wall(start) => start.elapsed(),
            Self::Thread(start) => thread_time().saturating_sub(*start),
        }
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

impl fmt::Debug for SlowLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowLane").finish_non_exhaustive()
    }
}
