//! An invocation by a call from another service: what the function wrote, and its result where
//! that is kept for a caller that may repeat itself, are one transaction. The result returns
//! when that is durable.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::afterwards::{Afterwards, Hold, Sending};
use super::again::Again;
use super::bounds::Bounds;
use super::failure::Failure;
use super::request::{COMMIT_TIMEOUT, has_effects, too_long};
use super::runs::{Answered, Before, Mode, Runs, Unanswered, Work, interrupted};
use crate::deadline::{Late, within};
use crate::digest::Digest;
use crate::manifest::Limits;
use crate::runtime::calls::{Lineage, Returned, Wanted};
use crate::runtime::{
    Call, Ended, FunctionCall, Given, Occasion, ReplayBody, RequestKeys, Running, Servable,
};
use crate::service::{Kind, Lease, Permit, ServiceMetrics};
use crate::state::{self, Claimant, Committed, Fate, KeptAnswer, KeyClaim, Store, Transaction};

/// How long it waits between two looks whether the same call, made before, is over. One is under
/// way only while its caller's end comes through to it.
const CLAIM_PAUSE: Duration = Duration::from_millis(2);

/// What a kept result has in the place of a status.
const KEPT_STATUS: u16 = 200;

/// Everything one call holds while it runs.
pub(crate) struct Called {
    /// Its hold on the version that runs it.
    pub(crate) lease: Lease,
    /// Its right to run.
    pub(crate) permit: Permit,
    /// The service's store.
    pub(crate) store: Arc<Store>,
    /// The service's counters.
    pub(crate) metrics: Arc<ServiceMetrics>,
    /// What is called.
    pub(crate) wanted: Arc<Wanted>,
    /// With what, as `runtime` writes it.
    pub(crate) arguments: Bytes,
    /// What it has of its caller.
    pub(crate) lineage: Lineage,
    /// Under what its result is kept, where its caller may repeat itself.
    pub(crate) id: Option<Digest>,
    /// Whether it may not write.
    pub(crate) is_read_only: bool,
}

/// Why a call has no result, and whether something of it may stand.
pub(crate) struct Uncalled {
    pub(crate) failure: Failure,
    pub(crate) stands: bool,
}

/// A function to be called.
struct Function {
    wanted: Arc<Wanted>,
    arguments: Bytes,
    lineage: Lineage,
    claim: Option<KeyClaim>,
    is_read_only: bool,
    /// Of nothing.
    body: ReplayBody,
}

/// What a run comes to.
struct Outcome {
    /// `None` where an earlier call had the result.
    ran: Option<(Running, Option<Ended>)>,
    result: Bytes,
    /// Whether it wrote something.
    wrote: bool,
    committed: Committed,
}

/// Runs the function as [`invoke`](super::invoke) runs a request, or finds the result that is
/// kept under the call's id. `caller` is cancelled when its caller is over.
///
/// # Errors
/// When there is no result.
pub(crate) async fn call(called: Called, caller: &CancellationToken) -> Result<Returned, Uncalled> {
    let Called { lease, permit, store, metrics, wanted, arguments, lineage, id, .. } = called;
    let version = Arc::clone(lease.version());
    let bounds = Bounds::of_call(&version, lineage.deadline, caller);
    let nothing_stands = |failure| Uncalled { failure, stands: false };
    let claim = match id {
        None => None,
        Some(id) => {
            let found = bounds.within(claim(&store, id, &wanted.print)).await;
            match found.flatten().map_err(nothing_stands)? {
                Claimed::First(claim) => Some(claim),
                Claimed::Repeat(result) => {
                    return Ok(Returned { result, stands: false, is_kept: true });
                }
            }
        }
    };
    let hold =
        Hold { lease, permit: Some(permit), metrics: Arc::clone(&metrics), kind: Kind::Call };
    let body = ReplayBody::empty();
    let is_read_only = called.is_read_only;
    let runs = Arc::new(Runs {
        version: Arc::clone(&version),
        store,
        metrics,
        keys: id.map_or_else(RequestKeys::default, |id| RequestKeys::of(&[&id.to_string()])),
        deadline: bounds.deadline(),
        fate: Fate::default(),
        work: Function { wanted, arguments, lineage, claim, is_read_only, body },
    });
    let returned = run(&runs, hold, &bounds).await;
    match returned {
        Ok(returned) => {
            let stands = returned.stands || runs.keys.has_effects();
            Ok(Returned { stands, ..returned })
        }
        Err(failure) => {
            let told = has_effects(&runs.keys).await;
            let stands = told || matches!(failure, Failure::Uncertain(_) | Failure::Partly(_));
            Err(Uncalled { failure, stands })
        }
    }
}

async fn run(
    runs: &Arc<Runs<Function>>,
    mut hold: Hold,
    bounds: &Bounds<'_>,
) -> Result<Returned, Failure> {
    let mut mode = Mode::FIRST;
    loop {
        let Outcome { ran, result, wrote, committed } = runs.outcome(mode, bounds).await?;
        let is_kept = ran.is_none();
        let running = ran.as_ref().map(|(running, _)| running);
        let again = Again::of(&hold, &committed, running);
        if let Some((running, ended)) = ran {
            // There is no body that anyone reads.
            Afterwards::new(hold, Sending::Whole, false).go_on(running, ended, bounds.deadline());
        }
        if !committed.is_pending() {
            return Ok(Returned { result, stands: false, is_kept });
        }
        match (within(COMMIT_TIMEOUT, committed.durable()).await, again) {
            (Ok(Ok(())), _) => return Ok(Returned { result, stands: wrote, is_kept }),
            // Another's statement undid it.
            (Ok(Err(state::Error::Rerun(_))), Some(again)) if again.may_be() => {
                runs.metrics.count_rerun();
                hold = bounds.within(again.hold()).await?;
                mode = Mode::UNDONE;
            }
            (Ok(Err(error)), _) => return Err(error.into()),
            (Err(Late), _) => return Err(too_long()),
        }
    }
}

