//! An invocation by a request: from its head and body to a response whose
//! transaction is durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, Response};
use tokio::time::Instant;

use super::afterwards::Hold;
use super::again::Again;
use super::bounds::Bounds;
use super::failure::Failure;
use super::idempotent::{self, Claimed, Keyed};
use super::respond::{read_whole, respond};
use super::response::ResponseBody;
use super::runs::{Answered, Before, Mode, Runs, Unanswered, Work, interrupted, unanswered};
use crate::deadline::{Late, within};
use crate::digest::Digest;
use crate::manifest::Limits;
use crate::runtime::calls::Lineage;
use crate::runtime::{
    AnswerBody, Call, Ended, Exchange, Given, Occasion, ReplayBody, RequestKeys, Running, Servable,
    announced, has_content, is_answer,
};
use crate::service::{Kind, Lease, Permit, ServiceMetrics, Ticket};
use crate::state::{self, Claimant, Committed, Fate, Store, Transaction};

/// How long a validated transaction may take until it is on disk; only a disk that hangs
/// takes as long.
pub(super) const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

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
    pub head: Arc<Parts>,
    /// The request's body.
    pub body: ReplayBody,
    /// The scope of the request's idempotency key, if it has one.
    pub key: Option<Digest>,
    /// Its place in the traffic, which those have, too, that it calls.
    pub ticket: Ticket,
    /// What it has of the service that sent it; none of a client's.
    pub(crate) lineage: Option<Box<Lineage>>,
}

/// A request to be answered.
pub(super) struct Request {
    pub(super) head: Arc<Parts>,
    pub(super) body: ReplayBody,
    pub(super) keyed: Option<Keyed>,
    pub(super) ticket: Ticket,
    pub(super) lineage: Option<Box<Lineage>>,
}

/// A run's validated answer.
pub(super) struct Validated {
    pub(super) running: Running,
    pub(super) ended: Option<Ended>,
    pub(super) response: Response<AnswerBody>,
    /// Whether its client gets more than a head.
    pub(super) has_content: bool,
    pub(super) committed: Committed,
}

/// What a run comes to. Boxed: it is handed on several times on its way.
pub(super) enum Outcome {
    Answered(Box<Validated>),
    Repeated(Box<Repeated>),
}

/// An earlier request with its key was answered, perhaps in the open group: what this one gets
/// once that is durable.
pub(super) struct Repeated {
    response: Result<Response<ResponseBody>, Failure>,
    committed: Committed,
}

/// Runs the invocation, or finds the answer that is kept under its key. Returns
/// the response when everything that it depends on is durable; its body may
/// still be coming from the guest.
///
/// Dropping the future ends the guest, gives every hold back, and undoes its transaction,
/// unless the store has it.
///
/// # Errors
/// When there is no answer. Nothing was written then, unless it is
/// [`Failure::Uncertain`] or [`Failure::Partly`].
pub async fn invoke(invocation: Invocation) -> Result<Response<ResponseBody>, Failure> {
    let Invocation { lease, permit, store, metrics, head, body, key, ticket, lineage } = invocation;
    let version = Arc::clone(lease.version());
    let kind = Kind::Request;
    let hold = Hold { lease, permit: Some(permit), metrics: Arc::clone(&metrics), kind };
    let bounds = Bounds::from_now(&version);
    let limits = bounds.limits();
    // Given up when this returns, or with the answer's commit: before a client
    // that has its answer can repeat its request.
    let keyed = match key {
        None => None,
        Some(scope) => {
            // Boxed, so that requests without a key don't carry it.
            let claimant = if lineage.is_some() { Claimant::Service } else { Claimant::Client };
            let key = (scope, claimant);
            let claimed = Box::pin(idempotent::claim(&store, key, &head, &body, limits));
            match bounds.within(claimed).await?? {
                Claimed::First(keyed) => Some(keyed),
                Claimed::Repeat(response) => return Ok(response),
            }
        }
    };
    let runs = Arc::new(Runs {
        version: Arc::clone(&version),
        store,
        metrics,
        // All its runs', and where it may be repeated, all its repetitions'.
        keys: keyed.as_ref().map_or_else(RequestKeys::default, |keyed| {
            RequestKeys::of(&[version.id.service.as_str(), &keyed.name()])
        }),
        deadline: bounds.deadline(),
        fate: Fate::default(),
        work: Request { head, body, keyed, ticket, lineage },
    });
    let answered = answer(&runs, hold, &bounds).await;
    match answered.map_err(|failure| failure.unless_of_client(&runs.work.body, limits)) {
        Err(failure)
            if !matches!(failure, Failure::Uncertain(_)) && has_effects(&runs.keys).await =>
        {
            Err(Failure::Partly(Box::new(failure)))
        }
        answered => answered,
    }
}

/// Whether something stands of an invocation that failed. What it called may be about to commit.
pub(super) async fn has_effects(keys: &RequestKeys) -> bool {
    // Late or not: what is still under way counts.
    let _ = within(COMMIT_TIMEOUT, keys.settled()).await;
    keys.has_effects()
}

/// One that wrote and may want to read that. Its client may leave before it is known to be on disk.
struct Writer(Exchange);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.give_up_reading();
    }
}

