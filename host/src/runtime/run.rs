//! One run of a guest: the future that holds its instance, polled under a CPU
//! budget until the guest hands over its answer, and on to its end; on the slow
//! lane from where it computes for long.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Notify;

use super::call::{Call, call};
use super::exchange::{Exchange, LeaseRequest};
use super::instance::Instance;
use super::lane::{Meter, SlowTask};
use super::pool::Pool;
use crate::state::Budget;

/// A guest at work.
pub(crate) struct Running {
    place: Place,
    meter: Meter,
    budget: Budget,
    exchange: Exchange,
    body_sent: Arc<Notify>,
    pool: Pool,
    /// Whether it stays where it is polled: it holds the writer, and others wait.
    stays: bool,
    /// Whether it is to be on the slow lane from the start.
    goes_apart: bool,
}

/// A guest's call, which ends, too, where the host panics in it: that ends one invocation, and
/// not the thread, the connection or the group of whoever polls it.
struct Work(Pin<Box<dyn Future<Output = Ended> + Send>>);

/// Where a guest's call is.
enum Place {
    Here(Work),
    /// On the slow lane, with its meter.
    Away(SlowTask<Return>),
    /// It ended.
    Nowhere,
}

/// What comes back from the slow lane.
enum Return {
    Ended(Ended),
    /// A guest whose budget is used up, or one that wants the writer lease, which
    /// nobody holds on the slow lane. It is not ended there: that would end its
    /// answer's body before anyone could say that it is cut off.
    Back(Work, Meter),
}

/// A guest whose call returned, with all its post-return work.
pub(crate) struct Ended {
    /// Its instance; `None` where none could be made.
    pub(super) instance: Option<Box<Instance>>,
    pub(crate) result: wasmtime::Result<()>,
}

/// How far a guest came.
pub(crate) enum Step {
    /// It handed over its answer, see [`Exchange::take_answer`]; its call may have ended, too.
    Answered(Option<Ended>),
    /// It wants to go on with the writer lease.
    WantsLease(LeaseRequest),
    /// Its call ended without an answer.
    Ended(Ended),
    /// It used its CPU budget up.
    OverBudget,
    /// The client sent more than the service takes.
    BodyTooLarge,
}

/// The CPU budget is used up.
pub(crate) struct OverBudget;

/// The host panicked while the guest called it: what the guest is ended by.
#[derive(Debug, thiserror::Error)]
#[error("the host panicked: {0}")]
pub(crate) struct Panicked(String);

impl Running {
    /// Starts a call of `pool`'s program.
    pub(crate) fn start(pool: &Pool, what: Call, exchange: Exchange, budget: &Budget) -> Self {
        let body_sent = Arc::default();
        let work = call(pool.clone(), what, exchange.clone(), Arc::clone(&body_sent));
        Self::new(pool, Work(Box::pin(work)), exchange, budget, body_sent)
    }

    /// Starts to take an instance, which runs the guest's start functions where
    /// it is a new one.
    pub(crate) fn warm(pool: &Pool, exchange: Exchange, budget: &Budget) -> Self {
        let pool_of_call = pool.clone();
        let work = Work(Box::pin(async move {
            match pool_of_call.take().await {
                Ok(instance) => Ended { instance: Some(instance), result: Ok(()) },
                Err(error) => Ended { instance: None, result: Err(error) },
            }
        }));
        Self::new(pool, work, exchange, budget, Arc::default())
    }

    fn new(
        pool: &Pool,
        work: Work,
        exchange: Exchange,
        budget: &Budget,
        body_sent: Arc<Notify>,
    ) -> Self {
        Self {
            place: Place::Here(work),
            meter: Meter::new(budget.clone()),
            budget: budget.clone(),
            exchange,
            body_sent,
            pool: pool.clone(),
            stays: false,
            goes_apart: pool.goes_apart(),
        }
    }

    /// Where it meets the host.
    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// What it may take of a processor.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Where its instance is from.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// From here on it stays on the thread that polls it, or does no longer.
    pub(crate) fn stay(&mut self, stays: bool) {
        self.stays = stays;
    }

    /// To be notified when the answer's body was sent or given up. Nobody but the guest's call
    /// waits for it.
    pub(crate) fn body_sent(&self) -> Arc<Notify> {
        Arc::clone(&self.body_sent)
    }

