//! An invocation by its stages, for who measures them.

use std::future::poll_fn;
use std::sync::Arc;

use http::Response;

use super::afterwards::Hold;
use super::bounds::Bounds;
use super::failure::Failure;
use super::request::{Invocation, Outcome, Request, Validated, durable};
use super::respond::respond;
use super::response::ResponseBody;
use super::runs::{Runs, Unanswered};
use crate::runtime::{Exchange, Occasion, ReplayBody, RequestKeys, Running, Step, words};
use crate::service::{Kind, Version};
use crate::state::{Budget, Fate, Store};

/// A stage of an invocation that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Into the guest and up to its answer's head; where there was no idle instance,
    /// one was made. A guest that wants to write by SQL is called up to there.
    Call,
    /// Its transaction, to the validation and from there to the disk; with it what
    /// is left of a guest that wrote by SQL.
    Commit,
    /// The answer's body, and what the guest does after it.
    Response,
}

/// Runs an invocation as [`invoke`](super::invoke) does, and tells what ended as it
/// goes; a stage may end more than once. Not for a request with an idempotency key.
///
/// # Errors
/// When there is no answer. One that would have to be run again has none, either:
/// nobody else invokes what is measured.
pub async fn invoke_in_stages(
    invocation: Invocation,
    mut ended: impl FnMut(Stage),
) -> Result<Response<ResponseBody>, Failure> {
    let Invocation { lease, permit, store, metrics, head, body, ticket, lineage, .. } = invocation;
    let version = Arc::clone(lease.version());
    let kind = Kind::Request;
    let hold = Hold { lease, permit: Some(permit), metrics: Arc::clone(&metrics), kind };
    let bounds = Bounds::from_now(&version);
    let runs = Arc::new(Runs {
        version: Arc::clone(&version),
        store: Arc::clone(&store),
        metrics,
        keys: RequestKeys::default(),
        deadline: bounds.deadline(),
        fate: Fate::default(),
        work: Request { head, body, keyed: None, ticket, lineage },
    });
    let mut running = runs.start(store.begin());
    let step = bounds.within(running.until_answer()).await?;
    ended(Stage::Call);
    let outcome = bounds.within(async {
        match step {
            Step::WantsLease(request) => Box::pin(runs.go_on_leased(running, request, false)).await,
            step => runs.conclude(running, step).await,
        }
    });
    let outcome = outcome.await?;
    ended(Stage::Commit);
    let validated = match outcome {
        Ok(Outcome::Answered(validated)) => *validated,
        Ok(Outcome::Repeated(_)) => return Err(Failure::NoAnswer),
        Err(Unanswered::Failed(failure)) => return Err(failure),
        Err(Unanswered::Rerun(_)) => return Err(Failure::Conflict),
    };
    let Validated { running, ended: guest, response, has_content, committed } = validated;
    let response = respond(hold, running, guest, (response, has_content), &bounds).await;
    ended(Stage::Response);
    durable(committed).await?;
    ended(Stage::Commit);
    Ok(response)
}

/// Makes an instance, as an invocation does that finds none idle, and keeps it for
/// the next invocation.
///
/// # Errors
/// When it cannot be made.
pub async fn instantiate(version: &Version, store: &Arc<Store>) -> Result<(), Failure> {
    let exchange = Exchange::new(
        store.begin(),
        ReplayBody::empty(),
        Occasion::Request(RequestKeys::default(), None),
    );
    let limits = &version.manifest.limits;
    let mut running = Running::warm(&version.pool, exchange, &Budget::new(limits.cpu));
    let ended = poll_fn(|context| running.poll(context)).await;
    let ended = ended.map_err(|_| Failure::OutOfCpu(limits.cpu))?;
    ended.keep(&version.pool).map_err(|error| Failure::Trapped(words(&error)))
}
