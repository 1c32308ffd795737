//! Where a guest and the host's driver meet: the transaction while the guest
//! works in it, and the answer once the guest hands it over.
//!
//! The guest's store is inside the future that runs it, so the driver cannot
//! look into it; it looks here after each poll.

mod departing;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use http::Response;
use tokio::sync::oneshot;

use super::answer::AnswerBody;
use super::calls::Lineage;
use super::handlers::types::Failure;
use super::outside::{Outside, RequestKeys};
use super::replay::ReplayBody;
use crate::state::{Budget, Store, Transaction};

pub(crate) use departing::Departing;

/// One invocation's meeting place. Clones are the same place.
#[derive(Clone)]
pub(crate) struct Exchange {
    state: Arc<Mutex<State>>,
    body: ReplayBody,
}

/// What is invoked.
pub(crate) enum Occasion {
    /// A request, with the keys of the requests that it may send, and what it hands on to
    /// those that it calls, where it may call any.
    Request(RequestKeys, Option<Box<Lineage>>),
    /// A delivery, with the same.
    Delivery(RequestKeys, Option<Box<Lineage>>),
    /// A call by another service, with the same; `is_read_only`: it may not write.
    Function { keys: RequestKeys, lineage: Option<Box<Lineage>>, is_read_only: bool },
    /// A candidate's health path, which nothing must notice.
    Probe,
}

/// Why an invocation may not commit before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommitRefused {
    #[error(
        "a delivery is not committed before its end: its effect would be there without the note \
         that the event is done; publish an event for the rest instead"
    )]
    Delivery,
    #[error("a call is not committed before its end: its effect would be there without its result")]
    Call,
    #[error("nothing is committed while a candidate is asked for its health")]
    Probe,
}

struct State {
    transaction: Option<Transaction>,
    answer: Option<Answer>,
    lease_request: Option<LeaseRequest>,
    answered: bool,
    committed: bool,
    /// Who waits for news of a guest that is polled elsewhere.
    waiting: Option<Waker>,
    /// Whether an explicit commit met a conflict.
    commit_conflicted: bool,
    /// Whether the answer left with writes that may not be durable yet.
    answered_writes: bool,
    /// Where a guest that has answered may still read; `None` before that, and when it is over.
    place: Option<(Arc<Store>, Budget)>,
    /// Whether what it wrote is on its way to the disk, and who waits until it is there.
    is_committing: bool,
    readers: Vec<Waker>,
    /// Its outgoing requests; `None` for a probe.
    outside: Option<Outside>,
    commit_refused: Option<CommitRefused>,
    /// What it hands on to those that it calls; `None` where it calls none.
    lineage: Option<Box<Lineage>>,
    /// Whether it may not write.
    is_read_only: bool,
}

/// A guest that is to go on leased: its transaction so far, and where it waits
/// for the leased one.
pub(crate) struct LeaseRequest {
    pub(crate) transaction: Transaction,
    pub(crate) grant: oneshot::Sender<Transaction>,
}

/// What the guest handed over, at the commit point.
pub(crate) struct Answer {
    pub(crate) given: Given,
    /// The invocation's transaction; `None` only where the answer came while a
    /// call into the store was under way, which no guest can bring about.
    pub(crate) transaction: Option<Transaction>,
}

/// What the guest said.
pub(crate) enum Given {
    /// The response, or the name of the `wasi:http` error the guest chose.
    Response(Result<Response<AnswerBody>, String>),
    /// Whether it handled the event.
    Verdict(Result<(), Failure>),
    /// The result of a call, and whether that says that it failed.
    Returned { result: Bytes, is_err: bool },
}

/// The answer already left; nothing can be read or written in its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered;

/// Why nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwritable {
    #[error("answered: the answer already left, nothing can be written")]
    Answered,
    #[error(
        "this call only reads, as its caller has uncommitted writes, which may still be undone: \
         the caller is to call before it writes, or to commit first, or to publish an event"
    )]
    ReadOnly,
}

impl From<Answered> for Unwritable {
    fn from(_: Answered) -> Self {
        Self::Answered
    }
}

/// The transaction, taken out for one call into the store; goes back when dropped.
pub(crate) struct Held {
    exchange: Exchange,
    transaction: Option<Transaction>,
    /// Whether it is for reading alone, after the answer.
    is_late: bool,
}

