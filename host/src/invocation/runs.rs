//! An invocation's runs: as many as its transaction needs.
//!
//! The first run is optimistic. Where another invocation committed something
//! that this one had read, it runs again, leased: alone on the store's writer.
//! Where others waited too long for it, it runs once more, first and alone.
//!
//! One that takes longer than it may hold the writer runs again as it ran first, but in a line
//! with others of its kind, so that they do not beat each other for ever.
//! (docs/ARCHITECTURE.md, walk 1.)

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::PoolConcurrencyLimitError;

use super::bounds::Bounds;
use super::failure::Failure;
use crate::deadline::unless;
use crate::manifest::Limits;
use crate::runtime::calls::Lineage;
use crate::runtime::{
    Abort, Answer, Call, Ended, Exchange, Fault, Given, LeaseRequest, LimitReached, NoMemory,
    Occasion, OverShare, Panicked, ReplayBody, RequestKeys, Running, Servable, Step, TooMuchHeld,
    words,
};
use crate::service::{ServiceMetrics, Version};
use crate::state::{self, Budget, Fate, Rerun, Store, Transaction, Turn};

/// How often an invocation that sends requests is run before it is given up: it
/// cannot be run leased, where no other could make it conflict again.
const MAX_OPTIMISTIC_RUNS: usize = 4;

/// What is run: a request, a delivery or a call.
pub(super) trait Work: Send + Sync + 'static {
    /// What a run comes to when its transaction has ended.
    type Outcome: Send + 'static;

    /// What the guest is called with.
    fn call(&self, servable: Servable) -> Call;

    /// What kind of invocation it is.
    fn occasion(&self, keys: RequestKeys, lineage: Option<Box<Lineage>>) -> Occasion;

    /// What those have of it that it calls; its time is over at `deadline`.
    fn lineage(&self, deadline: Instant) -> Lineage;

    /// The request's body; a delivery has an empty one.
    fn body(&self) -> &ReplayBody;

    /// Looks, with the writer lease, whether there is anything left to run for.
    fn before_lease(
        &self,
        transaction: Transaction,
    ) -> impl Future<Output = Result<Before<Self::Outcome>, Unanswered>> + Send;

    /// Ends the transaction of a guest that answered.
    fn conclude(
        &self,
        answered: Answered,
        fate: &Fate,
        limits: &Limits,
    ) -> impl Future<Output = Result<Self::Outcome, Unanswered>> + Send;
}

/// What is known before a leased run.
pub(super) enum Before<O> {
    /// It is to be run.
    Run(Transaction),
    /// It need not be.
    Done(O),
}

/// A guest that answered and whose transaction is still open.
pub(super) struct Answered {
    pub(super) running: Running,
    /// Where its call has returned, too.
    pub(super) ended: Option<Ended>,
    pub(super) given: Given,
    pub(super) transaction: Transaction,
}

/// Why a run gave no answer.
pub(super) enum Unanswered {
    Rerun(Mode),
    Failed(Failure),
}

/// How the guest is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// In a snapshot; with the writer lease from its first SQL write on.
    Optimistic {
        /// Whether it is then the first of its group.
        alone: bool,
    },
    /// The same, in its turn among those that take long; then the first of its group.
    InLine,
    /// With the writer lease from the start.
    Leased {
        /// Whether it is the first of its group.
        alone: bool,
    },
}

impl Mode {
    /// How an invocation is run to begin with.
    pub(super) const FIRST: Self = Self::Optimistic { alone: false };

    /// The same where the run before took so long that it would not end within the time of a
    /// lease; one that somebody in a hurry beat in the line gets as much of that as there is.
    fn after(self, before: Self, took: Duration, lease_timeout: Duration) -> Self {
        let long = if before == Self::InLine { lease_timeout } else { lease_timeout / 2 };
        if took > long { Self::InLine } else { self }
    }

    /// How it is run once another's statement undid it.
    pub(super) const UNDONE: Self = Self::Leased { alone: true };
}

/// What all runs of an invocation share.
pub(super) struct Runs<W> {
    pub(super) version: Arc<Version>,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<ServiceMetrics>,
    pub(super) keys: RequestKeys,
    /// When its time is over.
    pub(super) deadline: Instant,
    /// Whether its transaction is its own yet, or the store's.
    pub(super) fate: Fate,
    pub(super) work: W,
}

