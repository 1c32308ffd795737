//! One delivery: an event, handed to the version that has the traffic, and what
//! came of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::escape::cut;
use crate::event::Event;
use crate::failpoint;
use crate::invocation::{self, Failure, Verdict};
use crate::name::ServiceName;
use crate::service::{Kind, Outcome, Registry, Version};
use crate::state::{Consumption, Error, Store};

/// How much is kept of why a delivery failed, in bytes.
const MAX_REASON: usize = 4 << 10;

/// How the engine's words for where a guest trapped begin.
const BACKTRACE: &str = "error while executing at wasm backtrace:";

/// How long a subscription rests when its service could not be reached at all.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(100);

/// An event on its way to its handler.
pub(super) struct Attempt {
    pub(super) key: Arc<str>,
    /// Whose lane it is in.
    pub(super) origin: Arc<str>,
    /// Its position on the bus.
    pub(super) position: u64,
    /// `None` until it is read from its row among the held.
    pub(super) event: Option<Arc<Event>>,
    /// Counted from 1.
    pub(super) number: u32,
    /// Whether it was held before.
    pub(super) held: bool,
    /// Cancelled when its subscription stops: what has not begun then does not begin.
    pub(super) stop: CancellationToken,
}

/// How a delivery ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// Its effects are durable, and that it is finished is durable with them.
    Finished,
    /// It may succeed another time, not before `after`.
    Failed { reason: String, after: Option<Duration> },
    /// It never will.
    Rejected(String),
    /// It conflicted with others at each run. It is an attempt only where that goes on and on.
    Conflicted(String),
    /// It did not come to its handler, or the handler could not do its work for a
    /// reason that is not its own. It is no attempt.
    Undelivered { reason: String, pause: Duration },
}

impl Ending {
    /// Of one that had not begun when its subscription stopped.
    pub(super) fn given_back() -> Self {
        let reason = "its subscription stopped before it began".to_owned();
        Self::Undelivered { reason, pause: Duration::ZERO }
    }

    /// Of one in which the host itself panicked. It counts: what makes the host panic may be
    /// in the event.
    pub(super) fn panicked() -> Self {
        Self::Failed { reason: "the host panicked in the delivery".to_owned(), after: None }
    }
}

/// Hands an event to its service. `slot` is given back when its handler has
/// ended, before its effects are durable.
pub(super) async fn to_service(
    registry: &Registry,
    service: &ServiceName,
    store: &Arc<Store>,
    subscription: &Arc<str>,
    attempt: &Attempt,
    event: Arc<Event>,
    slot: OwnedSemaphorePermit,
) -> Ending {
    let found = registry.load().services.get(service).cloned();
    let Some(found) = found else { return gone(service) };
    let permit = tokio::select! {
        biased;
        // Those that wait would be taken one after the other for all of the drain.
        () = attempt.stop.cancelled() => return Ending::given_back(),
        permit = found.admission.admit_delivery() => permit,
    };
    // Only now: a version that was swapped out while this waited must not run it.
    let base = super::engine::base(subscription);
    let subscribes = |version: &Version| version.manifest.subscription(base).is_some();
    let chosen = registry.lease(service, |traffic| {
        let version = traffic.version_for_key_among(&attempt.key, subscribes);
        subscribes(version).then_some(version)
    });
    let Some((found, lease)) = chosen else { return gone(service) };
    failpoint::panic_at("in a delivery");
    let count = found.metrics.begin(Kind::Delivery);
    let measure = lease.version().metrics.begin(Kind::Delivery);
    let delivery = invocation::Delivery {
        lease,
        permit,
        store: Arc::clone(store),
        metrics: Arc::clone(&found.metrics),
        event,
        key: Arc::clone(&attempt.key),
        subscription: subscription.to_string(),
        position: attempt.position,
        attempt: attempt.number,
        consumption: Consumption {
            subscription: Arc::clone(subscription),
            position: attempt.position,
            held: attempt.held,
        },
    };
    let verdict = invocation::deliver(delivery).await;
    drop(slot);
    let ended = match verdict {
        Ok(Verdict::Handled(committed)) => match store.durable(committed).await {
            Ok(()) => Ok(Ending::Finished),
            // Another's statement undid it: it comes again, and has not failed.
            Err(error @ Error::Rerun(_)) => Ok(Ending::Conflicted(error.to_string())),
            Err(error) => Err(Failure::from(error).named(store)),
        },
        Ok(Verdict::Repeated) => Ok(Ending::Finished),
        Ok(Verdict::Retry(reason)) => Ok(Ending::Failed { reason, after: None }),
        Ok(Verdict::Reject(reason)) => Ok(Ending::Rejected(reason)),
        Err(failure) => Err(failure.named(store)),
    };
    match ended {
        Ok(ending @ Ending::Conflicted(_)) => {
            count.ended(Outcome::Conflict);
            measure.ended(Outcome::Conflict, None);
            ending
        }
        Ok(ending) => {
            let outcome = match ending {
                Ending::Finished => Outcome::Answered,
                Ending::Rejected(_) => Outcome::Rejected,
                _ => Outcome::Retry,
            };
            count.ended(outcome);
            measure.ended(outcome, None);
            ending
        }
        Err(failure) => {
            count.ended(failure.outcome());
            measure.ended(failure.outcome(), None);
            failed(&failure)
        }
    }
}

