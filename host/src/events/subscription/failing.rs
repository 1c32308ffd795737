//! What becomes of events that their handlers did not finish.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{Change, Dispatcher, Settling};
use crate::events::backoff;
use crate::events::delivery::Attempt;
use crate::events::held::Waiting;
use crate::events::window::Positioned;
use crate::manifest::WhenFailed;
use crate::state::{Due, Settlement};

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
                Due::At(self.now_ms() + millis(wait.max(after.unwrap_or_default())))
            }
        };
        let Attempt { key, position, event, number, held } = attempt;
        let waiting = Waiting { attempts: number, due, reason, event };
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
        self.hold(vec![(Arc::clone(&key), first, waiting)]);
        self.hold_all_behind(&key, events);
    }

    /// Holds events whose key waits: they are due as soon as it is their turn.
    pub(super) fn hold_behind(&mut self, events: Vec<(Arc<str>, Positioned)>) {
        let waiting = |event: &Positioned| Waiting {
            attempts: 0,
            due: Due::At(0),
            reason: String::new(),
            event: Some(Arc::clone(&event.event)),
        };
        let events = events.into_iter().map(|(key, event)| {
            let waiting = waiting(&event);
            (key, event, waiting)
        });
        self.hold(events.collect());
    }

    /// Moves events to the held, in one commit.
    fn hold(&mut self, events: Vec<(Arc<str>, Positioned, Waiting)>) {
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
        let Attempt { key, position, event, number, held } = attempt;
        let event = event.expect("an event that was delivered is in memory");
        let (service, subscription) = self.parts.labels();
        let (id, event_type) = (event.id.as_str(), event.event_type.as_str());
        tracing::warn!(service, subscription, position, id, event_type, reason, "dead letter");
        let kept = Arc::new(AtomicBool::new(true));
        let settlement = Settlement::Bury {
            consumption: self.consumption(position, held),
            key: Arc::clone(&key),
            event,
            attempts: number,
            reason,
            kept: Arc::clone(&kept),
        };
        let change = if held { Change::Left { key, position } } else { Change::Finished { key } };
        self.settle(vec![settlement], vec![change, Change::GivenUp { kept }]);
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
