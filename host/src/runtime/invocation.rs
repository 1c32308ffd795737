//! An invocation: one request, one transaction, as many runs of the guest as
//! the transaction needs.
//!
//! The first run is optimistic. Where another invocation committed something
//! that this one had read, it runs again, leased: alone on the store's writer.
//! Where others waited too long for it, it runs once more, first and alone.
//! (DESIGN §6.)

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body::Frame;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::exchange::{Answer, Exchange, LeaseRequest};
use super::imports::Abort;
use super::outside::RequestKeys;
use super::pool::Pool;
use super::replay::ReplayBody;
use super::response::{GuestBody, ResponseBody};
use super::run::{Ended, Running, Step};
use crate::manifest::Limits;
use crate::service::{Lease, Permit};
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
    /// The request's head; its URI has scheme and authority.
    pub head: Parts,
    /// The request's body.
    pub body: ReplayBody,
}

/// Why an invocation has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The guest trapped or exited.
    #[error("the service failed: {0}")]
    Trapped(String),
    /// The guest wanted more memory than its limit and trapped.
    #[error("the service failed at its memory limit of {limit} bytes: {reason}")]
    OutOfMemory {
        /// `[limits] memory`.
        limit: u64,
        /// The trap.
        reason: String,
    },
    /// The guest computed for longer than it may.
    #[error("the service used its CPU time of {0:?} up")]
    OutOfCpu(Duration),
    /// The answer did not come in time.
    #[error("the service did not answer within {0:?}")]
    Deadline(Duration),
    /// The handler returned without an answer.
    #[error("the service returned without an answer")]
    NoAnswer,
    /// The handler answered with an error of `wasi:http`.
    #[error("the service answered with the error {0}")]
    ErrorCode(String),
    /// The request's body is larger than the service takes.
    #[error("the request's body is larger than {0} bytes")]
    BodyTooLarge(u64),
    /// Its version was replaced and the time to finish is over.
    #[error("the service's version was replaced and its drain is over")]
    Drained,
    /// Others changed what it had read, and it cannot run again.
    #[error("the request conflicts with others and cannot be run again")]
    Conflict,
    /// It held the store's writer for too long.
    #[error("the service held its store's writer for longer than it may")]
    LeaseExpired,
    /// The store cannot take more.
    #[error("the service's store is full")]
    StoreFull,
    /// The store failed.
    #[error("the service's store failed: {0}")]
    Store(String),
}

/// Why a run gave no answer.
enum Unanswered {
    Rerun(Mode),
    Failed(Failure),
}

/// A run's validated answer.
struct Validated {
    running: Running,
    ended: Option<Ended>,
    response: Response<wasmtime_wasi_http::WasiBody>,
    committed: Committed,
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

/// Runs the invocation. Returns the response when everything that it depends on
/// is durable; its body may still be coming from the guest.
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
    let keys = RequestKeys::default();
    let mut mode = Mode::Optimistic { alone: false };
    let mut optimistic_runs = 0;
    let validated = loop {
        if matches!(mode, Mode::Optimistic { .. }) {
            if optimistic_runs == MAX_OPTIMISTIC_RUNS {
                return Err(Failure::Conflict);
            }
            optimistic_runs += 1;
        }
        let timely = timeout_at(deadline, run(&invocation, &limits, mode, &keys));
        match timely.await.unwrap_or(Err(Unanswered::Failed(Failure::Deadline(limits.deadline)))) {
            Ok(validated) => break validated,
            Err(Unanswered::Failed(failure)) => return Err(failure),
            Err(Unanswered::Rerun(rerun)) => {
                tracing::debug!(version = %invocation.lease.version().id, ?rerun, "running again");
                mode = rerun;
            }
        }
    };
    let (response, committed) = respond(invocation, validated, &limits, deadline).await;
    // The output gate: nothing of the answer leaves before the commit is durable.
    match timeout_at(deadline, committed.durable()).await {
        Ok(Ok(())) => Ok(response),
        Ok(Err(error)) => Err(store_failure(error)),
        Err(_) => Err(Failure::Deadline(limits.deadline)),
    }
}

/// One run of the guest, up to the validation of its transaction.
async fn run(
    invocation: &Invocation,
    limits: &Limits,
    mode: Mode,
    keys: &RequestKeys,
) -> Result<Validated, Unanswered> {
    let store = &invocation.store;
    let start = Start::of(invocation, limits, keys);
    let alone = match mode {
        Mode::Leased { alone } => alone,
        Mode::Optimistic { alone } => {
            let (running, exchange) = start.with(store.begin());
            return optimistic(store, running, exchange, limits, alone).await;
        }
    };
    // Nobody waits for a client while holding the writer.
    if invocation.body.buffer().await.is_err() || !invocation.body.is_replayable() {
        return Err(Unanswered::Failed(Failure::Conflict));
    }
    let limits = limits.clone();
    let leased = store.lease(alone, None, move |transaction| async move {
        let (running, exchange) = start.with(transaction);
        to_validation(running, &exchange, &limits).await
    });
    leased.await.unwrap_or_else(|error| {
        Err(match error {
            state::Error::Rerun(rerun) => {
                Unanswered::Rerun(Mode::Leased { alone: rerun == Rerun::Alone })
            }
            error => Unanswered::Failed(store_failure(error)),
        })
    })
}

