//! A thread of its own for what blocks: a file blocks for as long as the disk, or another process
//! that has it, lets it wait. Whoever wants something of it hands that over to the thread, and
//! waits for the answer, but not for ever; what blocks then is this one thread, however many
//! ask.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

use tokio::sync::{oneshot, watch};

use crate::deadline::{self, Late};

/// As much may wait for the thread; what nobody waits for any more counts until it comes to it.
pub(crate) const MAX_QUEUED: usize = 256;

/// Asks the thread that keeps a `K`.
#[derive(Debug)]
pub(crate) struct Keeper<K> {
    /// None once it is closed.
    jobs: Mutex<Option<SyncSender<Job<K>>>>,
    /// How long it is waited for.
    patience: Duration,
    /// Of the thread, which has the other end.
    running: watch::Receiver<()>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// Nothing of it was done.
    #[error("it did not come to it within {0:?}")]
    Late(Duration),
    /// The same.
    #[error("as much waits for it as may ({MAX_QUEUED})")]
    Full,
    /// The thread is over, or panicked at it.
    #[error("it gave no answer")]
    Gone,
}

/// What is asked for.
struct Job<K> {
    /// Nobody can give it up any more once this is sent; it is not begun where this cannot be.
    begun: oneshot::Sender<()>,
    work: Box<dyn FnOnce(&K) + Send>,
}

/// Whoever asked has this.
struct Asked<T> {
    begun: oneshot::Receiver<()>,
    answer: oneshot::Receiver<T>,
}

impl<K: Send + 'static> Keeper<K> {
    /// Gives it to a thread of this name, which ends when this is closed or dropped.
    pub(crate) fn start(name: &'static str, kept: K, patience: Duration) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(MAX_QUEUED);
        let (ends, running) = watch::channel(());
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            run(&kept, &queue);
            drop(kept);
            drop(ends);
        })?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), patience, running })
    }

    /// What `read` finds, if it does in time.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&K) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let asked = self.ask(read)?;
        match deadline::within(self.patience, asked.answer).await {
            Ok(answer) => answer.map_err(|_| Unanswered::Gone),
            // If it has not begun it never will.
            Err(Late) => Err(Unanswered::Late(self.patience)),
        }
    }

    /// What `change` comes to. It is begun in time or not at all; one that was begun comes to
    /// its end, whoever waits, and that is waited for however long it takes.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&K) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let Asked { mut begun, answer } = self.ask(change)?;
        if let Err(Late) = deadline::within(self.patience, &mut begun).await {
            // The thread may come to it at this very moment: one of the two is first.
            begun.close();
            if begun.try_recv().is_err() {
                return Err(Unanswered::Late(self.patience));
            }
        }
        answer.await.map_err(|_| Unanswered::Gone)
    }

    /// Returns when all that was asked for is done and the thread has ended. Nothing more is
    /// done.
    pub(crate) async fn close(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        // Nothing is ever sent: what ends is the sender.
        _ = self.running.clone().changed().await;
    }

    /// Whether its thread still runs.
    pub(crate) fn is_open(&self) -> bool {
        self.running.has_changed().is_ok()
    }

    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&K) -> T + Send + 'static,
    ) -> Result<Asked<T>, Unanswered> {
        let (begins, begun) = oneshot::channel();
        let (answers, answer) = oneshot::channel();
        let work = Box::new(move |kept: &K| {
            // Who asked may be gone.
            _ = answers.send(work(kept));
        });
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.as_ref().ok_or(Unanswered::Gone)?;
        match jobs.try_send(Job { begun: begins, work }) {
            Ok(()) => Ok(Asked { begun, answer }),
            Err(TrySendError::Full(_)) => Err(Unanswered::Full),
            Err(TrySendError::Disconnected(_)) => Err(Unanswered::Gone),
        }
    }
}

/// Does what is asked for, in its order, for as long as someone may ask.
fn run<K>(kept: &K, queue: &Receiver<Job<K>>) {
    for Job { begun, work } in queue {
        if begun.send(()).is_err() {
            continue;
        }
        // Whoever waits notices that there is no answer.
        _ = catch_unwind(AssertUnwindSafe(|| work(kept)));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};

    use tokio::task::JoinHandle;

    use super::*;

    /// Nothing here takes as long.
    const LONG: Duration = Duration::from_secs(60);

    /// Has the thread busy until what is returned is dropped.
    async fn hold_up(keeper: &Arc<Keeper<Cell<u32>>>) -> (Sender<()>, JoinHandle<()>) {
        let (holds, held) = channel::<()>();
        let (begins, begun) = oneshot::channel();
        let keeper = Arc::clone(keeper);
        let held = tokio::spawn(async move {
            let work = move |_: &Cell<u32>| {
                _ = begins.send(());
                _ = held.recv();
            };
            keeper.change(work).await.expect("in the end");
        });
        begun.await.expect("it begins");
        (holds, held)
    }

    fn keeper(patience: Duration) -> Arc<Keeper<Cell<u32>>> {
        Arc::new(Keeper::start("test", Cell::new(0), patience).expect("a thread"))
    }

    fn add(kept: &Cell<u32>) -> u32 {
        kept.set(kept.get() + 1);
        kept.get()
    }

    #[tokio::test]
    async fn what_is_not_begun_in_time_is_never_begun_and_what_was_comes_to_its_end() {
        let keeper = keeper(Duration::from_millis(10));
        let (holds, held) = hold_up(&keeper).await;
        let late = Err(Unanswered::Late(Duration::from_millis(10)));
        assert_eq!((keeper.change(add).await, keeper.read(add).await), (late, late));
        assert!(!held.is_finished(), "it was begun");
        drop(holds);
        held.await.expect("it comes to its end");
        assert_eq!(keeper.change(add).await, Ok(1), "the others never began");
    }

    #[tokio::test]
    async fn who_asks_while_as_much_waits_as_may_is_told_so_at_once() {
        let keeper = keeper(LONG);
        let (holds, held) = hold_up(&keeper).await;
        let waiting: Vec<_> = (0..MAX_QUEUED).map(|_| keeper.ask(add).expect("room")).collect();
        assert_eq!(keeper.read(add).await, Err(Unanswered::Full));
        // Those who no longer wait have asked for nothing.
        drop(waiting);
        drop(holds);
        held.await.expect("it comes to its end");
        keeper.close().await;
        assert!(!keeper.is_open());
        assert_eq!(keeper.read(add).await, Err(Unanswered::Gone));
    }

    #[tokio::test]
    async fn a_panic_is_the_end_of_what_panicked_alone() {
        let keeper = keeper(LONG);
        let panics = keeper.change(|_| assert_eq!(1, 2, "a test wants it"));
        assert_eq!(panics.await, Err(Unanswered::Gone));
        assert_eq!(keeper.change(add).await, Ok(1));
    }
}
