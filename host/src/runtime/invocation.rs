//! An invocation: one request, one transaction, as many runs of the guest as
//! the transaction needs.
//!
//! The first run is optimistic. Where another invocation committed something
//! that this one had read, it runs again, leased: alone on the store's writer.
//! Where others waited too long for it, it runs once more, first and alone.
//! (DESIGN §6.)

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http::request::Parts;
use tokio::time::{Instant, timeout_at};
use wasmtime::PoolConcurrencyLimitError;

use super::exchange::{Answer, Exchange, LeaseRequest};
use super::failure::Failure;
use super::idempotent::{self, Claimed, Keyed};
use super::imports::Abort;
use super::limits::LimitReached;
use super::outside::RequestKeys;
use super::pool::Pool;
use super::replay::ReplayBody;
use super::respond::{AnswerBody, read_whole, respond};
use super::response::ResponseBody;
use super::run::{Ended, Running, Step};
use crate::digest::Digest;
use crate::manifest::Limits;
use crate::service::{Lease, Permit, ServiceMetrics};
use crate::state::{self, Committed, Rerun, Store, Transaction};

/// How often an invocation that sends requests is run before it is given up: it
/// cannot be run leased, where no other could make it conflict again.
const MAX_OPTIMISTIC_RUNS: usize = 4;

/// Everything one invocation holds while it runs.
pub struct Invocation {
    /// Its hold on the version that runs it.
    pub lease: Lease,
    /// Its right to run.
    pub permit: Permit,
    /// The service's store.
    pub store: Arc<Store>,
    /// The service's counters.
    pub metrics: Arc<ServiceMetrics>,
    /// The request's head; its URI has scheme and authority.
    pub head: Parts,
    /// The request's body.
    pub body: ReplayBody,
    /// The scope of the request's idempotency key, if it has one.
    pub key: Option<Digest>,
}

/// Why a run gave no answer.
enum Unanswered {
    Rerun(Mode),
    Failed(Failure),
}

/// A run's validated answer.
pub(super) struct Validated {
    pub(super) running: Running,
    pub(super) ended: Option<Ended>,
    pub(super) response: Response<AnswerBody>,
    pub(super) committed: Committed,
}

/// What a run comes to.
enum Outcome {
    Answered(Validated),
    /// An earlier request with its key was answered, perhaps in the open group:
    /// what this one gets once that is durable.
    Repeated(Result<Response<ResponseBody>, Failure>, Committed),
}

/// How the guest is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// In a snapshot; with the writer lease from its first SQL write on.
    Optimistic {
        /// Whether it is then the first of its group.
        alone: bool,
    },
    /// With the writer lease from the start.
    Leased {
        /// Whether it is the first of its group.
        alone: bool,
    },
}

/// Runs the invocation, or finds the answer that is kept under its key. Returns
/// the response when everything that it depends on is durable; its body may
/// still be coming from the guest.
///
/// Dropping the future ends the guest, undoes its transaction and gives every
/// hold back.
///
/// # Errors
/// When there is no answer. Nothing was written then, except what the guest
/// committed explicitly.
pub async fn invoke(invocation: Invocation) -> Result<Response<ResponseBody>, Failure> {
    let version = Arc::clone(invocation.lease.version());
    tokio::select! {
        biased;
        result = answer(invocation) => result,
        () = version.ended() => Err(Failure::Drained),
    }
}

