//! Where a subscription's events go.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::delivery::{Attempt, Ending, to_service};
use super::webhook::{self, WebhookOutcome, WebhookTarget};
use crate::event::Event;
use crate::service::{Registry, ServiceName};
use crate::state::{Consumption, Settlement, Store};

/// How long an endpoint that wants no more events is left alone; an operator can
/// end it (`hotdock events resume`).
const GONE_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

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
            let recorded = match store.settle(vec![Settlement::Skip { consumption }]).await {
                Ok(committed) => committed.durable().await,
                Err(error) => Err(error),
            };
            match recorded {
                Ok(()) => Ending::Finished,
                Err(error) => Ending::Undelivered { reason: error.to_string(), pause: STORE_PAUSE },
            }
        }
        WebhookOutcome::Retry { reason, after } => Ending::Failed { reason, after },
        WebhookOutcome::Wait { reason, pause } => Ending::Undelivered { reason, pause },
        WebhookOutcome::Reject(reason) => Ending::Rejected(reason),
        WebhookOutcome::Gone(reason) => Ending::Undelivered { reason, pause: GONE_PAUSE },
    }
}
