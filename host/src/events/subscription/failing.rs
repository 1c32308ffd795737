//! What becomes of events that their handlers did not finish.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::reading::MAX_WINDOW;
use super::{Change, Dispatcher, Settling};
use crate::event::Event;
use crate::events::backoff;
use crate::events::delivery::Attempt;
use crate::events::held::Waiting;
use crate::events::window::Positioned;
use crate::manifest::WhenFailed;
use crate::state::{Consumption, Due, Settlement};

/// Why an event is given up that may succeed another time.
const TOO_MANY: &str = "as many events of its source wait as may (half of `held`, or 64 MiB, or less \
                        where many sources' do), while others' are handled";

impl Dispatcher {
    /// A delivery failed: the event waits for its next, or is given up.
    pub(super) fn failed(&mut self, attempt: Attempt, reason: String, after: Option<Duration>) {
        let used_up = attempt.number >= self.settings.attempts;
        let due = match self.settings.when_failed {
            WhenFailed::DeadLetter if used_up => {
                let reason = format!("{} attempts failed; the last: {reason}", attempt.number);
                self.bury(attempt, reason);
                return;
            }
            WhenFailed::Park if used_up => Due::Parked,
            _ => {
                let wait = backoff::wait(self.settings.backoff, attempt.number, fastrand::f64());
                // No endpoint has more than the operator's longest wait.
                let after = after.unwrap_or_default().min(self.settings.backoff.max);
                Due::At(self.now_ms() + millis(wait.max(after)))
            }
        };
        if !attempt.held && self.is_over_its_part(&attempt.origin) {
            self.bury(attempt, format!("{TOO_MANY}; {reason}"));
            return;
        }
        let Attempt { key, origin, position, event, number, held, .. } = attempt;
        let before = self.held.get(&key, position).map(|waiting| waiting.bytes);
        let bytes = before.or(event.as_ref().map(|event| event.size())).unwrap_or_default();
        let waiting = Waiting { attempts: number, due, reason, origin, bytes, event };
        if held {
            let settlement = Settlement::Defer {
                consumption: self.consumption(position, true),
                attempts: number,
                due,
                reason: waiting.reason.clone(),
            };
            self.settle(vec![settlement], vec![Change::Deferred { key, position, waiting }]);
            return;
        }
        // Those of its key behind it wait, too.
        let mut events = self.window.take(&key);
        let Some(first) = events.pop_front() else { return };
        // Those behind it may be settled before it is: none of them is due until then.
        self.held.reserve(&key, first.position);
        self.lanes.hold(&waiting.origin, waiting.bytes);
        self.hold(vec![(Arc::clone(&key), first, waiting)]);
        self.hold_all_behind(&key, events);
    }

    /// Holds events whose key or lane waits: they are due as soon as it is their turn. Those
    /// that are over their source's part are given up.
    pub(super) fn hold_behind(&mut self, events: Vec<(Arc<str>, Positioned)>) {
        let mut held = Vec::with_capacity(events.len());
        for (key, event) in events {
            let origin = self.lanes.name(event.event.origin());
            if self.is_over_its_part(&origin) {
                // What is in front of it in its key is settled first.
                self.hold(std::mem::take(&mut held));
                self.bury_unread(&key, event);
                continue;
            }
            let bytes = event.event.size();
            self.lanes.hold(&origin, bytes);
            let waiting = Waiting {
                attempts: 0,
                due: Due::At(0),
                reason: String::new(),
                origin,
                bytes,
                event: Some(Arc::clone(&event.event)),
            };
            held.push((key, event, waiting));
        }
        self.hold(held);
    }

    /// Whether no more of a source's may be held, which alone is at fault: the handler does
    /// its work for others. Where nothing says so, no more is read instead.
    fn is_over_its_part(&self, origin: &str) -> bool {
        self.lanes.others_work(origin) && self.lanes.is_crowded(origin, self.settings.held)
    }

    /// Has what waits in the window for a lane that pauses leave room there for the others'.
    pub(super) fn make_room(&mut self) {
        let ahead = self.window.load().with(self.on_their_way);
        if ahead.is_below(MAX_WINDOW) || !self.lanes.any_pauses() || self.is_full() {
            return;
        }
        for key in self.window.ready_in(|origin| self.lanes.pauses(origin)) {
            let events = self.window.take(&key);
            self.hold_all_behind(&key, events);
        }
    }

    /// An event is given up that was not delivered, and is not in the window.
    fn bury_unread(&mut self, key: &Arc<str>, event: Positioned) {
        let consumption = self.consumption(event.position, false);
        // Until it is settled no more is read in its place.
        self.on_their_way.add(&event.event);
        let unread = Some(Arc::clone(&event.event));
        let (settlement, change) =
            self.burial(consumption, key, event.event, 0, TOO_MANY.to_owned(), unread);
        self.settle(vec![settlement], vec![change]);
    }

    /// Moves events to the held, in one commit.
    fn hold(&mut self, events: Vec<(Arc<str>, Positioned, Waiting)>) {
        if events.is_empty() {
            return;
        }
        let mut settlements = Vec::with_capacity(events.len());
        let mut changes = Vec::with_capacity(events.len());
        for (key, event, waiting) in events {
            *self.settling.entry(Arc::clone(&key)).or_default() += 1;
            self.on_their_way.add(&event.event);
            settlements.push(Settlement::Hold {
                consumption: self.consumption(event.position, false),
                key: Arc::clone(&key),
                event: event.event,
                attempts: waiting.attempts,
                due: waiting.due,
                reason: waiting.reason.clone(),
            });
            changes.push(Change::Held { key, position: event.position, waiting });
        }
        self.settle(settlements, changes);
    }

    pub(super) fn bury(&mut self, attempt: Attempt, reason: String) {
        let Attempt { key, position, event, number, held, .. } = attempt;
        let event = event.expect("an event that was delivered is in memory");
        let consumption = self.consumption(position, held);
        let (settlement, given_up) = self.burial(consumption, &key, event, number, reason, None);
        let change = if held { Change::Left { key, position } } else { Change::Finished { key } };
        self.settle(vec![settlement], vec![change, given_up]);
    }

    /// What makes an event a dead letter.
    fn burial(
        &self,
        consumption: Consumption,
        key: &Arc<str>,
        event: Arc<Event>,
        attempts: u32,
        reason: String,
        unread: Option<Arc<Event>>,
    ) -> (Settlement, Change) {
        let (service, subscription) = self.parts.labels();
        let (id, event_type) = (event.id.as_str(), event.event_type.as_str());
        let position = consumption.position;
        tracing::warn!(service, subscription, position, id, event_type, reason, "dead letter");
        let kept = Arc::new(AtomicBool::new(true));
        let settlement = Settlement::Bury {
            consumption,
            key: Arc::clone(key),
            event,
            attempts,
            reason,
            kept: Arc::clone(&kept),
        };
        (settlement, Change::GivenUp { kept, unread })
    }

    /// Settles in the background, after what is to be settled already.
    pub(super) fn settle(&mut self, settlements: Vec<Settlement>, changes: Vec<Change>) {
        self.under_way += 1;
        // Its receiver lives as long as this does.
        let _ = self.to_settle.send(Settling { settlements, changes });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
