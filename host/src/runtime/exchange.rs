//! Where a guest and the host's driver meet: the transaction while the guest
//! works in it, and the answer once the guest hands it over.
//!
//! The guest's store is inside the future that runs it, so the driver cannot
//! look into it; it looks here after each poll.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use http::Response;
use tokio::sync::oneshot;
use wasmtime_wasi_http::WasiBody;

use super::replay::ReplayBody;
use crate::state::Transaction;

/// One invocation's meeting place. Clones are the same place.
#[derive(Clone)]
pub(super) struct Exchange {
    state: Arc<Mutex<State>>,
    body: ReplayBody,
}

struct State {
    transaction: Option<Transaction>,
    answer: Option<Answer>,
    lease_request: Option<LeaseRequest>,
    answered: bool,
    committed: bool,
    /// Who waits for news of a guest that is polled elsewhere.
    waiting: Option<Waker>,
}

/// A guest that is to go on leased: its transaction so far, and where it waits
/// for the leased one.
pub(super) struct LeaseRequest {
    pub(super) transaction: Transaction,
    pub(super) grant: oneshot::Sender<Transaction>,
}

/// What the guest handed over, at the commit point.
pub(super) struct Answer {
    /// The response, or the name of the `wasi:http` error the guest chose.
    pub(super) response: Result<Response<WasiBody>, String>,
    /// The invocation's transaction; `None` only where the answer came while a
    /// call into the store was under way, which no guest can bring about.
    pub(super) transaction: Option<Transaction>,
}

/// The answer already left; nothing can be read or written in its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered;

/// The transaction, taken out for one call into the store; goes back when dropped.
pub(super) struct Held {
    exchange: Exchange,
    transaction: Option<Transaction>,
}

impl Exchange {
    pub(super) fn new(transaction: Transaction, body: ReplayBody) -> Self {
        let state = State {
            transaction: Some(transaction),
            answer: None,
            lease_request: None,
            answered: false,
            committed: false,
            waiting: None,
        };
        Self { state: Arc::new(Mutex::new(state)), body }
    }

    /// The transaction, for one call into the store.
    pub(super) fn hold(&self) -> Result<Held, Answered> {
        let transaction = self.lock().transaction.take().ok_or(Answered)?;
        Ok(Held { exchange: self.clone(), transaction: Some(transaction) })
    }

    /// The commit point: from here on the guest writes nothing.
    pub(super) fn answer(&self, response: Result<Response<WasiBody>, String>) {
        let mut state = self.lock();
        if state.answered {
            return;
        }
        state.answered = true;
        let transaction = state.transaction.take();
        state.answer = Some(Answer { response, transaction });
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Wakes the driver once when there is an answer, or when it is told so.
    pub(super) fn wake_on_news(&self, driver: &Waker) {
        let mut state = self.lock();
        match &mut state.waiting {
            Some(waiting) => waiting.clone_from(driver),
            waiting => *waiting = Some(driver.clone()),
        }
    }

    /// Wakes the driver.
    pub(super) fn tell(&self) {
        let waiting = self.lock().waiting.take();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Whether the guest waits for the writer lease.
    pub(super) fn wants_lease(&self) -> bool {
        self.lock().lease_request.is_some()
    }

    /// The answer, once.
    pub(super) fn take_answer(&self) -> Option<Answer> {
        self.lock().answer.take()
    }

    /// The guest's wish to go on leased, once.
    pub(super) fn take_lease_request(&self) -> Option<LeaseRequest> {
        self.lock().lease_request.take()
    }

    /// Drops whatever is left: undoes the transaction and gives its lease back.
    pub(super) fn clear(&self) {
        let left = {
            let mut state = self.lock();
            state.answered = true;
            (state.transaction.take(), state.answer.take(), state.lease_request.take())
        };
        // Dropped after the lock: undoing a transaction takes other locks.
        drop(left);
    }

    /// Notes that the guest committed explicitly: it is never run again.
    pub(super) fn note_commit(&self) {
        self.lock().committed = true;
    }

    /// Whether the invocation may run again: nothing outside was told, and its
    /// body is still there from the start.
    pub(super) fn may_run_again(&self) -> bool {
        !self.lock().committed && self.body.is_replayable()
    }

    pub(super) fn has_committed(&self) -> bool {
        self.lock().committed
    }

    /// The request's body.
    pub(super) fn body(&self) -> &ReplayBody {
        &self.body
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    pub(super) fn transaction(&mut self) -> &mut Transaction {
        self.transaction.as_mut().expect("held until dropped")
    }

    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Waits until the driver has moved this run to the store's writer. `None`
    /// when the run is over instead.
    pub(super) async fn lease(&mut self) -> Option<()> {
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
        if state.answered {
            drop(state);
            self.transaction = None;
        } else {
            state.transaction = self.transaction.take();
        }
    }
}