impl<W: Work> Runs<W> {
    /// Runs the guest until a run's transaction is validated, or it is over.
    ///
    /// # Errors
    /// When it is not validated, and never will be: a transaction that the writer has
    /// is waited for, whatever ends meanwhile.
    pub(super) async fn outcome(
        self: &Arc<Self>,
        mut mode: Mode,
        bounds: &Bounds<'_>,
    ) -> Result<W::Outcome, Failure> {
        self.fate.reopen();
        let mut optimistic_runs = 0;
        let (mut turn, mut runs_in_line) = (None, 0);
        loop {
            if mode == Mode::InLine {
                if runs_in_line == MAX_OPTIMISTIC_RUNS {
                    return Err(Failure::Conflict);
                }
                runs_in_line += 1;
                if turn.is_none() {
                    turn = Some(bounds.within(self.store.line()).await?);
                }
            }
            if matches!(mode, Mode::Optimistic { .. }) {
                if optimistic_runs == MAX_OPTIMISTIC_RUNS {
                    return Err(Failure::Conflict);
                }
                optimistic_runs += 1;
            }
            let begun = Instant::now();
            // Pinned here and lent: moved, it would be copied whole at each request.
            let mut run = std::pin::pin!(self.run(mode, &mut turn));
            let (came_to, over) = match unless(run.as_mut(), || bounds.over()).await {
                Ok(came_to) => (came_to, None),
                Err(failure) if self.fate.withdraw() => return Err(failure),
                Err(failure) => (run.await, Some(failure)),
            };
            match (came_to, over) {
                (Ok(outcome), _) => return Ok(outcome),
                (Err(Unanswered::Failed(Failure::LeaseExpired)), None)
                    if self.may_line_up(mode) && runs_in_line < MAX_OPTIMISTIC_RUNS =>
                {
                    self.metrics.count_rerun();
                    mode = Mode::InLine;
                }
                (Err(Unanswered::Failed(failure)), _)
                | (Err(Unanswered::Rerun(_)), Some(failure)) => return Err(failure),
                (Err(Unanswered::Rerun(rerun)), None) => {
                    tracing::debug!(version = %self.version.id, ?rerun, "running again");
                    self.metrics.count_rerun();
                    mode = rerun.after(mode, begun.elapsed(), self.store.lease_timeout());
                }
            }
        }
    }

    fn limits(&self) -> &Limits {
        &self.version.manifest.limits
    }

    /// Whether a run that had the lease from its start and took longer may be run in line.
    fn may_line_up(&self, mode: Mode) -> bool {
        matches!(mode, Mode::Leased { .. }) && !self.keys.has_effects()
    }

    /// One run of the guest, up to the validation of its transaction.
    async fn run(
        self: &Arc<Self>,
        mode: Mode,
        turn: &mut Option<Turn>,
    ) -> Result<W::Outcome, Unanswered> {
        let alone = match mode {
            Mode::Leased { alone } => alone,
            Mode::Optimistic { alone } => return self.optimistic(alone, turn).await,
            Mode::InLine => return self.optimistic(true, turn).await,
        };
        let body = self.work.body();
        // Nobody waits for a client while holding the writer.
        if body.buffer().await.is_err() || !body.is_replayable() {
            return Err(Unanswered::Failed(Failure::Conflict));
        }
        let this = Arc::clone(self);
        let leased = self.store.lease(alone, None, move |transaction| async move {
            match this.work.before_lease(transaction).await? {
                Before::Done(outcome) => Ok(outcome),
                Before::Run(transaction) => this.to_validation(this.start(transaction)).await,
            }
        });
        Box::pin(leased).await.unwrap_or_else(|error| Err(error.into()))
    }

    /// Runs optimistically; goes on with the writer lease, on the writer's
    /// thread, where the guest wants to write by SQL.
    ///
    /// One that took long waits behind those in the line before its transaction ends: whoever has
    /// its turn there took as long, and could never end before others who come and come. It keeps
    /// the turn that it gets, for its next run.
    async fn optimistic(
        self: &Arc<Self>,
        alone: bool,
        turn: &mut Option<Turn>,
    ) -> Result<W::Outcome, Unanswered> {
        let begun = Instant::now();
        let mut running = self.start(self.store.begin());
        let mut step = running.until_answer().await;
        let writes = match &step {
            Step::Answered(_) => running.exchange().answers_with_writes(),
            step => matches!(step, Step::WantsLease(_)),
        };
        if writes && turn.is_none() && begun.elapsed() > self.store.lease_timeout() / 2 {
            // Whoever has its turn there may have to wait for those that read.
            match &mut step {
                Step::WantsLease(request) => request.transaction.reads_no_more(),
                _ => running.exchange().reads_no_more(),
            }
            *turn = self.store.behind_the_line().await;
        }
        match step {
            // Boxed, so that those who don't write by SQL don't carry it.
            Step::WantsLease(request) => Box::pin(self.go_on_leased(running, request, alone)).await,
            step => self.conclude(running, step).await,
        }
    }

