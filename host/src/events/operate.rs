//! What an operator sees of events and does with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::command::{Command, Inspection, Refusal};
use super::engine::{Active, Events, Name, REPLAY, base};
use super::status::Counts;
use crate::bus::{BusError, ReadLimit};
use crate::event::TypePattern;
use crate::service::ServiceName;
use crate::state::{self, Cursor, DeadLetter, Store};

/// The longest page of a list.
pub const MAX_PAGE: usize = 1_000;

/// What is read off the bus at once for a list.
const READ: ReadLimit = ReadLimit { max_events: MAX_PAGE, max_bytes: 4 << 20 };

/// How often it is read for one page.
const MAX_READS: usize = 10;

/// A subscription, as lists show it.
#[derive(Clone, Debug, Serialize)]
pub struct SubscriptionStatus {
    /// `<service>/<subscription>`.
    pub name: String,
    /// Its type pattern.
    #[serde(rename = "type")]
    pub pattern: Option<String>,
    /// `running`, `paused`, `full`, `parked`, `gap`, or `gone` where no version
    /// wants it any more.
    pub state: &'static str,
    /// Everything up to here is finished, held or dead.
    pub position: u64,
    /// Where a replay ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Events on the bus that it has not read yet, wanted or not.
    pub lag: u64,
    /// Events that it has read and that are not finished.
    pub in_flight: usize,
    /// Events that wait for another attempt, or for one of their key.
    pub held: usize,
    /// Keys that wait for an operator.
    pub parked: usize,
    /// Events that were given up and are still there.
    pub dead: u64,
    /// How old the oldest event is that is not finished, in milliseconds.
    pub oldest_age_ms: Option<u64>,
    /// Deliveries since the host's start that ended well.
    pub delivered: u64,
    /// Deliveries since the host's start that failed.
    pub failed: u64,
    /// Events that the bus no longer had when their turn came, since the start.
    pub missed: u64,
    /// Why the last delivery that failed did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A dead letter, as lists show it.
#[derive(Debug, Serialize)]
pub struct DeadLetterView {
    /// Its number within its service.
    pub id: u64,
    /// `<service>/<subscription>`.
    pub subscription: String,
    /// Its event's position on the bus.
    pub position: u64,
    /// What it is ordered by.
    pub key: String,
    /// Deliveries that failed.
    pub attempts: u32,
    /// Why it was given up.
    pub reason: String,
    /// When, in ms since 1970.
    pub died_at_ms: u64,
    /// The event (CloudEvents JSON).
    pub event: Box<RawValue>,
}

/// An event on the bus, as lists show it.
#[derive(Debug, Serialize)]
pub struct EventView {
    /// Its position on the bus.
    pub position: u64,
    /// When it came there, in ms since 1970.
    pub recorded_at_ms: u64,
    /// The event (CloudEvents JSON).
    pub event: Box<RawValue>,
}

/// Some of the events on the bus, and where the next page begins.
#[derive(Debug, Serialize)]
pub struct EventPage {
    /// The events, in their order.
    pub events: Vec<EventView>,
    /// The `after` of the next page.
    pub next: u64,
    /// The position of the newest event on the bus.
    pub last: u64,
}

/// Why an operator's wish is not done.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// No such subscription has a dispatcher.
    #[error("there is no subscription {0}: `hotdock events subscriptions` lists them")]
    NoSubscription(String),
    /// No such service is deployed.
    #[error("there is no service {0}")]
    NoService(String),
    /// No such dead letter.
    #[error("{0} has no dead letter {1}")]
    NoDeadLetter(ServiceName, u64),
    /// The dispatcher can't.
    #[error("{0}: {1}")]
    Refused(String, Refusal),
    /// Some version still wants it.
    #[error("{0} is wanted by the version that serves: deploy one that does not subscribe first")]
    Wanted(String),
    /// The bus has nothing so old.
    #[error("the bus begins with position {first}: a replay cannot begin with {from}")]
    TooOld {
        /// Wanted.
        from: u64,
        /// There.
        first: u64,
    },
    /// The store.
    #[error("the store of {0}: {1}")]
    Store(ServiceName, state::Error),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Events {
    /// Every subscription: those at work, and those whose service is gone and
    /// that still hold the bus.
    ///
    /// # Errors
    /// When a store or the bus cannot be read.
    pub async fn subscriptions(&self) -> Result<Vec<SubscriptionStatus>, OperateError> {
        let handles = self.handles().await;
        let mut known = BTreeSet::new();
        let mut list = Vec::with_capacity(handles.len());
        for handle in handles {
            known.insert(handle.name.to_string());
            list.push(self.status_of(&handle).await?);
        }
        for row in self.inner.bus.mirrors().await? {
            if !known.contains(&row.subscription) {
                list.push(self.gone(row.subscription, row.position));
            }
        }
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// Events after a position whose type fits the pattern; of the last ones
    /// where `after` is not given.
    ///
    /// # Errors
    /// When the bus cannot be read.
    pub async fn page(
        &self,
        after: Option<u64>,
        limit: usize,
        pattern: Option<&TypePattern>,
    ) -> Result<EventPage, OperateError> {
        let bus = &self.inner.bus;
        let last = bus.last();
        let limit = limit.clamp(1, MAX_PAGE);
        let wanted = |event_type: &str| pattern.is_none_or(|pattern| pattern.matches(event_type));
        let mut next = after.unwrap_or_else(|| last.saturating_sub(limit as u64));
        let mut events: Vec<EventView> = Vec::new();
        // So many reads at most: a page of a rare type may be short.
        for _ in 0..MAX_READS {
            let batch = bus.read(next, READ).await?;
            next = next.max(batch.upto);
            for recorded in batch.events {
                if events.len() == limit {
                    next = recorded.position - 1;
                    return Ok(EventPage { events, next, last });
                }
                if wanted(&recorded.event.event_type) {
                    events.push(EventView {
                        position: recorded.position,
                        recorded_at_ms: recorded.recorded_at,
                        event: raw(recorded.event.to_json()),
                    });
                }
            }
            if next >= last {
                break;
            }
        }
        Ok(EventPage { events, next, last })
    }

    /// A service's dead letters with a higher number than `after`.
    ///
    /// # Errors
    /// When there is no such service, or its store cannot be read.
    pub async fn dead_letters(
        &self,
        service: &ServiceName,
        subscription: Option<String>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadLetterView>, OperateError> {
        let store = self.store_of(service)?;
        let limit = limit.clamp(1, MAX_PAGE);
        let letters = store.dead_letters(subscription, after, limit).await;
        let letters = letters.map_err(|error| OperateError::Store(service.clone(), error))?;
        Ok(letters.into_iter().map(|letter| view(service, letter)).collect())
    }

    /// Delivers a dead letter again, with all its attempts before it. Returns
    /// its subscription.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn retry_dead(&self, service: &ServiceName, id: u64) -> Result<String, OperateError> {
        let store = self.store_of(service)?;
        let revived = store.retry_dead(id).await;
        let revived = revived.map_err(|error| OperateError::Store(service.clone(), error))?;
        let Some((subscription, entry)) = revived else {
            return Err(OperateError::NoDeadLetter(service.clone(), id));
        };
        let name = Name { service: service.clone(), subscription: Arc::from(subscription) };
        // Without a dispatcher it is found among the held when there is one again.
        if let Ok(handle) = self.handle(&name.to_string()).await {
            let (key, position) = (entry.key, entry.position);
            _ = handle.commands.send(Command::Revived { key, position }).await;
        }
        Ok(name.to_string())
    }

    /// Drops a dead letter for good.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn drop_dead(&self, service: &ServiceName, id: u64) -> Result<(), OperateError> {
        let dropped = self.store_of(service)?.drop_dead(id).await;
        match dropped.map_err(|error| OperateError::Store(service.clone(), error))? {
            true => Ok(()),
            false => Err(OperateError::NoDeadLetter(service.clone(), id)),
        }
    }

    /// Counts an event as finished that waits in a subscription.
    ///
    /// # Errors
    /// When none waits at this position.
    pub async fn skip(&self, name: &str, position: u64) -> Result<(), OperateError> {
        self.command(name, |reply| Command::Skip { position, reply }).await
    }

    /// Delivers a held or parked event now.
    ///
    /// # Errors
    /// When none waits at this position.
    pub async fn retry_held(&self, name: &str, position: u64) -> Result<(), OperateError> {
        self.command(name, |reply| Command::Retry { position, reply }).await
    }

    /// Ends a subscription's pause.
    ///
    /// # Errors
    /// When there is no such subscription.
    pub async fn resume(&self, name: &str) -> Result<(), OperateError> {
        let handle = self.handle(name).await?;
        let sent = handle.commands.send(Command::Resume).await;
        sent.map_err(|_| OperateError::NoSubscription(name.to_owned()))
    }

    /// Delivers what a subscription wants again, from a position to the newest
    /// event there is now, beside what is new. Returns the replay's name.
    ///
    /// # Errors
    /// When there is no such subscription, or the bus has nothing so old.
    pub async fn replay(&self, name: &str, from: u64) -> Result<String, OperateError> {
        let handle = self.handle(name).await?;
        let bus = &self.inner.bus;
        let (first, until) = (bus.first(), bus.last());
        let from = from.max(1);
        if from < first {
            return Err(OperateError::TooOld { from, first });
        }
        let subscription = base(&handle.name.subscription);
        let id = uuid::Uuid::now_v7().simple();
        let replay = format!("{subscription}{REPLAY}{id}");
        let cursor =
            Cursor { subscription: replay.clone(), position: from - 1, until: Some(until) };
        let begun = handle.store.begin_subscriptions(vec![cursor]).await;
        begun.map_err(|error| OperateError::Store(handle.name.service.clone(), error))?;
        self.note_change();
        Ok(format!("{}/{replay}", handle.name.service))
    }

    /// Drops a subscription that no version wants any more: the bus doesn't wait
    /// for it.
    ///
    /// # Errors
    /// When it is wanted, or not there.
    pub async fn drop_subscription(&self, name: &str) -> Result<(), OperateError> {
        if self.handle(name).await.is_ok() {
            return Err(OperateError::Wanted(name.to_owned()));
        }
        let mirrors = self.inner.bus.mirrors().await?;
        if !mirrors.iter().any(|row| row.subscription == name) {
            return Err(OperateError::NoSubscription(name.to_owned()));
        }
        let parsed = name.split_once('/').and_then(|(service, subscription)| {
            Some((service.parse::<ServiceName>().ok()?, Arc::<str>::from(subscription)))
        });
        // The rows of a service that is gone stay with its store.
        if let Some((service, subscription)) = parsed
            && let Ok(store) = self.store_of(&service)
        {
            let ended = store.end_subscription(&subscription).await;
            ended.map_err(|error| OperateError::Store(service, error))?;
        }
        Ok(self.inner.bus.forget(name).await?)
    }

    async fn command(
        &self,
        name: &str,
        command: impl FnOnce(oneshot::Sender<Result<(), Refusal>>) -> Command,
    ) -> Result<(), OperateError> {
        let handle = self.handle(name).await?;
        let gone = || OperateError::NoSubscription(name.to_owned());
        let (reply, done) = oneshot::channel();
        handle.commands.send(command(reply)).await.map_err(|_| gone())?;
        let done = done.await.map_err(|_| gone())?;
        done.map_err(|refusal| OperateError::Refused(name.to_owned(), refusal))
    }

    async fn status_of(&self, handle: &Handle) -> Result<SubscriptionStatus, OperateError> {
        let bus = &self.inner.bus;
        let inspection = handle.inspect().await;
        let Counts { state, scanned, window, held, delivered, failed, missed, last_error, .. } =
            handle.counts.clone();
        let (position, oldest, parked) = match inspection {
            Some(Inspection { cursor, oldest, parked }) => (cursor, oldest, parked),
            None => (scanned, None, 0),
        };
        let dead = handle.store.dead_count(&handle.name.subscription).await;
        let dead = dead.map_err(|error| OperateError::Store(handle.name.service.clone(), error))?;
        let until = handle.until.unwrap_or_else(|| bus.last());
        let lag = until.saturating_sub(scanned);
        let oldest = oldest.or((lag > 0).then_some(scanned + 1));
        let state = match state.name() {
            "running" if parked > 0 => "parked",
            "running" if missed > 0 && position + 1 < bus.first() => "gap",
            name => name,
        };
        Ok(SubscriptionStatus {
            name: handle.name.to_string(),
            pattern: Some(handle.pattern.clone()),
            state,
            position,
            until: handle.until,
            lag,
            in_flight: window,
            held,
            parked,
            dead,
            oldest_age_ms: self.age_of(oldest).await,
            delivered,
            failed,
            missed,
            last_error,
        })
    }

    async fn age_of(&self, position: Option<u64>) -> Option<u64> {
        let limit = ReadLimit { max_events: 1, max_bytes: 1 << 20 };
        let batch = self.inner.bus.read(position?.checked_sub(1)?, limit).await.ok()?;
        let recorded_at = batch.events.first()?.recorded_at;
        Some(state::now_ms().saturating_sub(recorded_at))
    }

    fn gone(&self, name: String, position: u64) -> SubscriptionStatus {
        SubscriptionStatus {
            name,
            pattern: None,
            state: "gone",
            position,
            until: None,
            lag: self.inner.bus.last().saturating_sub(position),
            in_flight: 0,
            held: 0,
            parked: 0,
            dead: 0,
            oldest_age_ms: None,
            delivered: 0,
            failed: 0,
            missed: 0,
            last_error: None,
        }
    }

    fn store_of(&self, service: &ServiceName) -> Result<Arc<Store>, OperateError> {
        let snapshot = self.inner.registry.load();
        let found = snapshot.services.get(service);
        found
            .map(|service| Arc::clone(&service.store))
            .ok_or_else(|| OperateError::NoService(service.to_string()))
    }

    async fn handles(&self) -> Vec<Handle> {
        let table = self.inner.table.lock().await;
        table.active.iter().map(|(name, active)| Handle::of(name, active)).collect()
    }

    async fn handle(&self, name: &str) -> Result<Handle, OperateError> {
        let handles = self.handles().await;
        let found = handles.into_iter().find(|handle| handle.name.to_string() == name);
        found.ok_or_else(|| OperateError::NoSubscription(name.to_owned()))
    }
}

/// What is needed of an active subscription without holding the table.
struct Handle {
    name: Name,
    pattern: String,
    store: Arc<Store>,
    commands: tokio::sync::mpsc::Sender<Command>,
    until: Option<u64>,
    counts: Counts,
}

impl Handle {
    fn of(name: &Name, active: &Active) -> Self {
        Self {
            name: name.clone(),
            pattern: active.settings.pattern.to_string(),
            store: Arc::clone(&active.store),
            commands: active.commands.clone(),
            until: active.until,
            counts: active.status.counts(),
        }
    }

    async fn inspect(&self) -> Option<Inspection> {
        let (reply, inspected) = oneshot::channel();
        self.commands.send(Command::Inspect { reply }).await.ok()?;
        inspected.await.ok()
    }
}

fn view(service: &ServiceName, letter: DeadLetter) -> DeadLetterView {
    DeadLetterView {
        id: letter.id,
        subscription: format!("{service}/{}", letter.subscription),
        position: letter.position,
        key: letter.key,
        attempts: letter.attempts,
        reason: letter.reason,
        died_at_ms: letter.died_at,
        event: raw(letter.event.to_vec()),
    }
}

/// JSON that the host wrote itself.
fn raw(json: Vec<u8>) -> Box<RawValue> {
    let text = String::from_utf8(json).unwrap_or_default();
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
