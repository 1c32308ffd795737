//! Late copies of all cursors, on the bus; and what the bus forgets by them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::{Active, Events, Name};
use crate::bus::Mirror;
use crate::state::{Settlement, now_ms};

/// Unwanted events that a subscription passes before its cursor is written.
const MAX_PASSED: u64 = 1_000;

/// How long a cursor may be behind what was passed.
const MAX_PASSED_TIME: Duration = Duration::from_secs(60);

impl Events {
    /// Moves cursors past what nobody wanted, copies them to the bus, and has the
    /// bus forget what is old.
    pub(super) async fn look_after_the_bus(&self) {
        let mut mirrors = Vec::new();
        let mut known = BTreeSet::new();
        {
            let mut table = self.inner.table.lock().await;
            if table.is_stopping() {
                return;
            }
            for (name, active) in &mut table.active {
                if let Some(position) = advance(name, active).await {
                    known.insert(name.to_string());
                    mirrors.push(Mirror { subscription: name.to_string(), position, active: true });
                }
            }
        }
        if let Err(error) = self.mirror(mirrors, &known).await {
            tracing::warn!(%error, "the cursors could not be copied to the bus");
            return;
        }
        match self.inner.bus.trim(now_ms()).await {
            Ok(trimmed) if trimmed.events > 0 => {
                tracing::debug!(events = trimmed.events, "trimmed the bus");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the bus could not be trimmed"),
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

/// Writes the cursor where it is far behind what was passed. Returns where it is.
async fn advance(name: &Name, active: &mut Active) -> Option<u64> {
    let progress = active.store.progress(&name.subscription)?;
    let passed = progress.scanned.saturating_sub(progress.cursor);
    if progress.outstanding > 0 || passed == 0 {
        active.passed_since = None;
        return Some(progress.cursor);
    }
    let since = *active.passed_since.get_or_insert_with(Instant::now);
    if passed < MAX_PASSED && since.elapsed() < MAX_PASSED_TIME {
        return Some(progress.cursor);
    }
    let subscription = Arc::clone(&name.subscription);
    let advanced = match active.store.settle(vec![Settlement::Advance { subscription }]).await {
        Ok(committed) => committed.durable().await,
        Err(error) => Err(error),
    };
    if let Err(error) = advanced {
        tracing::warn!(subscription = %name, %error, "its cursor could not be moved");
    }
    active.passed_since = None;
    active.store.progress(&name.subscription).map(|progress| progress.cursor)
}
