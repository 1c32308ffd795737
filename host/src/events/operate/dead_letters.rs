//! Events that were given up.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{MAX_PAGE, OperateError, raw, rfc3339};
use crate::bus::{ReadLimit, Recorded};
use crate::deadline;
use crate::event::Event;
use crate::events::command::{COMMAND_PATIENCE, Command};
use crate::events::engine::{Events, Name, Shown, base};
use crate::name::ServiceName;
use crate::state::{self, DeadLetter, DeadLetters, Revival};
use crate::turns::Turn;

/// Which dead letter: `<service>/<number>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterId {
    /// In whose store it is.
    pub service: ServiceName,
    /// Its number there.
    pub number: u64,
}

/// A dead letter. Field names are stable.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetterView {
    /// `<service>/<number>`.
    pub id: String,
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
    /// When (RFC 3339).
    pub died_at: String,
    /// Whether the event's data was not kept, since its source has too much among the dead
    /// letters: `retry` takes it from the bus.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub without_data: bool,
    /// The event (CloudEvents JSON).
    #[schema(value_type = Object)]
    pub event: Box<RawValue>,
}

/// Some of the dead letters, by service and number.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetterPage {
    /// The dead letters.
    pub dead_letters: Vec<DeadLetterView>,
    /// The services whose dead letters could not be read, where those of all were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
    /// The `after` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A service whose dead letters could not be read.
#[derive(Debug, Serialize, ToSchema)]
pub struct Unread {
    /// Its name.
    pub service: String,
    /// Why.
    pub reason: String,
}

/// Whose dead letters are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLettersOf {
    /// All services'.
    All,
    /// One service's.
    Service(ServiceName),
    /// One subscription's.
    Subscription(ServiceName, String),
}

