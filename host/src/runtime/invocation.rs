//! An invocation by a request: from its head and body to a response whose
//! transaction is durable.

use std::sync::Arc;

use http::Response;
use http::request::Parts;
use tokio::time::Instant;

use super::afterwards::Hold;
use super::again::Again;
use super::call::Call;
use super::component::Servable;
use super::exchange::{Given, Occasion};
use super::failure::Failure;
use super::idempotent::{self, Claimed, Keyed};
use super::outside::RequestKeys;
use super::replay::ReplayBody;
use super::respond::{AnswerBody, read_whole, respond};
use super::response::ResponseBody;
use super::run::{Ended, Running};
use super::runs::{Answered, Before, Mode, Runs, Unanswered, Work, interrupted, unanswered};
use crate::deadline::by;
use crate::digest::Digest;
use crate::manifest::Limits;
use crate::service::{Lease, Permit, ServiceMetrics};
use crate::state::{self, Committed, Store, Transaction};

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

/// A request to be answered.
pub(super) struct Request {
    pub(super) head: Parts,
    pub(super) body: ReplayBody,
    pub(super) keyed: Option<Keyed>,
}

/// A run's validated answer.
pub(super) struct Validated {
    pub(super) running: Running,
    pub(super) ended: Option<Ended>,
    pub(super) response: Response<AnswerBody>,
    pub(super) committed: Committed,
}

/// What a run comes to.
pub(super) enum Outcome {
    Answered(Validated),
    /// An earlier request with its key was answered, perhaps in the open group:
    /// what this one gets once that is durable.
    Repeated(Result<Response<ResponseBody>, Failure>, Committed),
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
    let Invocation { lease, permit, store, metrics, head, body, key } = invocation;
    let version = Arc::clone(lease.version());
    let hold = Hold { lease, permit };
    let limits = &version.manifest.limits;
    let deadline = Instant::now() + limits.deadline;
    let late = || Failure::Deadline(limits.deadline);
    // Given up when this returns, or with the answer's commit: before a client
    // that has its answer can repeat its request.
    let keyed = match key {
        None => None,
        Some(scope) => {
            // Boxed, so that requests without a key don't carry it.
            let claimed = Box::pin(idempotent::claim(&store, scope, &head, &body, limits));
            match by(deadline, claimed).await.unwrap_or_else(|_| Err(late()))? {
                Claimed::First(keyed) => Some(keyed),
                Claimed::Repeat(response) => return Ok(response),
            }
        }
    };
    let runs = Arc::new(Runs {
        version: Arc::clone(&version),
        store,
        metrics,
        keys: RequestKeys::default(),
        work: Request { head, body, keyed },
    });
    let (mut hold, mut mode) = (hold, Mode::FIRST);
    loop {
        let (response, committed, again) = match runs.outcome(mode, deadline).await? {
            Outcome::Answered(validated) => {
                let again = Again::of(&hold, &validated.committed, Some(&validated.running));
                let (response, committed) = respond(hold, validated, limits, deadline).await;
                (Ok(response), committed, again)
            }
            Outcome::Repeated(response, committed) => {
                let again = Again::of(&hold, &committed, None);
                (response, committed, again)
            }
        };
        // The output gate: nothing of the answer leaves before the commit is durable.
        match (by(deadline, committed.durable()).await, again) {
            (Ok(Ok(())), _) => return response,
            (Ok(Err(state::Error::Rerun(_))), Some(again)) if again.may_be() => {
                drop(response);
                runs.metrics.count_rerun();
                hold = by(deadline, again.hold()).await.map_err(|_| late())?;
                mode = Mode::UNDONE;
            }
            (Ok(Err(error)), _) => return Err(error.into()),
            (Err(_), _) => return Err(late()),
        }
    }
}

impl Work for Request {
    type Outcome = Outcome;

    fn call(&self, servable: Servable) -> Call {
        Call::of_request(servable, &self.head)
    }

    fn occasion(&self, keys: RequestKeys) -> Occasion {
        Occasion::Request(keys)
    }

    fn body(&self) -> &ReplayBody {
        &self.body
    }

    async fn before_lease(
        &self,
        mut transaction: Transaction,
    ) -> Result<Before<Outcome>, Unanswered> {
        // Whoever was first may have been answered since, in this very group.
        if let Some(keyed) = &self.keyed
            && let Some(kept) = transaction.kept_answer(&keyed.claim).await?
        {
            let repeated = Outcome::Repeated(keyed.repeat(kept), transaction.finish().await?);
            return Ok(Before::Done(repeated));
        }
        Ok(Before::Run(transaction))
    }

    /// Ends it at its answer's head, or at the end of the answer where that is kept.
    async fn conclude(&self, answered: Answered, limits: &Limits) -> Result<Outcome, Unanswered> {
        let Answered { mut running, mut ended, given, mut transaction } = answered;
        let Given::Response(response) = given else {
            return Err(Unanswered::Failed(Failure::NoAnswer));
        };
        let response = response.map_err(|code| Unanswered::Failed(Failure::ErrorCode(code)))?;
        let (head, body) = response.into_parts();
        let body = match &self.keyed {
            None => body.within(limits.response_body),
            Some(keyed) => {
                let limit = keyed.answer_limit;
                let frames = Box::pin(read_whole(&mut running, &mut ended, body, limit)).await;
                if let Some(trapped) = ended.take_if(|ended| ended.result.is_err()) {
                    return Err(unanswered(trapped, running.exchange(), limits));
                }
                let frames = frames.map_err(|unreadable| unreadable.failure(limits));
                let frames = frames.map_err(Unanswered::Failed)?;
                keyed.keep(&mut transaction, &head, &frames).map_err(Unanswered::Failed)?;
                AnswerBody::Whole(frames)
            }
        };
        let response = Response::from_parts(head, body);
        let finished = transaction.finish().await;
        let committed = finished.map_err(|error| interrupted(error, running.exchange()))?;
        running.stay(false);
        Ok(Outcome::Answered(Validated { running, ended, response, committed }))
    }
}