async fn answer(invocation: Invocation) -> Result<Response<ResponseBody>, Failure> {
    let limits = invocation.lease.version().manifest.limits.clone();
    let deadline = Instant::now() + limits.deadline;
    let late = || Failure::Deadline(limits.deadline);
    // Given up when this returns, or with the answer's commit: before a client
    // that has its answer can repeat its request.
    let keyed = match invocation.key {
        None => None,
        Some(scope) => {
            // Boxed, so that requests without a key don't carry it.
            let claimed = Box::pin(idempotent::claim(&invocation, scope, &limits));
            match timeout_at(deadline, claimed).await.unwrap_or_else(|_| Err(late()))? {
                Claimed::First(keyed) => Some(keyed),
                Claimed::Repeat(response) => return Ok(response),
            }
        }
    };
    let keys = RequestKeys::default();
    let mut mode = Mode::Optimistic { alone: false };
    let mut optimistic_runs = 0;
    let outcome = loop {
        if matches!(mode, Mode::Optimistic { .. }) {
            if optimistic_runs == MAX_OPTIMISTIC_RUNS {
                return Err(Failure::Conflict);
            }
            optimistic_runs += 1;
        }
        let timely = timeout_at(deadline, run(&invocation, &limits, keyed.as_ref(), mode, &keys));
        match timely.await.unwrap_or_else(|_| Err(Unanswered::Failed(late()))) {
            Ok(outcome) => break outcome,
            Err(Unanswered::Failed(failure)) => return Err(failure),
            Err(Unanswered::Rerun(rerun)) => {
                tracing::debug!(version = %invocation.lease.version().id, ?rerun, "running again");
                invocation.metrics.count_rerun();
                mode = rerun;
            }
        }
    };
    let (response, committed) = match outcome {
        Outcome::Answered(validated) => {
            let (response, committed) = respond(invocation, validated, &limits, deadline).await;
            (Ok(response), committed)
        }
        Outcome::Repeated(response, committed) => (response, committed),
    };
    // The output gate: nothing of the answer leaves before the commit is durable.
    match timeout_at(deadline, committed.durable()).await {
        Ok(Ok(())) => response,
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(late()),
    }
}

/// One run of the guest, up to the validation of its transaction.
async fn run(
    invocation: &Invocation,
    limits: &Limits,
    keyed: Option<&Keyed>,
    mode: Mode,
    keys: &RequestKeys,
) -> Result<Outcome, Unanswered> {
    let store = &invocation.store;
    let start = Start::of(invocation, limits, keys);
    let alone = match mode {
        Mode::Leased { alone } => alone,
        Mode::Optimistic { alone } => {
            let (running, exchange) = start.with(store.begin());
            let validated = optimistic(store, running, exchange, limits, alone, keyed).await?;
            return Ok(Outcome::Answered(validated));
        }
    };
    // Nobody waits for a client while holding the writer.
    if invocation.body.buffer().await.is_err() || !invocation.body.is_replayable() {
        return Err(Unanswered::Failed(Failure::Conflict));
    }
    let (limits, keyed) = (limits.clone(), keyed.cloned());
    let leased = store.lease(alone, None, move |mut transaction| async move {
        // Whoever was first may have been answered since, in this very group.
        if let Some(keyed) = &keyed
            && let Some(kept) = transaction.kept_answer(&keyed.claim).await?
        {
            return Ok(Outcome::Repeated(keyed.repeat(kept), transaction.finish().await?));
        }
        let (running, exchange) = start.with(transaction);
        let validated = to_validation(running, &exchange, &limits, keyed.as_ref()).await?;
        Ok(Outcome::Answered(validated))
    });
    leased.await.unwrap_or_else(|error| Err(error.into()))
}

/// Runs optimistically; goes on with the writer lease, on the writer's thread,
/// where the guest wants to write by SQL.
async fn optimistic(
    store: &Arc<Store>,
    mut running: Running,
    exchange: Exchange,
    limits: &Limits,
    alone: bool,
    keyed: Option<&Keyed>,
) -> Result<Validated, Unanswered> {
    let LeaseRequest { transaction, grant } = match running.until_answer().await {
        Step::WantsLease(request) => request,
        step => return conclude(running, step, &exchange, limits, keyed).await,
    };
    let (limits, keyed) = (limits.clone(), keyed.cloned());
    let met = exchange.clone();
    let leased = store.lease(alone, Some(transaction), move |transaction| async move {
        // The guest waits for it, inside the future that is polled next.
        drop(grant.send(transaction));
        to_validation(running, &met, &limits, keyed.as_ref()).await
    });
    leased.await.unwrap_or_else(|error| Err(interrupted(error, &exchange)))
}

async fn to_validation(
    mut running: Running,
    exchange: &Exchange,
    limits: &Limits,
    keyed: Option<&Keyed>,
) -> Result<Validated, Unanswered> {
    // Others wait for the writer that it holds.
    running.stay(true);
    let step = running.until_answer().await;
    let mut validated = conclude(running, step, exchange, limits, keyed).await?;
    validated.running.stay(false);
    Ok(validated)
}