impl Events {
    /// The dead letters after `after`, also of services that are not deployed any more.
    ///
    /// # Errors
    /// When there is no such service, or its store cannot be read. Where those of all are wanted,
    /// the others' are there all the same.
    pub async fn dead_letters(
        &self,
        of: &DeadLettersOf,
        after: Option<&DeadLetterId>,
        limit: usize,
    ) -> Result<DeadLetterPage, OperateError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let (services, subscription) = match of {
            DeadLettersOf::All => (self.services().await, None),
            DeadLettersOf::Service(service) => (vec![service.clone()], None),
            DeadLettersOf::Subscription(service, name) => {
                (vec![service.clone()], Some(name.clone()))
            }
        };
        let mut page = DeadLetterPage { dead_letters: Vec::new(), unread: Vec::new(), next: None };
        for service in services {
            let after = match after {
                Some(after) if after.service > service => continue,
                Some(after) if after.service == service => after.number,
                _ => 0,
            };
            let room = limit - page.dead_letters.len();
            let found = match self.dead_in(&service, subscription.clone(), after, room).await {
                Err(error) if *of == DeadLettersOf::All => {
                    let (service, reason) = (service.to_string(), error.to_string());
                    page.unread.push(Unread { service, reason });
                    continue;
                }
                found => found?,
            };
            let letters = found.letters.into_iter().map(|letter| view(&service, letter));
            page.dead_letters.extend(letters);
            if found.more || page.dead_letters.len() == limit {
                page.next = page.dead_letters.last().map(|letter| letter.id.clone());
                break;
            }
        }
        Ok(page)
    }

    async fn dead_in(
        &self,
        service: &ServiceName,
        subscription: Option<String>,
        after: u64,
        limit: usize,
    ) -> Result<DeadLetters, OperateError> {
        let found = match self.store_of(service) {
            // Of one without a file there is none, and none is made for looking.
            Ok(store) if !store.has_file() => return Ok(DeadLetters::default()),
            Ok(store) => store.dead_letters(subscription, after, limit).await,
            Err(OperateError::NoService(_)) if self.inner.kept.has(service) => {
                self.inner.kept.dead_letters(service, subscription, after, limit).await
            }
            Err(error) => return Err(error),
        };
        found.map_err(failed(service))
    }

    /// One dead letter.
    ///
    /// # Errors
    /// When it is not there, or the store cannot be read.
    pub async fn dead_letter(&self, id: &DeadLetterId) -> Result<DeadLetterView, OperateError> {
        Ok(view(&id.service, self.find_dead(id).await?))
    }

    /// Delivers a dead letter again, as if for the first time: to its
    /// subscription, or to the one that it was a replay of. Returns which. That it
    /// will be is durable then.
    ///
    /// # Errors
    /// When it is not there, or nobody wants it any more.
    pub async fn retry_dead(&self, id: &DeadLetterId) -> Result<String, OperateError> {
        let letter = self.find_dead(id).await?;
        let name = |subscription: &str| Name {
            service: id.service.clone(),
            subscription: Arc::from(subscription),
        };
        let own = name(&letter.subscription);
        let shown = self
            .at_work_as(&own)
            .or_else(|| self.at_work_as(&name(base(&letter.subscription))))
            .ok_or_else(|| unwanted(&own))?;
        let event = match letter.without_data {
            true => Some(self.event_of(id, &letter).await?.to_json()),
            false => None,
        };
        let revived = {
            let _turn = self.turn_of(&own).await?;
            let revived = shown.store.retry_dead(id.number, &shown.name.subscription, event).await;
            if matches!(revived, Ok(Revival::Revived { .. })) {
                self.count_one_less_dead(&own);
            }
            revived
        };
        match revived.map_err(OperateError::of_store(&id.service, &shown.store))? {
            Revival::Revived { key, position, origin } => {
                // A dispatcher that has ended finds it among the held when it is back.
                // So does one that doesn't listen for so long, when it is started anew.
                let revived = shown.commands.send(Command::Revived { key, position, origin });
                _ = deadline::within(COMMAND_PATIENCE, revived).await;
                Ok(shown.name.to_string())
            }
            Revival::Waiting => Err(OperateError::Waiting(shown.name.to_string(), letter.position)),
            Revival::Gone => Err(OperateError::NoDeadLetter(id.clone())),
        }
    }

    /// The event of a letter without its data, as the bus has it.
    async fn event_of(
        &self,
        id: &DeadLetterId,
        letter: &DeadLetter,
    ) -> Result<Arc<Event>, OperateError> {
        let limit = ReadLimit { max_events: 1, max_bytes: 0 };
        let batch = self.bus().read(letter.position.saturating_sub(1), limit).await?;
        let head = Event::from_json(&letter.event).ok();
        // Where the bus was lost, another event may be there.
        let is_it = |found: &&Recorded| {
            let same =
                |head: &Event| (&head.id, &head.source) == (&found.event.id, &found.event.source);
            found.position == letter.position && head.as_ref().is_some_and(same)
        };
        let found = batch.events.first().filter(is_it).map(|found| Arc::clone(&found.event));
        found.ok_or_else(|| OperateError::DataGone(id.clone()))
    }

    /// Drops a dead letter for good. Durable when it returns.
    ///
    /// # Errors
    /// When it is not there, or its service is not deployed.
    pub async fn drop_dead(&self, id: &DeadLetterId) -> Result<(), OperateError> {
        let letter = self.find_dead(id).await?;
        let subscription = Arc::from(letter.subscription);
        let own = Name { service: id.service.clone(), subscription };
        let _turn = self.turn_of(&own).await?;
        let store = self.store_of(&id.service);
        let store = store.map_err(|_| OperateError::Undeployed(id.service.clone()))?;
        let dropped = store.drop_dead(id.number).await;
        if !dropped.map_err(OperateError::of_store(&id.service, &store))? {
            return Err(OperateError::NoDeadLetter(id.clone()));
        }
        self.count_one_less_dead(&own);
        Ok(())
    }

    async fn find_dead(&self, id: &DeadLetterId) -> Result<DeadLetter, OperateError> {
        let found = match self.store_of(&id.service) {
            Ok(store) if !store.has_file() => Ok(None),
            Ok(store) => store.dead_letter(id.number).await,
            Err(OperateError::NoService(_)) if self.inner.kept.has(&id.service) => {
                self.inner.kept.dead_letter(&id.service, id.number).await
            }
            Err(error) => return Err(error),
        };
        let found = found.map_err(failed(&id.service))?;
        found.ok_or_else(|| OperateError::NoDeadLetter(id.clone()))
    }

    /// Dead letters of subscriptions that are over, also of services that are not deployed.
    pub(in crate::events) fn dead_of_ended(&self) -> Vec<(Name, u64)> {
        let table = self.table();
        let ended = table.dead_of_ended.iter();
        let ended = ended.filter(|(name, _)| !table.active.contains_key(name));
        ended.map(|(name, count)| (name.clone(), *count)).collect()
    }

    /// How many dead letters a subscription that is over has.
    pub(super) fn dead_left_by(&self, name: &str) -> u64 {
        let table = self.table();
        let own = table.dead_of_ended.iter().find(|(ended, _)| ended.to_string() == name);
        own.map_or(0, |(_, dead)| *dead)
    }

    /// The service's turn, to take a dead letter out in: nobody counts them anew, or notes what a
    /// subscription leaves behind, meanwhile. Not waited for where its store takes its time.
    async fn turn_of(&self, own: &Name) -> Result<Turn, OperateError> {
        let turn = deadline::within(COMMAND_PATIENCE, self.inner.turns.take(&own.service)).await;
        turn.map_err(|deadline::Late| OperateError::Late(own.to_string()))
    }

    /// To be called in the service's turn.
    fn count_one_less_dead(&self, name: &Name) {
        let mut table = self.table();
        if let Some(own) = table.active.get(name) {
            own.status.count_one_less_dead();
        } else if let Some(count) = table.dead_of_ended.get_mut(name) {
            *count = count.saturating_sub(1);
            // A replay's name is used once: it isn't shown for good.
            if *count == 0 {
                table.dead_of_ended.remove(name);
            }
        }
    }

    fn at_work_as(&self, name: &Name) -> Option<Shown> {
        self.shown().iter().find(|shown| shown.name == *name).cloned()
    }

    async fn services(&self) -> Vec<ServiceName> {
        let mut services = self.undeployed().await;
        services.extend(self.inner.registry.load().services.keys().cloned());
        services.extend(self.webhooks().map(|_| ServiceName::webhooks()));
        services.sort();
        services.dedup();
        services
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.number)
    }
}

