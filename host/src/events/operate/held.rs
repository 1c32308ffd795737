//! The events that wait in a subscription.

use serde::Serialize;
use utoipa::ToSchema;

use super::{MAX_PAGE, OperateError, parsed, rfc3339};
use crate::events::engine::{Events, Name};
use crate::state::{Due, HeldCount, HeldEntry};

/// An event that waits for another attempt, or for one of its key. Field names
/// are stable.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HeldView {
    /// Its position on the bus.
    pub position: u64,
    /// What it is ordered by.
    pub key: String,
    /// Deliveries that failed; 0 for one that waits for another of its key.
    pub attempts: u32,
    /// Whether it waits for an operator.
    pub parked: bool,
    /// When its next attempt is (RFC 3339); none where it waits for an operator,
    /// or for another of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<String>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Some of the events that wait, by position.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HeldPage {
    /// The events.
    pub held: Vec<HeldView>,
    /// The `after` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

impl Events {
    /// The events that wait in a subscription, after a position; also in one that no version
    /// wants any more.
    ///
    /// # Errors
    /// When there is no such subscription, or its store cannot be read.
    pub async fn held(
        &self,
        name: &str,
        after: u64,
        limit: usize,
    ) -> Result<HeldPage, OperateError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let mut held = match self.find(name) {
            Ok(shown) => {
                let held = shown.store.held(&shown.name.subscription, after, limit + 1).await;
                held.map_err(OperateError::of_store(&shown.name.service, &shown.store))?
            }
            Err(unknown) => {
                let mirrors = self.inner.bus.mirrors().await?;
                let is_gone = mirrors.iter().any(|row| row.subscription == name);
                let name = parsed(name).filter(|_| is_gone).ok_or(unknown)?;
                self.held_at_rest(&name, after, limit + 1).await?
            }
        };
        let more = held.len() > limit;
        held.truncate(limit);
        let next = held.last().filter(|_| more).map(|last| last.position);
        Ok(HeldPage { held: held.into_iter().map(view).collect(), next })
    }

    /// The events that wait in a subscription without a dispatcher, as its store has them.
    async fn held_at_rest(
        &self,
        name: &Name,
        after: u64,
        limit: usize,
    ) -> Result<Vec<HeldEntry>, OperateError> {
        let Name { service, subscription } = name;
        let held = match self.store_of(service) {
            Ok(store) if store.has_file() => store.held(subscription, after, limit).await,
            Err(_) if self.inner.kept.has(service) => {
                self.inner.kept.held(service, subscription, after, limit).await
            }
            // Nothing waits where there is no file, and none is made for looking.
            _ => return Ok(Vec::new()),
        };
        held.map_err(|error| OperateError::Store(service.clone(), error))
    }

    /// How much waits in a subscription without a dispatcher, as its store has it.
    pub(super) async fn held_count_at_rest(&self, name: &Name) -> Result<HeldCount, OperateError> {
        let Name { service, subscription } = name;
        let count = match self.store_of(service) {
            Ok(store) if store.has_file() => store.held_count(subscription).await,
            Err(_) if self.inner.kept.has(service) => {
                self.inner.kept.held_count(service, subscription).await
            }
            _ => return Ok(HeldCount::default()),
        };
        count.map_err(|error| OperateError::Store(service.clone(), error))
    }
}

fn view(entry: HeldEntry) -> HeldView {
    let HeldEntry { position, key, attempts, due, reason, .. } = entry;
    let due_at = match due {
        Due::At(at) if at > 0 => Some(rfc3339(at)),
        Due::At(_) | Due::Parked => None,
    };
    HeldView { position, key, attempts, parked: due == Due::Parked, due_at, reason }
}
