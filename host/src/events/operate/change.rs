//! What an operator does with a subscription.

use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::{OperateError, parsed, rfc3339};
use crate::bus::Mirror;
use crate::deadline;
use crate::events::command::{COMMAND_PATIENCE, Command, Reply};
use crate::events::engine::{Events, REPLAY, base};
use crate::events::gone;
use crate::name::ServiceName;
use crate::state::Cursor;

/// Where a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayFrom {
    /// With the event at this position.
    Position(u64),
    /// With the first that came at this time or later, in ms since 1970.
    Time(u64),
}

/// A replay that has begun. Field names are stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Replay {
    /// Its name, `<service>/<subscription>@<number>`, for as long as it lasts.
    pub subscription: String,
    /// The first position.
    pub from: u64,
    /// The last one.
    pub until: u64,
}

/// A subscription that was resumed. Field names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Resumed {
    /// Whether it was paused.
    pub was_paused: bool,
}

/// A subscription that was dropped. Field names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Dropped {
    /// How many events waited in it, which are dropped with it; none where its store could not
    /// be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<usize>,
}

impl Events {
    /// Counts an event as finished that waits in a subscription. Durable when it
    /// returns.
    ///
    /// # Errors
    /// When none waits at this position.
    pub async fn skip(&self, name: &str, position: u64) -> Result<(), OperateError> {
        self.command(name, |reply| Command::Skip { position, reply }).await
    }

    /// Delivers a held or parked event now, as if for the first time. That it will
    /// be is durable when it returns.
    ///
    /// # Errors
    /// When none waits at this position.
    pub async fn retry_held(&self, name: &str, position: u64) -> Result<(), OperateError> {
        self.command(name, |reply| Command::Retry { position, reply }).await
    }

    /// Ends a subscription's pause, also one that a webhook's endpoint asked for; what waits for
    /// another attempt has it now. Says whether it was paused.
    ///
    /// # Errors
    /// When there is no such subscription, or the webhooks' store cannot be written.
    pub async fn resume(&self, name: &str) -> Result<Resumed, OperateError> {
        let shown = self.find_at_work(name).await?;
        let service = &shown.name.service;
        if *service == ServiceName::webhooks() {
            let forgotten = gone::forget(&shown.store, base(&shown.name.subscription)).await;
            forgotten.map_err(OperateError::of_store(service, &shown.store))?;
        }
        let (reply, resumed) = oneshot::channel();
        let resumed = async {
            shown.commands.send(Command::Resume { reply }).await.ok()?;
            resumed.await.ok()
        };
        let resumed = deadline::within(COMMAND_PATIENCE, resumed).await;
        let resumed = resumed.map_err(|deadline::Late| OperateError::Late(name.to_owned()))?;
        let was_paused = resumed.ok_or_else(|| OperateError::NoSubscription(name.to_owned()))?;
        Ok(Resumed { was_paused })
    }

    /// Delivers what a subscription wants again, up to the newest event there is
    /// now, beside what is new.
    ///
    /// # Errors
    /// When there is no such subscription, or no such event on the bus.
    pub async fn replay(&self, name: &str, from: ReplayFrom) -> Result<Replay, OperateError> {
        let shown = self.find_at_work(name).await?;
        let bus = &self.inner.bus;
        let service = &shown.name.service;
        let from = match from {
            ReplayFrom::Position(position) => position.max(1),
            ReplayFrom::Time(time) => {
                let position = bus.position_at(time).await?;
                position.ok_or_else(|| OperateError::NothingSince(rfc3339(time)))?
            }
        };
        let subscription = base(&shown.name.subscription);
        let taken = shown.store.cursors().await;
        let taken = taken.map_err(OperateError::of_store(service, &shown.store))?;
        let replay = loop {
            let replay = format!("{subscription}{REPLAY}{:08x}", fastrand::u32(..));
            if !taken.iter().any(|cursor| cursor.subscription == replay) {
                break replay;
            }
        };
        let full_name = format!("{service}/{replay}");
        // From here on the bus waits for it; only now is certain what it has.
        let mirror = Mirror { subscription: full_name.clone(), position: from - 1, active: true };
        bus.mirror(vec![mirror]).await?;
        let (first, last) = (bus.first(), bus.last());
        if from < first || from > last {
            bus.forget(&full_name).await?;
            return Err(OperateError::NoPosition { from, first, last });
        }
        let cursor = Cursor { subscription: replay, position: from - 1, until: Some(last) };
        let begun = shown.store.begin_subscriptions(vec![cursor]).await;
        begun.map_err(OperateError::of_store(service, &shown.store))?;
        self.note_cursor(service).await;
        Ok(Replay { subscription: full_name, from, until: last })
    }

    /// Drops a subscription that no version wants any more: the bus doesn't wait
    /// for it. Ends a replay. Says how many held events are dropped with it.
    ///
    /// # Errors
    /// When it is wanted, or not there.
    pub async fn drop_subscription(&self, name: &str) -> Result<Dropped, OperateError> {
        if let Ok(shown) = self.find(name) {
            let held = Some(shown.status.report().held);
            let ended = self.end_replay(&shown.name).await;
            return match ended.map_err(OperateError::of(&shown.name.service, &shown.store))? {
                true => Ok(Dropped { held }),
                false => Err(OperateError::Wanted(name.to_owned())),
            };
        }
        let mirrors = self.inner.bus.mirrors().await?;
        if !mirrors.iter().any(|row| row.subscription == name) {
            return Err(OperateError::NoSubscription(name.to_owned()));
        }
        // One that has not started yet is not gone; a replay may end before it has.
        if !name.contains(REPLAY) && self.is_wanted(name) {
            return Err(OperateError::Wanted(name.to_owned()));
        }
        // Before its rows go. A store that cannot be read keeps nobody from dropping it.
        let held = self.count_held(name).await.ok().map(|count| count.held);
        // The rows of a service that is gone are in its store, until it comes back.
        match parsed(name).map(|name| (self.store_of(&name.service), name)) {
            Some((Ok(store), name)) => {
                let forgotten = self.forget(&name, &store).await;
                forgotten.map_err(OperateError::of(&name.service, &store))?;
            }
            _ => self.inner.bus.drop_gone(name).await?,
        }
        Ok(Dropped { held })
    }

    /// Has a dispatcher do something; returns when it is durable.
    async fn command(
        &self,
        name: &str,
        command: impl FnOnce(Reply) -> Command,
    ) -> Result<(), OperateError> {
        let shown = self.find_at_work(name).await?;
        let gone = || OperateError::NoSubscription(name.to_owned());
        let (reply, done) = oneshot::channel();
        let done = async {
            shown.commands.send(command(reply)).await.map_err(|_| gone())?;
            let done = done.await.map_err(|_| gone())?;
            done.map_err(|refusal| OperateError::Refused(name.to_owned(), refusal))
        };
        let late = |deadline::Late| Err(OperateError::Late(name.to_owned()));
        deadline::within(COMMAND_PATIENCE, done).await.unwrap_or_else(late)
    }
}
