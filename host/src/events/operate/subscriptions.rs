//! Subscriptions, and how they stand.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use utoipa::ToSchema;

use super::{MAX_PAGE, OperateError, parsed};
use crate::bus::MirrorRow;
use crate::clock::now_ms;
use crate::deadline;
use crate::events::engine::{Events, Shown};
use crate::state::HeldCount;

/// A subscription. Field names are stable.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SubscriptionStatus {
    /// `<service>/<subscription>`; with `@` and a number behind it, a replay.
    pub name: String,
    /// Its type pattern; none where no version wants it any more.
    #[serde(rename = "type")]
    pub pattern: Option<String>,
    /// `running`, `paused`, `full`, `parked`, `gap`, `starting`, or `gone` where no
    /// version wants it any more.
    pub state: &'static str,
    /// Everything up to here is finished, held, dead or not wanted.
    pub position: u64,
    /// Where a replay ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// How many events follow `position`, to the newest on the bus or where a replay ends, wanted
    /// or not.
    pub lag: u64,
    /// Events that it has read and that are neither finished nor held.
    pub in_flight: usize,
    /// Events that wait for another attempt, or for one of their key.
    pub held: usize,
    /// Keys that wait for an operator.
    pub parked: usize,
    /// Dead letters that are there.
    pub dead: u64,
    /// The position of the oldest event that is not finished.
    pub oldest_position: Option<u64>,
    /// Since when that is on the bus, in milliseconds; where the bus has
    /// forgotten it, at least so long.
    pub oldest_age_ms: Option<u64>,
    /// Deliveries since the host's start.
    pub attempts: u64,
    /// Those that ended well.
    pub delivered: u64,
    /// Those that failed.
    pub failed: u64,
    /// Deliveries that were no attempts: the service was not there, or could not do its work
    /// for a reason that is not its own.
    pub undelivered: u64,
    /// Events that became dead letters, since the start.
    pub given_up: u64,
    /// Events that the bus no longer had when their turn came, since the start.
    pub missed: u64,
    /// Why the last delivery that failed did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Some of the subscriptions, by name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SubscriptionPage {
    /// The subscriptions.
    pub subscriptions: Vec<SubscriptionStatus>,
    /// The `after` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How long a list waits for the stores of subscriptions that are gone.
const COUNT_PATIENCE: Duration = Duration::from_secs(2);

/// All states that there are.
pub(in crate::events) const STATES: [&str; 7] =
    ["running", "paused", "full", "parked", "gap", "starting", "gone"];

/// One at work, or one that only holds the bus.
enum Known {
    Shown(Shown),
    Gone(MirrorRow),
}

impl Events {
    /// The subscriptions whose names come after `after`: those at work, and those
    /// that no version wants any more and that still hold the bus.
    ///
    /// # Errors
    /// When the bus cannot be read.
    pub async fn subscriptions(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SubscriptionPage, OperateError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let mut known = self.known().await?;
        known.retain(|(name, _)| after.is_none_or(|after| name.as_str() > after));
        let next = (known.len() > limit).then(|| known[limit - 1].0.clone());
        // At once: several stores may take their time.
        let known = known.into_iter().take(limit);
        let subscriptions = join_all(known.map(|(_, known)| self.status_of(known))).await;
        Ok(SubscriptionPage { subscriptions, next })
    }

    /// One subscription.
    ///
    /// # Errors
    /// When there is none of this name, or the bus cannot be read.
    pub async fn subscription(&self, name: &str) -> Result<SubscriptionStatus, OperateError> {
        let known = self.known().await?.into_iter().find(|(known, _)| known == name);
        let (_, known) = known.ok_or_else(|| OperateError::NoSubscription(name.to_owned()))?;
        Ok(self.status_of(known).await)
    }

    /// All there are, by name.
    async fn known(&self) -> Result<Vec<(String, Known)>, OperateError> {
        let mirrors = self.inner.bus.mirrors().await?;
        // After the copies, so that what ended in between is not `gone`.
        let shown = self.shown();
        let mut known: Vec<(String, Known)> = shown
            .iter()
            .map(|shown| (shown.name.to_string(), Known::Shown(shown.clone())))
            .collect();
        let is_shown = |name: &String| known.iter().any(|(known, _)| known == name);
        let gone: Vec<_> = mirrors
            .into_iter()
            .filter(|row| !is_shown(&row.subscription))
            .map(|row| (row.subscription.clone(), Known::Gone(row)))
            .collect();
        known.extend(gone);
        known.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(known)
    }