impl Exchange {
    pub(crate) fn new(transaction: Transaction, body: ReplayBody, occasion: Occasion) -> Self {
        let mut may_only_read = false;
        let (keys, lineage, commit_refused) = match occasion {
            Occasion::Request(keys, lineage) => (Some(keys), lineage, None),
            Occasion::Delivery(keys, lineage) => {
                (Some(keys), lineage, Some(CommitRefused::Delivery))
            }
            Occasion::Function { keys, lineage, is_read_only } => {
                may_only_read = is_read_only;
                (Some(keys), lineage, Some(CommitRefused::Call))
            }
            Occasion::Probe => (None, None, Some(CommitRefused::Probe)),
        };
        let state = State {
            transaction: Some(transaction),
            answer: None,
            lease_request: None,
            answered: false,
            committed: false,
            waiting: None,
            commit_conflicted: false,
            answered_writes: false,
            place: None,
            is_committing: false,
            readers: Vec::new(),
            outside: keys.map(Outside::new),
            commit_refused,
            lineage,
            is_read_only: may_only_read,
        };
        Self { state: Arc::new(Mutex::new(state)), body }
    }

    /// The transaction, for one call into the store.
    pub(crate) fn hold(&self) -> Result<Held, Answered> {
        self.lend(&mut self.lock())
    }

    /// The same for one call that writes.
    pub(crate) fn hold_to_write(&self) -> Result<Held, Unwritable> {
        let mut state = self.lock();
        if state.is_read_only {
            return Err(Unwritable::ReadOnly);
        }
        Ok(self.lend(&mut state)?)
    }

    fn lend(&self, state: &mut State) -> Result<Held, Answered> {
        let transaction = state.transaction.take().ok_or(Answered)?;
        Ok(Held { exchange: self.clone(), transaction: Some(transaction), is_late: false })
    }

    /// Whether it may write at all.
    pub(crate) fn may_write(&self) -> Result<(), Unwritable> {
        if self.lock().is_read_only { Err(Unwritable::ReadOnly) } else { Ok(()) }
    }

    /// After the answer: another transaction, for one call that only reads. It sees what is
    /// committed, with all that this invocation wrote.
    pub(crate) async fn hold_late(self) -> Result<Held, Answered> {
        self.committed().await;
        let (store, budget) = self.lock().place.clone().ok_or(Answered)?;
        let mut transaction = store.begin();
        transaction.count_against(&budget);
        Ok(Held { exchange: self, transaction: Some(transaction), is_late: true })
    }

    /// Whether it has answered, and its transaction has writes.
    pub(crate) fn answers_with_writes(&self) -> bool {
        let state = self.lock();
        let answer = state.answer.as_ref();
        answer.and_then(|answer| answer.transaction.as_ref()).is_some_and(Transaction::has_writes)
    }

    /// Gives back the reader of the transaction that it answered with.
    pub(crate) fn reads_no_more(&self) {
        let mut state = self.lock();
        let transaction = state.answer.as_mut().and_then(|answer| answer.transaction.as_mut());
        if let Some(transaction) = transaction {
            transaction.reads_no_more();
        }
    }

    /// Whether what it answered with is on its way to the disk.
    pub(crate) fn is_committing(&self) -> bool {
        self.lock().is_committing
    }

