//! An invocation by an event: the handler's writes, what it published and the
//! note that the event is done are one transaction of the service's store.

use std::sync::Arc;

use compact_str::CompactString;
use tokio::time::Instant;

use super::afterwards::{Afterwards, Hold, Sending};
use super::bounds::Bounds;
use super::failure::Failure;
use super::runs::{Answered, Before, Mode, Runs, Unanswered, Work, interrupted};
use crate::event::{Event, PARTITION_KEY, Value};
use crate::manifest::Limits;
use crate::runtime::calls::{Lineage, Place};
use crate::runtime::{
    Call, Ended, Given, Occasion, ReplayBody, RequestKeys, Running, Servable, event_types,
};
use crate::service::{Kind, Lease, Permit, ServiceMetrics};
use crate::state::{self, Committed, Consumption, Fate, Store, Transaction};

/// How much of a handler's reason is kept, in bytes.
const MAX_REASON_BYTES: usize = 4 << 10;

/// Everything one delivery holds while its handler runs.
pub struct Delivery {
    /// Its hold on the version that runs it.
    pub lease: Lease,
    /// Its right to run.
    pub permit: Permit,
    /// The service's store.
    pub store: Arc<Store>,
    /// The service's counters.
    pub metrics: Arc<ServiceMetrics>,
    /// The event.
    pub event: Arc<Event>,
    /// What its place in the traffic goes by.
    pub key: Arc<str>,
    /// The name of the subscription.
    pub subscription: String,
    /// Where the event is in the bus.
    pub position: u64,
    /// Counted from 1.
    pub attempt: u32,
    /// The note that the event is done, for the transaction of its effect.
    pub consumption: Consumption,
}

/// What a handler made of an event.
pub enum Verdict {
    /// It is done. Nothing else may say so before this is durable.
    Handled(Committed),
    /// It was done before: this time it had no effect.
    Repeated,
    /// It is to be delivered again, for this reason. Nothing was written.
    Retry(String),
    /// It is not to be delivered again, for this reason. Nothing was written.
    Reject(String),
}

/// An event to be handled.
struct Handling {
    event: Arc<Event>,
    key: Arc<str>,
    subscription: String,
    position: u64,
    attempt: u32,
    consumption: Consumption,
    /// Of nothing.
    body: ReplayBody,
}

/// What a run comes to.
struct Outcome {
    running: Running,
    ended: Option<Ended>,
    verdict: Verdict,
}

/// Runs the handler as [`invoke`](super::invoke) runs that of a request. Returns
/// when its transaction is validated; lease, permit and instance are given back
/// then, or when the tasks are done that an asynchronous handler left behind.
///
/// Dropping the future ends the guest, gives every hold back, and undoes its transaction,
/// unless the store has it.
///
/// # Errors
/// When there is no verdict: the guest trapped, was ended, or conflicts with
/// others and cannot be run again. Nothing was written then.
pub async fn deliver(delivery: Delivery) -> Result<Verdict, Failure> {
    let Delivery { lease, permit, store, metrics, .. } = delivery;
    let Delivery { event, key, subscription, position, attempt, consumption, .. } = delivery;
    let version = Arc::clone(lease.version());
    let hold =
        Hold { lease, permit: Some(permit), metrics: Arc::clone(&metrics), kind: Kind::Delivery };
    let bounds = Bounds::from_now(&version);
    let body = ReplayBody::empty();
    let runs = Arc::new(Runs {
        version: Arc::clone(&version),
        store,
        metrics,
        keys: RequestKeys::of(&[&event.source, &event.id, &subscription]),
        deadline: bounds.deadline(),
        fate: Fate::default(),
        work: Handling { event, key, subscription, position, attempt, consumption, body },
    });
    let Outcome { running, ended, verdict } = runs.outcome(Mode::FIRST, &bounds).await?;
    let failed = !matches!(verdict, Verdict::Handled(_) | Verdict::Repeated);
    // There is no body that anyone reads.
    Afterwards::new(hold, Sending::Whole, failed).go_on(running, ended, bounds.deadline());
    Ok(verdict)
}

impl Work for Handling {
    type Outcome = Outcome;

    fn call(&self, _: Servable) -> Call {
        let delivery = event_types::Delivery {
            event: (&*self.event).into(),
            subscription: self.subscription.clone(),
            position: self.position,
            attempt: self.attempt,
        };
        Call::Delivery(Box::new(delivery))
    }

    fn occasion(&self, keys: RequestKeys, lineage: Option<Box<Lineage>>) -> Occasion {
        Occasion::Delivery(keys, lineage)
    }

    fn lineage(&self, deadline: Instant) -> Lineage {
        Lineage::first(deadline, Place::Key(Arc::clone(&self.key)))
    }

    fn body(&self) -> &ReplayBody {
        &self.body
    }

    async fn before_lease(&self, transaction: Transaction) -> Result<Before<Outcome>, Unanswered> {
        Ok(Before::Run(transaction))
    }

    async fn conclude(
        &self,
        answered: Answered,
        fate: &Fate,
        _limits: &Limits,
    ) -> Result<Outcome, Unanswered> {
        let Answered { mut running, ended, given, mut transaction } = answered;
        let Given::Verdict(given) = given else {
            return Err(Unanswered::Failed(Failure::NoAnswer));
        };
        let verdict = match given {
            Ok(()) => {
                transaction.consume(self.consumption.clone());
                match transaction.finish_unless_withdrawn(fate).await {
                    Ok(committed) => Verdict::Handled(committed),
                    Err(state::Error::Consumed) => Verdict::Repeated,
                    Err(error) => return Err(interrupted(error, running.exchange())),
                }
            }
            // The transaction is dropped: nothing of it stays.
            Err(event_types::Failure::Retry(reason)) => Verdict::Retry(kept(reason)),
            Err(event_types::Failure::Reject(reason)) => Verdict::Reject(kept(reason)),
        };
        running.stay(false);
        Ok(Outcome { running, ended, verdict })
    }
}

/// As much of a reason as is kept.
fn kept(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
    reason
}

impl From<&Event> for event_types::Event {
    fn from(event: &Event) -> Self {
        let mut partition_key = None;
        let mut extensions = Vec::with_capacity(event.extensions.len());
        for (name, value) in &event.extensions {
            match value {
                Value::Text(key) if name == PARTITION_KEY => partition_key = Some(key.to_string()),
                value => {
                    let value = value.clone().into();
                    extensions.push(event_types::Extension { name: name.to_string(), value });
                }
            }
        }
        let text = |text: &Option<CompactString>| text.as_ref().map(CompactString::to_string);
        Self {
            id: event.id.to_string(),
            source: event.source.to_string(),
            type_: event.event_type.to_string(),
            subject: text(&event.subject),
            time: text(&event.time),
            data_content_type: text(&event.data_content_type),
            data_schema: text(&event.data_schema),
            partition_key,
            extensions,
            data: event.data.as_ref().map(|data| data.to_vec()),
        }
    }
}

impl From<Value> for event_types::ExtensionValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(value) => Self::Boolean(value),
            Value::Integer(value) => Self::Integer(value),
            Value::Text(value) => Self::Text(value.into_string()),
        }
    }
}
