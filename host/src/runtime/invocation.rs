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
use wasmtime::PoolConcurrencyLimitError;

use super::exchange::{Answer, Exchange, LeaseRequest};
use super::imports::Abort;
use super::limits::{Limit, LimitReached};
use super::pool::Pool;
use super::replay::ReplayBody;
use super::response::{GuestBody, ResponseBody};
use super::run::{Ended, Running, Step};
use crate::manifest::Limits;
use crate::service::{Lease, Permit};
use crate::state::{self, Committed, Rerun, Store, Transaction};

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
    /// The guest reached a limit of its instance and trapped.
    #[error("the service failed: {reason}")]
    OverLimit {
        /// Which.
        limit: Limit,
        /// The limit and the trap.
        reason: String,
    },
    /// The host has as many instances as it can hold.
    #[error("the host has no room for another instance: {0}")]
    NoRoom(String),
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
    Rerun(Rerun),
    Failed(Failure),
}

/// A run's validated answer.
struct Validated {
    running: Running,
    ended: Option<Ended>,
    response: Response<wasmtime_wasi_http::WasiBody>,
    committed: Committed,
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
    let mut mode = None;
    let validated = loop {
        let timely = timeout_at(deadline, run(&invocation, &limits, mode));
        match timely.await.unwrap_or(Err(Unanswered::Failed(Failure::Deadline(limits.deadline)))) {
            Ok(validated) => break validated,
            Err(Unanswered::Failed(failure)) => return Err(failure),
            Err(Unanswered::Rerun(rerun)) => {
                tracing::debug!(version = %invocation.lease.version().id, ?rerun, "running again");
                mode = Some(rerun);
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
    mode: Option<Rerun>,
) -> Result<Validated, Unanswered> {
    let store = &invocation.store;
    let start = Start::of(invocation, limits);
    let Some(rerun) = mode else {
        let (running, exchange) = start.with(store.begin());
        return optimistic(store, running, exchange, limits).await;
    };
    // Nobody waits for a client while holding the writer.
    if invocation.body.buffer().await.is_err() || !invocation.body.is_replayable() {
        return Err(Unanswered::Failed(Failure::Conflict));
    }
    let alone = matches!(rerun, Rerun::Alone);
    let limits = limits.clone();
    let leased = store.lease(alone, None, move |transaction| async move {
        let (running, exchange) = start.with(transaction);
        to_validation(running, &exchange, &limits).await
    });
    leased.await.unwrap_or_else(|error| {
        Err(match error {
            state::Error::Rerun(rerun) => Unanswered::Rerun(rerun),
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
) -> Result<Validated, Unanswered> {
    let LeaseRequest { transaction, grant } = match running.until_answer().await {
        Step::WantsLease(request) => request,
        step => return conclude(running, step, &exchange, limits).await,
    };
    let limits = limits.clone();
    let met = exchange.clone();
    let leased = store.lease(false, Some(transaction), move |transaction| async move {
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
    cpu: Duration,
}

impl Start {
    fn of(invocation: &Invocation, limits: &Limits) -> Self {
        Self {
            pool: invocation.lease.version().pool.clone(),
            head: invocation.head.clone(),
            body: invocation.body.clone(),
            cpu: limits.cpu,
        }
    }

    fn with(self, transaction: Transaction) -> (Running, Exchange) {
        let exchange = Exchange::new(transaction, self.body);
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
    let version = &invocation.lease.version().id;
    let mut body = GuestBody::new(body, running.body_sent(), version, limits.response_body);
    let mut frames = VecDeque::new();
    let whole = collect(&mut running, &mut ended, &mut body, &mut frames, limits).await;
    let body = match ended {
        Some(mut ended) => {
            if !whole {
                // Its handle on the body would keep the client waiting.
                ended.instance = None;
                if ended.result.is_ok() && !body.is_cut_off() {
                    log_left_open(&invocation);
                }
            }
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
            // What is there of it after its guest's end is a few chunks.
            while !whole && (bytes <= limits.response_buffer || ended.is_some()) {
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
            let enough = if ended.is_some() { whole } else { bytes > limits.response_buffer };
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
    let body_sent = running.body_sent();
    let end = async {
        let ended = poll_fn(|context| running.poll(context)).await;
        if let Ok(Ended { result: Ok(()), .. }) = &ended {
            // One that left its body open must not serve another meanwhile.
            body_sent.cancelled().await;
        }
        ended
    };
    let fate = tokio::select! {
        ended = end => match ended {
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

fn log_left_open(invocation: &Invocation) {
    let version = invocation.lease.version();
    tracing::warn!(
        service = %version.id.service,
        version = version.id.number,
        "the service returned before the end of its answer's body; it was cut off"
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
        state::Error::Rerun(rerun) if exchange.may_run_again() => Unanswered::Rerun(rerun),
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
