//! The events that wait in a subscription.

use serde::Serialize;
use utoipa::ToSchema;

use super::{MAX_PAGE, OperateError, rfc3339};
use crate::events::engine::Events;
use crate::state::{Due, HeldEntry};

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
    /// The events that wait in a subscription, after a position.
    ///
    /// # Errors
    /// When there is no such subscription, or its store cannot be read.
    pub async fn held(
        &self,
        name: &str,
        after: u64,
        limit: usize,
    ) -> Result<HeldPage, OperateError> {
        let shown = self.find(name)?;
        let limit = limit.clamp(1, MAX_PAGE);
        let held = shown.store.held(&shown.name.subscription, after, limit + 1).await;
        let mut held = held.map_err(OperateError::of_store(&shown.name.service, &shown.store))?;
        let more = held.len() > limit;
        held.truncate(limit);
        let next = held.last().filter(|_| more).map(|last| last.position);
        Ok(HeldPage { held: held.into_iter().map(view).collect(), next })
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