    /// Waits until nothing that it wrote is on its way to the disk.
    pub(crate) async fn committed(&self) {
        poll_fn(|context| {
            let mut state = self.lock();
            if !state.is_committing {
                return Poll::Ready(());
            }
            state.readers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Notes that what it wrote has come to the disk, or goes there only when all of its answer
    /// is here: then nobody waits for it.
    pub(crate) fn note_committed_answer(&self) {
        let mut state = self.lock();
        state.is_committing = false;
        let readers = std::mem::take(&mut state.readers);
        drop(state);
        readers.into_iter().for_each(Waker::wake);
    }

    /// Whoever waits for that to be known leaves: the guest reads nothing any more.
    pub(crate) fn give_up_reading(&self) {
        let mut state = self.lock();
        if !state.is_committing {
            return;
        }
        state.place = None;
        drop(state);
        self.note_committed_answer();
    }

    /// Notes that what it answered with is on disk: nothing of it can be undone.
    pub(crate) fn note_durable(&self) {
        self.lock().answered_writes = false;
    }

    /// The commit point: from here on the guest writes nothing.
    pub(crate) fn answer(&self, given: Given) {
        let mut state = self.lock();
        if state.answered {
            return;
        }
        state.answered = true;
        let transaction = state.transaction.take();
        state.place = transaction.as_ref().map(Transaction::place);
        let has_writes = transaction.as_ref().is_some_and(Transaction::has_writes);
        state.is_committing = has_writes && matches!(given, Given::Response(Ok(_)));
        // That an event is done is a write, too.
        state.answered_writes = matches!(given, Given::Verdict(_) | Given::Returned { .. })
            || transaction.as_ref().is_none_or(Transaction::has_writes);
        state.answer = Some(Answer { given, transaction });
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Wakes the driver once when there is an answer, or when it is told so.
    pub(crate) fn wake_on_news(&self, driver: &Waker) {
        let mut state = self.lock();
        match &mut state.waiting {
            Some(waiting) => waiting.clone_from(driver),
            waiting => *waiting = Some(driver.clone()),
        }
    }

    /// Wakes the driver.
    pub(crate) fn tell(&self) {
        let waiting = self.lock().waiting.take();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Whether the guest waits for the writer lease.
    pub(crate) fn wants_lease(&self) -> bool {
        self.lock().lease_request.is_some()
    }

    /// Whether there is an answer.
    pub(crate) fn has_answer(&self) -> bool {
        self.lock().answer.is_some()
    }

    /// The answer, once.
    pub(crate) fn take_answer(&self) -> Option<Answer> {
        self.lock().answer.take()
    }

    /// The guest's wish to go on leased, once.
    pub(crate) fn take_lease_request(&self) -> Option<LeaseRequest> {
        self.lock().lease_request.take()
    }

    /// Drops whatever is left: undoes the transaction, gives its lease back, and
    /// gives its outgoing requests up.
    pub(crate) fn clear(&self) {
        let (left, over) = {
            let mut state = self.lock();
            state.answered = true;
            state.place = None;
            state.is_committing = false;
            // What was sent is still to be known: it decides about another run.
            let over = state.outside.as_mut().and_then(Outside::end);
            ((state.transaction.take(), state.answer.take(), state.lease_request.take()), over)
        };
        // Dropped after the lock: undoing a transaction takes other locks.
        drop(left);
        if let Some(over) = over {
            over.cancel();
        }
    }

    /// Whether the guest may commit before its end.
    pub(crate) fn may_commit(&self) -> Result<(), CommitRefused> {
        self.lock().commit_refused.map_or(Ok(()), Err)
    }

    /// Whether it is a delivery.
    pub(crate) fn is_delivery(&self) -> bool {
        self.lock().commit_refused == Some(CommitRefused::Delivery)
    }

    /// Notes that the guest begins to commit something.
    pub(crate) fn note_committing(&self) {
        if let Some(outside) = &self.lock().outside {
            outside.keys().note_committing();
        }
    }

    /// Notes how that ended. Once it committed it is never run again.
    pub(crate) fn note_commit(&self, committed: bool) {
        let mut state = self.lock();
        state.committed |= committed;
        if let Some(outside) = &state.outside {
            outside.keys().note_commit(committed);
        }
    }

    /// Notes that an explicit commit met a conflict.
    pub(crate) fn note_commit_conflict(&self) {
        self.lock().commit_conflicted = true;
    }

    /// Whether the invocation may run again: nothing outside was told, and its
    /// body is still there from the start.
    pub(crate) fn may_run_again(&self) -> bool {
        let state = self.lock();
        let told = state.outside.as_ref().is_some_and(Outside::was_told);
        !state.committed && !told && self.body.is_replayable()
    }

    /// Whether a run like this one needs requests that a leased one may not send:
    /// it sent some, or it committed in order to.
    pub(crate) fn needs_requests(&self) -> bool {
        let state = self.lock();
        state.commit_conflicted || state.outside.as_ref().is_some_and(Outside::was_asked)
    }

    pub(crate) fn has_committed(&self) -> bool {
        self.lock().committed
    }

    /// The request's body.
    pub(crate) fn body(&self) -> &ReplayBody {
        &self.body
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    pub(crate) fn transaction(&mut self) -> &mut Transaction {
        self.transaction.as_mut().expect("held until dropped")
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Whether the answer has left.
    pub(crate) fn is_late(&self) -> bool {
        self.is_late
    }

    /// Waits until the driver has moved this run to the store's writer. `None`
    /// when the run is over instead.
    pub(crate) async fn lease(&mut self) -> Option<()> {
        let (grant, granted) = oneshot::channel();
        let transaction = self.transaction.take()?;
        self.exchange.lock().lease_request = Some(LeaseRequest { transaction, grant });
        self.transaction = granted.await.ok();
        self.transaction.is_some().then_some(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.exchange.lock();
        // After `clear` the transaction must not come back to life.
        if state.answered || self.is_late {
            drop(state);
            self.transaction = None;
        } else {
            state.transaction = self.transaction.take();
        }
    }
}
