//! What an operator sees of events and does with them.

mod change;
mod dead_letters;
mod held;
mod log;
mod subscriptions;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::value::RawValue;

use super::command::{COMMAND_PATIENCE, Refusal};
use super::engine::{Events, Name, PrepareError, Shown};
use super::subscriber::Subscriber;
use crate::bus::BusError;
use crate::name::ServiceName;
use crate::state::{self, Store};

pub use change::{Dropped, Replay, ReplayFrom, Resumed};
pub use dead_letters::{DeadLetterId, DeadLetterPage, DeadLetterView, DeadLettersOf, Unread};
pub use held::{HeldPage, HeldView};
pub use log::{EventPage, EventView, Wanted};
pub(super) use subscriptions::STATES;
pub use subscriptions::{SubscriptionPage, SubscriptionStatus};

/// The longest page of a list.
pub const MAX_PAGE: usize = 1_000;

/// Why an operator's wish is not done.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// No such subscription.
    #[error("there is no subscription {0}: `hotdock events subscriptions` lists them")]
    NoSubscription(String),
    /// It only holds events.
    #[error(
        "{0} is gone: no version that serves wants it. Deploy one that does, and what it holds is \
         delivered, or drop it (`hotdock events drop`)"
    )]
    Gone(String),
    /// It has no dispatcher yet.
    #[error("{0} has not started yet: ask again")]
    Starting(String),
    /// No such service is deployed.
    #[error("there is no service {0}")]
    NoService(String),
    /// It is not deployed any more.
    #[error("{0} is not deployed: its dead letters are kept until it is again")]
    Undeployed(ServiceName),
    /// No such dead letter.
    #[error("there is no dead letter {0}: `hotdock events dead list` lists them")]
    NoDeadLetter(DeadLetterId),
    /// Neither the letter nor the bus has it.
    #[error(
        "the data of dead letter {0} is gone: it was not kept, since its source had too much \
         among the dead letters, and the bus no longer has the event (`retain`)"
    )]
    DataGone(DeadLetterId),
    /// It takes its time.
    #[error(
        "{0} did not get to it within {COMMAND_PATIENCE:?}, and may do it all the same: see what \
         its store is at"
    )]
    Late(String),
    /// The dispatcher can't.
    #[error("{0}: {1}")]
    Refused(String, Refusal),
    /// Nobody would handle it.
    #[error(
        "the dead letter is of {0}, which no version that serves subscribes to: deploy one that \
         does, or drop the dead letter"
    )]
    Unwanted(String),
    /// There is no such webhook any more.
    #[error(
        "the dead letter is of {0}, and hotdock.toml has no such webhook any more: put it back and \
         have the host read it (SIGHUP), or drop the dead letter"
    )]
    NoWebhook(String),
    /// It waits already.
    #[error("an event at position {1} waits in {0} already: skip or retry that one")]
    Waiting(String, u64),
    /// Some version still wants it.
    #[error("{0} is wanted by a version that serves: deploy one that does not subscribe first")]
    Wanted(String),
    /// The bus has no such position.
    #[error("the bus has positions {first} to {last}: a replay cannot begin with {from}")]
    NoPosition {
        /// Wanted.
        from: u64,
        /// The first that is there.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// The bus has nothing so new.
    #[error("no event has come to the bus since {0}")]
    NothingSince(String),
    /// There is no room for it.
    #[error("the host's disk is full, and nothing was changed: make room, and ask again")]
    NoRoom,
    /// The store.
    #[error("the store of {0}: {1}")]
    Store(ServiceName, state::Error),
    /// The bus.
    #[error(transparent)]
    Bus(BusError),
}

impl OperateError {
    fn of<'a>(service: &'a ServiceName, store: &'a Store) -> impl Fn(PrepareError) -> Self + 'a {
        |error| match error {
            PrepareError::Store(error) => Self::of_store(service, store)(error),
            PrepareError::Bus(error) => error.into(),
        }
    }

    /// What a service's store says; it has a limit of its own, too.
    fn of_store<'a>(
        service: &'a ServiceName,
        store: &'a Store,
    ) -> impl Fn(state::Error) -> Self + 'a {
        |error| match error {
            state::Error::Full if store.room().is_full() => Self::NoRoom,
            error => Self::Store(service.clone(), error),
        }
    }
}

impl From<BusError> for OperateError {
    fn from(error: BusError) -> Self {
        match error {
            BusError::DiskFull => Self::NoRoom,
            error => Self::Bus(error),
        }
    }
}

impl Events {
    fn find(&self, name: &str) -> Result<Shown, OperateError> {
        let shown = self.shown();
        let found = shown.iter().find(|shown| shown.name.to_string() == name);
        found.cloned().ok_or_else(|| OperateError::NoSubscription(name.to_owned()))
    }

    /// The same of one that is to do something; says why it does not where it is known but not at
    /// work.
    async fn find_at_work(&self, name: &str) -> Result<Shown, OperateError> {
        let unknown = match self.find(name) {
            Ok(shown) => return Ok(shown),
            Err(unknown) => unknown,
        };
        let mirrors = self.inner.bus.mirrors().await?;
        let is_known = mirrors.iter().any(|row| row.subscription == name);
        Err(match is_known {
            false => unknown,
            true if self.is_wanted(name) => OperateError::Starting(name.to_owned()),
            true => OperateError::Gone(name.to_owned()),
        })
    }

    /// Whether a version that serves, or the operator, wants the subscription, or
    /// the one that it is a replay of.
    fn is_wanted(&self, name: &str) -> bool {
        let Some((owner, subscription)) = name.split_once('/') else { return false };
        let snapshot = self.inner.registry.load();
        let service = snapshot.services.get(owner).map(Subscriber::Service);
        let webhooks = self.webhooks();
        let webhooks = webhooks.as_deref().map(Subscriber::Webhooks);
        service.into_iter().chain(webhooks).any(|subscriber| {
            subscriber.name().as_str() == owner && subscriber.settings(subscription).is_some()
        })
    }

    fn store_of(&self, service: &ServiceName) -> Result<Arc<Store>, OperateError> {
        let webhooks = self.webhooks();
        if let Some(webhooks) = webhooks.filter(|_| *service == ServiceName::webhooks()) {
            return Ok(Arc::clone(webhooks.store()));
        }
        let snapshot = self.inner.registry.load();
        let found = snapshot.services.get(service);
        found
            .map(|service| Arc::clone(&service.store))
            .ok_or_else(|| OperateError::NoService(service.to_string()))
    }
}

/// What `<service>/<subscription>` names; none where it cannot be a name.
fn parsed(full: &str) -> Option<Name> {
    let (service, subscription) = full.split_once('/')?;
    let service = ServiceName::of_subscriber(service).ok()?;
    Some(Name { service, subscription: Arc::from(subscription) })
}

/// A time in ms since 1970, as RFC 3339 writes it.
fn rfc3339(ms: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_millis(time).to_string()
}

/// JSON that the host wrote itself.
fn raw(json: Vec<u8>) -> Box<RawValue> {
    let text = String::from_utf8(json).unwrap_or_default();
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
