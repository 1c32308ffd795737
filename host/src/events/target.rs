//! Where a subscription's events go.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::delivery::{Attempt, Ending, to_service};
use super::engine::base;
use super::gone;
use super::webhook::{self, WebhookOutcome, WebhookTarget};
use crate::event::Event;
use crate::name::ServiceName;
use crate::service::Registry;
use crate::state::{Consumption, Error, Settlement, Store};

/// How long an event waits whose delivery could not be recorded.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Whoever handles a subscription's events.
#[derive(Clone)]
pub(super) enum Target {
    /// A service, in the version that has its traffic.
    Service { registry: Arc<Registry>, name: ServiceName },
    /// An HTTP endpoint.
    Webhook(Arc<WebhookTarget>),
}

impl Target {
    /// Why nothing is delivered to begin with, and for how long.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn recall(
        &self,
        store: &Arc<Store>,
        subscription: &str,
    ) -> Result<Option<(&'static str, Duration)>, Error> {
        let Self::Webhook(target) = self else { return Ok(None) };
        if !gone::is_noted(store, base(subscription), &target.config().url).await? {
            return Ok(None);
        }
        target.set_gone();
        Ok(Some((webhook::GONE, webhook::GONE_PAUSE)))
    }

    /// Delivers again, whatever an endpoint said. Returns whether it was sent nothing until now.
    pub(super) fn wake(&self) -> bool {
        match self {
            Self::Service { .. } => false,
            Self::Webhook(target) => target.wake(),
        }
    }

    pub(super) async fn deliver(
        &self,
        store: &Arc<Store>,
        subscription: &Arc<str>,
        attempt: &Attempt,
        event: Arc<Event>,
        slot: OwnedSemaphorePermit,
    ) -> Ending {
        match self {
            Self::Service { registry, name } => {
                to_service(registry, name, store, subscription, attempt, event, slot).await
            }
            Self::Webhook(target) => {
                let outcome = webhook::deliver(target, &event).await;
                drop(slot);
                if outcome == WebhookOutcome::Gone
                    && let Err(error) =
                        gone::note(store, base(subscription), &target.config().url).await
                {
                    tracing::warn!(%subscription, %error, "that it is gone is forgotten at the end");
                }
                ending(outcome, store, subscription, attempt).await
            }
        }
    }
}

/// What an endpoint's answer means for the event. What was delivered is recorded
/// after it: a host that dies in between delivers it once more, under the same
/// `Idempotency-Key`.
async fn ending(
    outcome: WebhookOutcome,
    store: &Arc<Store>,
    subscription: &Arc<str>,
    attempt: &Attempt,
) -> Ending {
    match outcome {
        WebhookOutcome::Delivered => {
            let consumption = Consumption {
                subscription: Arc::clone(subscription),
                position: attempt.position,
                held: attempt.held,
            };
            match store.settle_durably(vec![Settlement::Skip { consumption }]).await {
                Ok(()) => Ending::Finished,
                Err(error) => Ending::Undelivered { reason: error.to_string(), pause: STORE_PAUSE },
            }
        }
        WebhookOutcome::Retry { reason, after } => Ending::Failed { reason, after },
        WebhookOutcome::Wait { reason, pause } => Ending::Undelivered { reason, pause },
        WebhookOutcome::Reject(reason) => Ending::Rejected(reason),
        WebhookOutcome::Blocked(reason) => Ending::Undelivered { reason, pause: webhook::REST },
        WebhookOutcome::Gone => {
            Ending::Undelivered { reason: webhook::GONE.to_owned(), pause: webhook::GONE_PAUSE }
        }
    }
}