    async fn status_of(&self, known: Known) -> SubscriptionStatus {
        match known {
            Known::Shown(shown) => self.at_work(&shown).await,
            Known::Gone(row) => self.gone(row).await,
        }
    }

    /// What one at work does.
    pub(in crate::events) fn state_of(&self, shown: &Shown) -> &'static str {
        let report = shown.status.report();
        match report.state.name() {
            // What it has lost is said first, whatever keeps it from reading on.
            _ if shown.position() + 1 < self.inner.bus.first() => "gap",
            "running" if report.parked > 0 => "parked",
            name => name,
        }
    }

    /// Finds those that only hold the bus, and their states.
    pub(in crate::events) async fn look_for_idle(&self) {
        match self.known().await {
            Ok(known) => {
                let idle = known.into_iter().filter_map(|(name, known)| match known {
                    Known::Shown(_) => None,
                    Known::Gone(_) => Some((name.clone(), self.state_of_idle(&name))),
                });
                self.inner.idle.store(Arc::new(idle.collect()));
            }
            Err(error) => tracing::debug!(%error, "which subscriptions are gone is seen later"),
        }
    }

    fn state_of_idle(&self, name: &str) -> &'static str {
        if self.is_wanted(name) { "starting" } else { "gone" }
    }

    async fn at_work(&self, shown: &Shown) -> SubscriptionStatus {
        let bus = &self.inner.bus;
        let (report, counts) = (shown.status.report(), shown.status.counts());
        let oldest_position = self.oldest_of(shown);
        SubscriptionStatus {
            name: shown.name.to_string(),
            pattern: Some(shown.pattern.clone()),
            state: self.state_of(shown),
            position: shown.position(),
            until: shown.until,
            lag: shown.lag(bus.last()),
            in_flight: report.window,
            held: report.held,
            parked: report.parked,
            dead: counts.dead,
            oldest_position,
            oldest_age_ms: self.age_of(oldest_position).await,
            attempts: counts.delivered + counts.failed,
            delivered: counts.delivered,
            failed: counts.failed,
            undelivered: counts.undelivered,
            given_up: counts.given_up,
            missed: counts.missed,
            last_error: shown.status.last_error(),
        }
    }

    /// One of which only the bus's copy is there.
    async fn gone(&self, row: MirrorRow) -> SubscriptionStatus {
        let state = self.state_of_idle(&row.subscription);
        let lag = self.inner.bus.last().saturating_sub(row.position);
        let oldest_position = (lag > 0).then_some(row.position + 1);
        let dead = self.dead_left_by(&row.subscription);
        let name = parsed(&row.subscription);
        let store = name.and_then(|name| self.store_of(&name.service).ok());
        let (waits, uncounted) = match self.count_held(&row.subscription).await {
            Ok(count) => (count, None),
            Err(reason) => (HeldCount::default(), Some(reason)),
        };
        SubscriptionStatus {
            name: row.subscription,
            pattern: None,
            state,
            position: row.position,
            until: None,
            lag,
            in_flight: 0,
            held: waits.held,
            parked: waits.parked,
            dead,
            oldest_position,
            oldest_age_ms: self.age_of(oldest_position).await,
            attempts: 0,
            delivered: 0,
            failed: 0,
            undelivered: 0,
            given_up: 0,
            missed: 0,
            last_error: store.and_then(|store| store.unopened()).or(uncounted),
        }
    }

    /// How much waits in a subscription of which only the bus's copy is there, or why that is
    /// not known.
    pub(super) async fn count_held(&self, full_name: &str) -> Result<HeldCount, String> {
        let Some(name) = parsed(full_name) else { return Ok(HeldCount::default()) };
        let counted = deadline::within(COUNT_PATIENCE, self.held_count_at_rest(&name)).await;
        let counted = counted.map_err(|deadline::Late| {
            format!("what it holds is not counted: its store did not answer in {COUNT_PATIENCE:?}")
        })?;
        counted.map_err(|error| format!("what it holds is not counted: {error}"))
    }

    async fn age_of(&self, position: Option<u64>) -> Option<u64> {
        let recorded_at = self.recorded_at(position?).await?;
        Some(now_ms().saturating_sub(recorded_at))
    }
}