/// What a delivery without a verdict comes to.
fn failed(failure: &Failure) -> Ending {
    let reason = cut(cause_first(&failure.to_string()), MAX_REASON);
    match failure {
        // Its version was replaced: the next one gets it.
        Failure::Drained => Ending::Undelivered { reason, pause: Duration::ZERO },
        Failure::Conflict => Ending::Conflicted(reason),
        // Where it took effect after all, it has none the next time.
        Failure::NoRoom(_)
        | Failure::StoreFull
        | Failure::DiskFull
        | Failure::OutboxFull
        | Failure::LogFull(_)
        | Failure::Store(_)
        | Failure::Uncertain(_) => Ending::Undelivered { reason, pause: UNREACHABLE_PAUSE },
        Failure::Partly(failure) => failed(failure),
        _ => Ending::Failed { reason, after: None },
    }
}

/// A trap's reason with its cause in its first line and where the guest was in those behind it,
/// which the engine says the other way round.
fn cause_first(reason: &str) -> Cow<'_, str> {
    let Some((before, trap)) = reason.split_once(BACKTRACE) else { return reason.into() };
    // The cause follows the last frame, whose line has the function's name behind a `!`.
    let (frames, last) = trap.rsplit_once("\n  ").unwrap_or((trap, ""));
    let cause = last.split_once('!').and_then(|(_, function)| function.split_once(": "));
    let Some((_, cause)) = cause else { return reason.into() };
    let last = last[..last.len() - cause.len()].trim_end_matches(": ");
    format!("{before}{cause}\n{BACKTRACE}{frames}\n  {last}").into()
}

fn gone(service: &ServiceName) -> Ending {
    let reason = format!("service {service} is not deployed");
    Ending::Undelivered { reason, pause: UNREACHABLE_PAUSE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_a_trap_comes_before_where_it_was() {
        let frames = "\n    0:   0x1a - guest!core::panic\n    1:   0x2b - guest!<a::B as C>::d";
        let cause = "wasm trap: wasm `unreachable` instruction executed";
        let said = format!("the service failed: {BACKTRACE}{frames}: {cause}");
        let first = format!("the service failed: {cause}\n{BACKTRACE}{frames}");
        assert_eq!(cause_first(&said), first);
        for other in ["", "attempt 1 fails", BACKTRACE, first.as_str()] {
            assert_eq!(cause_first(other), other);
        }
    }
}