/// What a call's id leads to.
enum Claimed {
    /// The guest.
    First(KeyClaim),
    /// The result that the call had before.
    Repeat(Bytes),
}

async fn claim(store: &Arc<Store>, id: Digest, print: &Digest) -> Result<Claimed, Failure> {
    let claim = loop {
        match store.claim_key(id, Claimant::Service) {
            Some(claim) => break claim,
            None => sleep(CLAIM_PAUSE).await,
        }
    };
    Ok(match store.begin().kept_answer(&claim).await? {
        Some(kept) => Claimed::Repeat(of_type(kept, print)?),
        None => Claimed::First(claim),
    })
}

impl Work for Function {
    type Outcome = Outcome;

    fn call(&self, _: Servable) -> Call {
        Call::Function(Box::new(FunctionCall {
            wanted: Arc::clone(&self.wanted),
            arguments: self.arguments.clone(),
            trace: self.lineage.trace.as_deref().map(str::to_owned),
        }))
    }

    fn occasion(&self, keys: RequestKeys, lineage: Option<Box<Lineage>>) -> Occasion {
        Occasion::Function { keys, lineage, is_read_only: self.is_read_only }
    }

    fn lineage(&self, deadline: Instant) -> Lineage {
        Lineage { deadline, ..self.lineage.clone() }
    }

    fn body(&self) -> &ReplayBody {
        &self.body
    }

    async fn before_lease(
        &self,
        mut transaction: Transaction,
    ) -> Result<Before<Outcome>, Unanswered> {
        // The same call may have returned since, in this very group.
        if let Some(claim) = &self.claim
            && let Some(kept) = transaction.kept_answer(claim).await?
        {
            let result = of_type(kept, &self.wanted.print).map_err(Unanswered::Failed)?;
            let committed = transaction.finish().await?;
            let outcome = Outcome { ran: None, result, wrote: false, committed };
            return Ok(Before::Done(outcome));
        }
        Ok(Before::Run(transaction))
    }

    async fn conclude(
        &self,
        answered: Answered,
        fate: &Fate,
        _limits: &Limits,
    ) -> Result<Outcome, Unanswered> {
        let Answered { mut running, ended, given, mut transaction } = answered;
        let Given::Returned { result, is_err } = given else {
            return Err(Unanswered::Failed(Failure::NoAnswer));
        };
        let mut wrote = false;
        let committed = if is_err {
            // Nothing stays of what failed by its own account: it may be called again.
            transaction.finish_with_nothing()
        } else {
            wrote = transaction.has_writes();
            if let Some(claim) = &self.claim {
                keep(&mut transaction, claim, &self.wanted.print, &result)?;
            }
            let finished = transaction.finish_unless_withdrawn(fate).await;
            finished.map_err(|error| interrupted(error, running.exchange()))?
        };
        running.stay(false);
        Ok(Outcome { ran: Some((running, ended)), result, wrote, committed })
    }
}

/// The kept result, where it is of a function of this type.
fn of_type(kept: KeptAnswer, print: &Digest) -> Result<Bytes, Failure> {
    // Nobody kept the type with those that are older.
    if !kept.headers.is_empty() && *kept.headers != *print.as_bytes() {
        return Err(Failure::ResultOfOtherType);
    }
    Ok(kept.body)
}

/// Has the transaction keep the result for who repeats the call.
fn keep(
    transaction: &mut Transaction,
    claim: &KeyClaim,
    print: &Digest,
    result: &Bytes,
) -> Result<(), Unanswered> {
    let kept = KeptAnswer {
        request: *claim.scope(),
        status: KEPT_STATUS,
        headers: Bytes::copy_from_slice(print.as_bytes()),
        body: result.clone(),
        trailers: None,
    };
    transaction.keep_answer(claim.clone(), kept).map_err(|error| match error {
        state::Error::Limit(limit) => Unanswered::Failed(Failure::ResultTooLarge(limit)),
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_result_is_no_value_of_another_type() {
        let (then, now) = (Digest::of(b"u32"), Digest::of(b"f32"));
        let kept = |headers: &[u8]| KeptAnswer {
            request: Digest::of(b"a"),
            status: KEPT_STATUS,
            headers: Bytes::copy_from_slice(headers),
            body: Bytes::from_static(b"1"),
            trailers: None,
        };
        assert_eq!(of_type(kept(then.as_bytes()), &then).expect("it is the same type"), "1");
        let other = of_type(kept(then.as_bytes()), &now);
        assert!(matches!(other, Err(Failure::ResultOfOtherType)), "{other:?}");
        // By a host that kept no types.
        assert_eq!(of_type(kept(b""), &now).expect("it is kept"), "1");
    }
}