    /// Runs it until its answer, or its end without one.
    pub(crate) async fn until_answer(&mut self) -> Step {
        poll_fn(|context| {
            let polled = self.poll(context);
            if self.exchange.has_answer() {
                return Poll::Ready(match polled {
                    Poll::Ready(Ok(ended)) => Step::Answered(Some(ended)),
                    Poll::Ready(Err(OverBudget)) => Step::OverBudget,
                    Poll::Pending => Step::Answered(None),
                });
            }
            match polled {
                Poll::Ready(Ok(ended)) => Poll::Ready(Step::Ended(ended)),
                Poll::Ready(Err(OverBudget)) => Poll::Ready(Step::OverBudget),
                Poll::Pending => match self.lease_request() {
                    Some(request) => Poll::Ready(Step::WantsLease(request)),
                    None if self.exchange.body().is_too_large() => Poll::Ready(Step::BodyTooLarge),
                    None => Poll::Pending,
                },
            }
        })
        .await
    }

    /// What it wants to write with; not before the slow lane has handed it back, as it is the
    /// writer's thread that goes on with it.
    fn lease_request(&self) -> Option<LeaseRequest> {
        let is_away = matches!(self.place, Place::Away(_));
        if is_away { None } else { self.exchange.take_lease_request() }
    }

    /// Polls the guest, here or on the slow lane.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Ended, OverBudget>> {
        loop {
            match &mut self.place {
                Place::Here(_) if self.goes_apart && !self.stays => {
                    self.goes_apart = false;
                    self.hand_over();
                }
                Place::Here(work) => {
                    if let Poll::Ready(ended) = self.meter.poll(work, context) {
                        self.place = Place::Nowhere;
                        return Poll::Ready(Ok(ended));
                    }
                    if self.meter.is_used_up() {
                        return Poll::Ready(Err(OverBudget));
                    }
                    if self.stays || !self.meter.computes_long() || self.exchange.wants_lease() {
                        return Poll::Pending;
                    }
                    self.hand_over();
                }
                Place::Away(task) => {
                    // Before it is looked at, so that no news is missed.
                    self.exchange.wake_on_news(context.waker());
                    match std::task::ready!(Pin::new(task).poll(context)) {
                        Return::Ended(ended) => {
                            self.place = Place::Nowhere;
                            return Poll::Ready(Ok(ended));
                        }
                        Return::Back(work, meter) => {
                            self.place = Place::Here(work);
                            self.meter = meter;
                            if self.meter.is_used_up() {
                                return Poll::Ready(Err(OverBudget));
                            }
                            return Poll::Pending;
                        }
                    }
                }
                Place::Nowhere => return Poll::Pending,
            }
        }
    }

    /// Moves the guest to the slow lane.
    fn hand_over(&mut self) {
        let Place::Here(mut work) = std::mem::replace(&mut self.place, Place::Nowhere) else {
            return;
        };
        let mut meter = std::mem::take(&mut self.meter);
        let exchange = self.exchange.clone();
        self.pool.note_slowed();
        self.place = Place::Away(self.pool.runtime().slow_lane().spawn(async move {
            let ended = poll_fn(|context| match meter.poll(&mut work, context) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending if meter.is_used_up() || exchange.wants_lease() => Poll::Ready(None),
                Poll::Pending => {
                    if exchange.body().is_too_large() {
                        exchange.tell();
                    }
                    Poll::Pending
                }
            });
            match ended.await {
                Some(ended) => Return::Ended(ended),
                None => Return::Back(work, meter),
            }
        }));
    }
}

impl Future for Work {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        // What the panic left is in the call, and dropped with it: nobody polls it again.
        let polled = catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context)));
        polled.unwrap_or_else(|panic| Poll::Ready(panicked(&*panic)))
    }
}

#[cold]
fn panicked(panic: &(dyn Any + Send)) -> Ended {
    let error = Panicked(words(panic).to_owned());
    Ended { instance: None, result: Err(error.into()) }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<&str>().copied();
    words.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its SQL, too, may still run elsewhere.
        self.budget.end();
        // The future holds the guest's memory; the transaction may be here or there.
        self.exchange.clear();
    }
}

impl Ended {
    /// Gives a whole instance back to its pool; what it was ended by otherwise.
    pub(crate) fn settle(self, pool: &Pool) -> wasmtime::Result<()> {
        self.result?;
        if let Some(instance) = self.instance {
            pool.give_back(instance);
        }
        Ok(())
    }

    /// Keeps an instance that was only made ready.
    pub(crate) fn keep(self, pool: &Pool) -> wasmtime::Result<()> {
        self.result?;
        if let Some(instance) = self.instance {
            pool.keep(instance);
        }
        Ok(())
    }
}