async fn answer(
    runs: &Arc<Runs<Request>>,
    mut hold: Hold,
    bounds: &Bounds<'_>,
) -> Result<Response<ResponseBody>, Failure> {
    let mut mode = Mode::FIRST;
    loop {
        let (mut response, committed, again, writer);
        match runs.outcome(mode, bounds).await? {
            Outcome::Answered(validated) => {
                let Validated { running, ended, response: answer, has_content, committed: pending } =
                    *validated;
                again = Again::of(&hold, &pending, Some(&running));
                // Whose guest may want to read what it wrote.
                writer = pending.is_pending().then(|| Writer(running.exchange().clone()));
                committed = pending;
                response = Ok(respond(hold, running, ended, (answer, has_content), bounds).await);
            }
            Outcome::Repeated(repeated) => {
                again = Again::of(&hold, &repeated.committed, None);
                writer = None;
                Repeated { response, committed } = *repeated;
            }
        }
        let durable = behind_gate(&mut response, committed, bounds.limits()).await;
        if let Some(Writer(exchange)) = &writer {
            if matches!(durable, Ok(Ok(()))) {
                exchange.note_durable();
            }
            exchange.note_committed_answer();
        }
        match (durable, again) {
            (Ok(Ok(())), _) => return response,
            (Ok(Err(state::Error::Rerun(_))), Some(again)) if again.may_be() => {
                drop(response);
                runs.metrics.count_rerun();
                hold = bounds.within(again.hold()).await?;
                mode = Mode::UNDONE;
            }
            (Ok(Err(error)), _) => return Err(error.into()),
            (Err(Late), _) => return Err(too_long()),
        }
    }
}

/// The output gate: nothing of the answer leaves before the commit is durable. What ends the
/// invocation meanwhile does not end the commit, so it is waited for.
async fn behind_gate(
    response: &mut Result<Response<ResponseBody>, Failure>,
    committed: Committed,
    limits: &Limits,
) -> Result<Result<(), state::Error>, Late> {
    if !committed.is_pending() {
        return Ok(Ok(()));
    }
    let gate = within(COMMIT_TIMEOUT, committed.durable());
    match response {
        Ok(response) => response.body_mut().behind(gate, limits.response_buffer).await,
        Err(_) => gate.await,
    }
}

/// Waits until what is validated is on disk, for as long as that may take.
pub(super) async fn durable(committed: Committed) -> Result<(), Failure> {
    within(COMMIT_TIMEOUT, committed.durable())
        .await
        .map_err(|Late| too_long())?
        .map_err(Failure::from)
}

pub(super) fn too_long() -> Failure {
    Failure::Uncertain(format!("its commit took over {COMMIT_TIMEOUT:?}"))
}

impl Work for Request {
    type Outcome = Outcome;

    fn call(&self, servable: Servable) -> Call {
        Call::of_request(servable, &self.head)
    }

    fn occasion(&self, keys: RequestKeys, lineage: Option<Box<Lineage>>) -> Occasion {
        Occasion::Request(keys, lineage)
    }

    fn lineage(&self, deadline: Instant) -> Lineage {
        match &self.lineage {
            None => Lineage::first(deadline, self.ticket.place(&self.head)),
            Some(lineage) => {
                let deadline = lineage.deadline.min(deadline);
                Lineage { deadline, ..Lineage::clone(lineage) }
            }
        }
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
            let committed = transaction.finish().await?;
            let repeated = Repeated { response: keyed.repeat(kept), committed };
            return Ok(Before::Done(Outcome::Repeated(Box::new(repeated))));
        }
        Ok(Before::Run(transaction))
    }

    /// Ends it at its answer's head, or at the end of the answer's content where that is kept.
    async fn conclude(
        &self,
        answered: Answered,
        fate: &Fate,
        limits: &Limits,
    ) -> Result<Outcome, Unanswered> {
        let Answered { mut running, mut ended, given, mut transaction } = answered;
        let Given::Response(response) = given else {
            return Err(Unanswered::Failed(Failure::NoAnswer));
        };
        let response = response.map_err(|code| Unanswered::Failed(Failure::ErrorCode(code)))?;
        let (head, body) = response.into_parts();
        if !is_answer(head.status) {
            let (version, status) = (&running.pool().version(), head.status.as_u16());
            tracing::warn!(%version, status, "the service answered with a status that is no answer");
            return Err(Unanswered::Failed(Failure::NoAnswer));
        }
        let has_content = has_content(self.head.method == Method::HEAD, head.status);
        let body = match &self.keyed {
            None => body.within(limits.response_body),
            // It is over with its head, whatever the guest makes of a body.
            Some(keyed) if !has_content => {
                let kept = keyed.keep(&mut transaction, &head, &VecDeque::new());
                kept.map_err(Unanswered::Failed)?;
                body.within(limits.response_body)
            }
            Some(keyed) => {
                running.exchange().note_committed_answer();
                let limit = keyed.answer_limit;
                let length = announced(&head.headers, has_content);
                let frames = read_whole(&mut running, &mut ended, body, limit, length);
                let frames = Box::pin(frames).await;
                // One that ended its answer and failed then has answered.
                if frames.is_err()
                    && let Some(trapped) = ended.take_if(|ended| ended.result.is_err())
                {
                    return Err(unanswered(trapped, running.exchange()));
                }
                let frames = frames.map_err(|unreadable| unreadable.failure(limits));
                let frames = frames.map_err(Unanswered::Failed)?;
                keyed.keep(&mut transaction, &head, &frames).map_err(Unanswered::Failed)?;
                AnswerBody::Whole(frames)
            }
        };
        let response = Response::from_parts(head, body);
        let finished = transaction.finish_unless_withdrawn(fate).await;
        let committed = finished.map_err(|error| interrupted(error, running.exchange()))?;
        if !committed.is_pending() {
            running.exchange().note_committed_answer();
        }
        running.stay(false);
        let validated = Validated { running, ended, response, has_content, committed };
        Ok(Outcome::Answered(Box::new(validated)))
    }
}
