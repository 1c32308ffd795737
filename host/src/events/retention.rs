//! Late copies of all cursors, on the bus; and what the bus forgets by them.

use std::collections::BTreeSet;

use super::engine::{Events, Shown};
use super::status::Oldest;
use crate::bus::{Mirror, ReadLimit};

impl Events {
    /// Finds out how old the oldest events are that are not finished.
    pub(super) async fn look_for_the_oldest(&self) {
        for shown in self.shown().iter() {
            let before = shown.status.oldest();
            let now = match self.oldest_of(shown) {
                Some(position) if before.is_none_or(|before| before.position != position) => {
                    let recorded_at = self.recorded_at(position).await;
                    recorded_at.map(|recorded_at| Oldest { position, recorded_at })
                }
                Some(_) => before,
                None => None,
            };
            shown.status.set_oldest(now);
        }
    }

    /// The position of a subscription's oldest event that is not finished, or of
    /// what it has to read next.
    pub(super) fn oldest_of(&self, shown: &Shown) -> Option<u64> {
        let report = shown.status.report();
        let outstanding =
            shown.store.progress(&shown.name.subscription).and_then(|at| at.first_outstanding);
        let end = shown.until.unwrap_or_else(|| self.inner.bus.last());
        let unread = (report.scanned < end).then_some(report.scanned + 1);
        [outstanding, report.oldest_held, unread].into_iter().flatten().min()
    }

    /// When an event came to the bus, in ms since 1970; of one that was trimmed,
    /// when the first came that is still there.
    pub(super) async fn recorded_at(&self, position: u64) -> Option<u64> {
        let limit = ReadLimit { max_events: 1, max_bytes: 0 };
        let after = position.max(self.inner.bus.first()).checked_sub(1)?;
        let batch = self.inner.bus.read(after, limit).await.ok()?;
        batch.events.first().map(|recorded| recorded.recorded_at)
    }

    /// Notes which cursors are behind what nobody wanted, copies all to the bus, and has
    /// the bus forget what is old.
    pub(super) async fn look_after_the_bus(&self) {
        let mut mirrors = Vec::new();
        let mut known = BTreeSet::new();
        {
            let mut table = self.table();
            if table.is_stopping() {
                return;
            }
            for (name, active) in &mut table.active {
                if let Some(position) = active.note_passed(name) {
                    known.insert(name.to_string());
                    mirrors.push(Mirror { subscription: name.to_string(), position, active: true });
                }
            }
        }
        if let Err(error) = self.mirror(mirrors, &known).await {
            error.warn("the cursors could not be copied to the bus");
            return;
        }
        match self.inner.bus.trim(self.inner.bus.clock().steady_ms()).await {
            Ok(trimmed) if trimmed.events > 0 => {
                tracing::debug!(events = trimmed.events, "trimmed the bus");
            }
            Ok(_) => {}
            Err(error) => error.warn("the bus could not be trimmed"),
        }
    }

    async fn mirror(
        &self,
        mut mirrors: Vec<Mirror>,
        known: &BTreeSet<String>,
    ) -> Result<(), crate::bus::BusError> {
        // Those whose service is gone, or no longer wants them.
        let gone = self.inner.bus.mirrors().await?.into_iter();
        let gone = gone.filter(|row| row.active && !known.contains(&row.subscription));
        mirrors.extend(gone.map(|row| Mirror {
            subscription: row.subscription,
            position: row.position,
            active: false,
        }));
        self.inner.bus.mirror(mirrors).await
    }
}