/// Ends the transaction of a guest that answered: at its answer's head, or at
/// the end of the answer where that is kept.
async fn conclude(
    mut running: Running,
    step: Step,
    exchange: &Exchange,
    limits: &Limits,
    keyed: Option<&Keyed>,
) -> Result<Validated, Unanswered> {
    let failed = |failure| Err(Unanswered::Failed(failure));
    let (answer, mut ended) = match step {
        Step::Answered(answer, ended) => (answer, ended),
        Step::Ended(ended) => return Err(unanswered(ended, exchange, limits)),
        Step::OverBudget => return failed(Failure::OutOfCpu(limits.cpu)),
        Step::BodyTooLarge => return failed(Failure::BodyTooLarge(limits.request_body)),
        Step::WantsLease(_) => return failed(Failure::Store("it is leased already".to_owned())),
    };
    let Answer { response, transaction } = answer;
    // Whatever the guest made of its body's end: it was the client who sent too much.
    if exchange.body().is_too_large() {
        return failed(Failure::BodyTooLarge(limits.request_body));
    }
    let response = response.map_err(|code| Unanswered::Failed(Failure::ErrorCode(code)))?;
    let Some(mut transaction) = transaction else {
        return failed(Failure::Trapped("it answered while it used its store".to_owned()));
    };
    let (head, body) = response.into_parts();
    let body = match keyed {
        None => AnswerBody::Coming(body),
        Some(keyed) => {
            let limit = keyed.answer_limit;
            let frames = Box::pin(read_whole(&mut running, &mut ended, body, limit)).await;
            if let Some(trapped) = ended.take_if(|ended| ended.result.is_err()) {
                return Err(unanswered(trapped, exchange, limits));
            }
            let frames = frames.map_err(|unreadable| unreadable.failure(limits));
            let frames = frames.map_err(Unanswered::Failed)?;
            keyed.keep(&mut transaction, &head, &frames).map_err(Unanswered::Failed)?;
            AnswerBody::Whole(frames)
        }
    };
    let response = Response::from_parts(head, body);
    let finished = transaction.finish().await;
    let committed = finished.map_err(|error| interrupted(error, exchange))?;
    Ok(Validated { running, ended, response, committed })
}

/// What a run needs to start, independent of the invocation's own life.
struct Start {
    pool: Pool,
    head: Parts,
    body: ReplayBody,
    keys: RequestKeys,
    cpu: Duration,
}

impl Start {
    fn of(invocation: &Invocation, limits: &Limits, keys: &RequestKeys) -> Self {
        Self {
            pool: invocation.lease.version().pool.clone(),
            head: invocation.head.clone(),
            body: invocation.body.clone(),
            keys: keys.clone(),
            cpu: limits.cpu,
        }
    }

    fn with(self, transaction: Transaction) -> (Running, Exchange) {
        let exchange = Exchange::new(transaction, self.body, Some(self.keys));
        (Running::start(&self.pool, self.head, exchange.clone(), self.cpu), exchange)
    }
}

/// What a call that ended without an answer means.
fn unanswered(ended: Ended, exchange: &Exchange, limits: &Limits) -> Unanswered {
    let Err(error) = ended.result else {
        return Unanswered::Failed(Failure::NoAnswer);
    };
    let error = match error.downcast::<Abort>() {
        Ok(Abort(error)) => return interrupted(error, exchange),
        Err(error) => error,
    };
    // The client's fault, not the guest's, where its body was cut off.
    if exchange.body().is_too_large() {
        return Unanswered::Failed(Failure::BodyTooLarge(limits.request_body));
    }
    let reason = format!("{error:#}");
    Unanswered::Failed(match error.downcast_ref() {
        Some(&LimitReached(limit)) => Failure::OverLimit { limit, reason },
        None if error.is::<PoolConcurrencyLimitError>() => Failure::NoRoom(reason),
        None => Failure::Trapped(reason),
    })
}

/// What the store's refusal to go on means for the invocation.
fn interrupted(error: state::Error, exchange: &Exchange) -> Unanswered {
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