/// Runs optimistically; goes on with the writer lease, on the writer's thread,
/// where the guest wants to write by SQL.
async fn optimistic(
    store: &Arc<Store>,
    mut running: Running,
    exchange: Exchange,
    limits: &Limits,
    alone: bool,
) -> Result<Validated, Unanswered> {
    let LeaseRequest { transaction, grant } = match running.until_answer().await {
        Step::WantsLease(request) => request,
        step => return conclude(running, step, &exchange, limits).await,
    };
    let limits = limits.clone();
    let met = exchange.clone();
    let leased = store.lease(alone, Some(transaction), move |transaction| async move {
        // The guest waits for it, inside the future that is polled next.
        drop(grant.send(transaction));
        to_validation(running, &met, &limits).await
    });
    leased.await.unwrap_or_else(|error| Err(interrupted(error, &exchange)))
}

async fn to_validation(
    mut running: Running,
    exchange: &Exchange,
    limits: &Limits,
) -> Result<Validated, Unanswered> {
    let step = running.until_answer().await;
    conclude(running, step, exchange, limits).await
}

/// Ends the transaction of a guest that answered.
async fn conclude(
    running: Running,
    step: Step,
    exchange: &Exchange,
    limits: &Limits,
) -> Result<Validated, Unanswered> {
    let failed = |failure| Err(Unanswered::Failed(failure));
    let (answer, ended) = match step {
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
    let Some(transaction) = transaction else {
        return failed(Failure::Trapped("it answered while it used its store".to_owned()));
    };
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

/// The response with as much of its body as the guest has made, and the rest
/// driven by a task of its own, if there is a rest.
async fn respond(
    invocation: Invocation,
    validated: Validated,
    limits: &Limits,
    deadline: Instant,
) -> (Response<ResponseBody>, Committed) {
    let Validated { mut running, mut ended, response, committed } = validated;
    let (parts, body) = response.into_parts();
    let mut body = GuestBody::new(body, running.body_sent());
    let mut frames = VecDeque::new();
    let whole = collect(&mut running, &mut ended, &mut body, &mut frames, limits).await;
    let body = match ended {
        Some(ended) => {
            let trapped = settle(ended, &invocation);
            if whole && !trapped {
                ResponseBody::finished(frames)
            } else {
                // The guest is gone and will not finish what it began.
                let aborted = Arc::new(AtomicBool::new(true));
                ResponseBody::streaming(frames, body, aborted, &CancellationToken::new())
            }
        }
        None => {
            let aborted = Arc::new(AtomicBool::new(false));
            let gone = CancellationToken::new();
            let streaming = ResponseBody::streaming(frames, body, Arc::clone(&aborted), &gone);
            tokio::spawn(drive(invocation, running, aborted, gone, deadline));
            streaming
        }
    };
    (Response::from_parts(parts, body), committed)
}

/// Takes what the guest makes of its body without waiting. Returns whether that
/// was all of it.
async fn collect(
    running: &mut Running,
    ended: &mut Option<Ended>,
    body: &mut GuestBody,
    frames: &mut VecDeque<Frame<Bytes>>,
    limits: &Limits,
) -> bool {
    let mut whole = false;
    let mut bytes = 0;
    poll_fn(|context| {
        loop {
            let mut progress = false;
            while !whole && bytes <= limits.response_buffer {
                match body.poll_frame(context) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(frame))) => {
                        bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                        frames.push_back(frame);
                    }
                    // An error is met again by whoever reads on.
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(()),
                    Poll::Ready(None) => whole = true,
                }
                progress = true;
            }
            if ended.is_none()
                && let Poll::Ready(Ok(end)) = running.poll(context)
            {
                *ended = Some(end);
                progress = true;
            }
            let enough = bytes > limits.response_buffer || (whole && ended.is_some());
            if enough || !progress {
                return Poll::Ready(());
            }
        }
    })
    .await;
    whole
}

/// Runs a guest on that has answered: its body, then what it does after it.
async fn drive(
    invocation: Invocation,
    mut running: Running,
    aborted: Arc<AtomicBool>,
    gone: CancellationToken,
    deadline: Instant,
) {
    let version = invocation.lease.version();
    let fate = tokio::select! {
        ended = poll_fn(|context| running.poll(context)) => match ended {
            Ok(ended) => {
                if ended.result.is_err() {
                    // Before the store is dropped, which ends the body.
                    aborted.store(true, Ordering::Release);
                }
                settle(ended, &invocation);
                return;
            }
            Err(_) => "it used its CPU time up",
        },
        () = tokio::time::sleep_until(deadline) => "its deadline passed",
        () = version.ended() => "its version's drain is over",
        () = gone.cancelled() => {
            tracing::debug!(version = %version.id, "the client left before the end of the answer");
            return;
        }
    };
    aborted.store(true, Ordering::Release);
    tracing::warn!(
        service = %version.id.service,
        version = version.id.number,
        "the invocation was ended after its answer had begun: {fate}"
    );
}

/// Gives the instance back, or logs what ended it. Returns whether it trapped.
fn settle(ended: Ended, invocation: &Invocation) -> bool {
    let version = invocation.lease.version();
    let Err(error) = ended.settle(&version.pool) else { return false };
    tracing::warn!(
        service = %version.id.service,
        version = version.id.number,
        "the service failed after its answer: {error:#}"
    );
    true
}

/// What a call that ended without an answer means.
fn unanswered(ended: Ended, exchange: &Exchange, limits: &Limits) -> Unanswered {
    let memory = ended.hit_memory_limit();
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
    Unanswered::Failed(if memory {
        Failure::OutOfMemory { limit: limits.memory, reason }
    } else {
        Failure::Trapped(reason)
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
        error => Unanswered::Failed(store_failure(error)),
    }
}

fn store_failure(error: state::Error) -> Failure {
    match error {
        state::Error::Rerun(_) => Failure::Conflict,
        state::Error::LeaseExpired => Failure::LeaseExpired,
        state::Error::Full => Failure::StoreFull,
        error => Failure::Store(error.to_string()),
    }
}