/// Why a text names no dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a dead letter is named SERVICE/NUMBER")]
pub struct InvalidDeadLetterId;

impl FromStr for DeadLetterId {
    type Err = InvalidDeadLetterId;

    fn from_str(text: &str) -> Result<Self, InvalidDeadLetterId> {
        let (service, number) = text.split_once('/').ok_or(InvalidDeadLetterId)?;
        let service = ServiceName::of_subscriber(service).map_err(|_| InvalidDeadLetterId)?;
        Ok(Self { service, number: number.parse().map_err(|_| InvalidDeadLetterId)? })
    }
}

/// Nobody subscribes as this any more.
fn unwanted(name: &Name) -> OperateError {
    match name.service == ServiceName::webhooks() {
        true => OperateError::NoWebhook(name.to_string()),
        false => OperateError::Unwanted(name.to_string()),
    }
}

fn failed(service: &ServiceName) -> impl Fn(state::Error) -> OperateError {
    |error| OperateError::Store(service.clone(), error)
}

fn view(service: &ServiceName, letter: DeadLetter) -> DeadLetterView {
    DeadLetterView {
        id: format!("{service}/{}", letter.id),
        subscription: format!("{service}/{}", letter.subscription),
        position: letter.position,
        key: letter.key,
        attempts: letter.attempts,
        reason: letter.reason,
        died_at: rfc3339(letter.died_at),
        without_data: letter.without_data,
        event: raw(for_all(&letter.event)),
    }
}

/// The text of a letter's event as it is written today: earlier hosts left JSON in it that not
/// every reader takes, and letters stay.
fn for_all(json: &[u8]) -> Vec<u8> {
    Event::from_json(json).map_or_else(|_| json.to_vec(), |event| event.to_json())
}