    /// Gives a guest the writer lease that it wants.
    pub(super) async fn go_on_leased(
        self: &Arc<Self>,
        running: Running,
        LeaseRequest { transaction, grant }: LeaseRequest,
        alone: bool,
    ) -> Result<W::Outcome, Unanswered> {
        let exchange = running.exchange().clone();
        let this = Arc::clone(self);
        let leased =
            self.store.lease(alone, Some(transaction), move |mut transaction| async move {
                transaction.count_against(running.budget());
                // The guest waits for it, inside the future that is polled next.
                drop(grant.send(transaction));
                this.to_validation(running).await
            });
        leased.await.unwrap_or_else(|error| Err(interrupted(error, &exchange)))
    }

    async fn to_validation(&self, mut running: Running) -> Result<W::Outcome, Unanswered> {
        // Others wait for the writer that it holds.
        running.stay(true);
        let step = running.until_answer().await;
        self.conclude(running, step).await
    }

    /// Ends the transaction of a guest that answered.
    pub(super) async fn conclude(
        &self,
        running: Running,
        step: Step,
    ) -> Result<W::Outcome, Unanswered> {
        let limits = self.limits();
        let failed = |failure| Err(Unanswered::Failed(failure));
        let ended = match step {
            Step::Answered(ended) => ended,
            Step::Ended(ended) => return Err(unanswered(ended, running.exchange())),
            Step::OverBudget => return failed(Failure::OutOfCpu(limits.cpu)),
            Step::BodyTooLarge => return failed(Failure::BodyTooLarge(limits.request_body)),
            Step::WantsLease(_) => {
                return failed(Failure::Store("it is leased already".to_owned()));
            }
        };
        let Some(Answer { given, transaction }) = running.exchange().take_answer() else {
            return failed(Failure::NoAnswer);
        };
        // Whatever the guest made of its body's end: it was the client who sent too much.
        // One that broke off may have been enough for it.
        let body = running.exchange().body();
        if body.fault().is_some_and(|fault| fault != Fault::BrokeOff)
            && let Some(failure) = Failure::of_client(body, limits)
        {
            return failed(failure);
        }
        let Some(transaction) = transaction else {
            return failed(Failure::Trapped("it answered while it used its store".to_owned()));
        };
        let answered = Answered { running, ended, given, transaction };
        self.work.conclude(answered, &self.fate, limits).await
    }

    pub(super) fn start(&self, mut transaction: Transaction) -> Running {
        let budget = Budget::new(self.limits().cpu);
        transaction.count_against(&budget);
        // Most call nobody, and have nothing to hand on.
        let calls = self.version.calls();
        let lineage = calls.then(|| {
            let lineage = self.work.lineage(self.deadline);
            Box::new(lineage.through(&self.version.id.service))
        });
        let occasion = self.work.occasion(self.keys.clone(), lineage);
        let exchange = Exchange::new(transaction, self.work.body().clone(), occasion);
        let pool = &self.version.pool;
        Running::start(pool, self.work.call(pool.servable()), exchange, &budget)
    }
}

/// What a call that ended without an answer means.
pub(super) fn unanswered(ended: Ended, exchange: &Exchange) -> Unanswered {
    let Err(error) = ended.result else {
        return Unanswered::Failed(Failure::NoAnswer);
    };
    let error = match error.downcast::<Abort>() {
        Ok(Abort(error)) => return interrupted(error, exchange),
        Err(error) => error,
    };
    if error.is::<Panicked>() {
        return Unanswered::Failed(Failure::Panicked(error.to_string()));
    }
    let reason = words(&error);
    Unanswered::Failed(match error.downcast_ref() {
        Some(&LimitReached(limit)) => Failure::OverLimit { limit, reason },
        None if is_no_room(&error) => Failure::NoRoom(reason),
        None => Failure::Trapped(reason),
    })
}

/// Whether the host has as much as it can of what the guest wanted.
fn is_no_room(error: &wasmtime::Error) -> bool {
    let for_all = matches!(error.downcast_ref(), Some(TooMuchHeld::ForAll { .. }));
    for_all
        || error.is::<NoMemory>()
        || error.is::<PoolConcurrencyLimitError>()
        || error.is::<OverShare>()
}

/// What the store's refusal to go on means for the invocation.
pub(super) fn interrupted(error: state::Error, exchange: &Exchange) -> Unanswered {
    match error {
        state::Error::Rerun(rerun) if exchange.may_run_again() => {
            let alone = rerun == Rerun::Alone;
            // A leased run could not send the requests that this one did.
            Unanswered::Rerun(if exchange.needs_requests() {
                Mode::Optimistic { alone }
            } else {
                Mode::Leased { alone }
            })
        }
        state::Error::Rerun(_) => Unanswered::Failed(Failure::Conflict),
        error => Unanswered::Failed(error.into()),
    }
}

/// Of a run that did not begin.
impl From<state::Error> for Unanswered {
    fn from(error: state::Error) -> Self {
        match error {
            state::Error::Rerun(rerun) => {
                Self::Rerun(Mode::Leased { alone: rerun == Rerun::Alone })
            }
            error => Self::Failed(error.into()),
        }
    }
}
