//! What a subscription reads off the bus, ahead of its handlers: into its window, or among the held
//! where an event's key waits.

use std::sync::Arc;

use super::{Dispatcher, SETTLE_PAUSE};
use crate::bus::ReadLimit;
use crate::events::window::{Load, Positioned};

/// Events that are read ahead of the handlers, and those on their way among the held.
pub(super) const MAX_WINDOW: Load = Load { events: 1_024, bytes: 16 << 20 };

/// What is read off the bus at once.
const READ: ReadLimit = ReadLimit { max_events: 512, max_bytes: 4 << 20 };

impl Dispatcher {
    /// Reads on, as far as there is room.
    pub(super) async fn refill(&mut self) {
        while self.wants_more() && self.scanned < self.parts.bus.last() {
            let batch = match self.parts.bus.read(self.scanned, READ).await {
                Ok(batch) => batch,
                Err(error) => {
                    let (service, subscription) = self.parts.labels();
                    tracing::error!(service, subscription, %error, "the bus cannot be read");
                    self.rest(SETTLE_PAUSE);
                    return;
                }
            };
            let upto = self.parts.until.map_or(batch.upto, |until| until.min(batch.upto));
            let mut events = batch.events;
            events.truncate(events.partition_point(|recorded| recorded.position <= upto));
            // Positions have no holes but what the bus lost or let go of.
            let missing = (upto - self.scanned).saturating_sub(events.len() as u64);
            self.note_missing(missing);
            let wanted = events
                .into_iter()
                .filter(|recorded| self.settings.wants(&recorded.event.event_type))
                .map(Positioned::from);
            self.scan(upto, wanted.collect());
        }
    }

    fn note_missing(&self, missing: u64) {
        if missing > 0 {
            self.parts.status.count_missed(missing);
            let (subscription, after) = (&*self.parts.name, self.scanned);
            let (service, _) = self.parts.labels();
            tracing::error!(
                service,
                subscription,
                after,
                missing,
                "the bus no longer has these events"
            );
        }
    }

    /// Takes in what was read: to the window, or to the held where the key waits.
    fn scan(&mut self, upto: u64, wanted: Vec<Positioned>) {
        let positions: Vec<u64> = wanted.iter().map(|event| event.position).collect();
        let mut fresh = self.parts.store.scan(&self.parts.name, upto, &positions).into_iter();
        let mut next = fresh.next();
        let mut late = Vec::new();
        for event in wanted {
            if next != Some(event.position) {
                continue;
            }
            next = fresh.next();
            let key: Arc<str> = Arc::from(event.event.key());
            if self.held.has(&key) || self.settling.contains_key(&key) {
                late.push((key, event));
            } else {
                self.window.push(&key, event);
            }
        }
        self.scanned = upto;
        if !late.is_empty() {
            self.hold_behind(late);
        }
    }

    pub(super) fn wants_more(&self) -> bool {
        let ended = self.parts.until.is_some_and(|until| self.scanned >= until);
        let rests = self.rests();
        let ahead = self.window.load().with(self.on_their_way);
        !ended && !rests && ahead.is_below(MAX_WINDOW) && !self.is_full()
    }

    /// Whether as many events are held as may be.
    pub(super) fn is_full(&self) -> bool {
        self.held.len() >= self.settings.held || self.lanes.is_full()
    }
}
