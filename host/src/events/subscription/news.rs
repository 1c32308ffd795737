//! What deliveries and settlements tell their subscription when they end, and what it makes of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Dispatcher;
use crate::event::Event;
use crate::events::command::Reply;
use crate::events::delivery::{Attempt, Ending};
use crate::events::held::Waiting;

/// How often in a row an event's delivery may conflict with others before that is an attempt
/// which failed.
const MAX_CONFLICTS: u32 = 20;

/// What the tasks that a dispatcher starts tell it.
pub(in crate::events) enum News {
    Ended(Attempt, Ending),
    /// A settlement is durable: what that changes.
    Settled(Vec<Change>),
    /// A settlement was given up, since all of this ends.
    Unsettled,
}

pub(in crate::events) enum Change {
    /// It is among the held.
    Held { key: Arc<str>, position: u64, waiting: Waiting },
    /// A held event waits on.
    Deferred { key: Arc<str>, position: u64, waiting: Waiting },
    /// A held event is no longer there.
    Left { key: Arc<str>, position: u64 },
    /// The first event of a key in the window is finished.
    Finished { key: Arc<str> },
    /// It is given up; there is a dead letter of it, unless there is no room for one.
    /// `unread`: it was on its way, and no handler had it.
    GivenUp { kept: Arc<AtomicBool>, unread: Option<Arc<Event>> },
    /// A command is done.
    Answer(Reply),
}

impl Dispatcher {
    pub(super) fn take(&mut self, news: News) {
        self.under_way -= 1;
        match news {
            News::Ended(attempt, ending) => self.ended(attempt, ending),
            News::Settled(changes) => changes.into_iter().for_each(|change| self.change(change)),
            News::Unsettled => {}
        }
        if !self.revived.is_empty() {
            self.free_revived();
        }
    }

    fn ended(&mut self, attempt: Attempt, ending: Ending) {
        let status = &self.parts.status;
        if !matches!(ending, Ending::Conflicted(_)) {
            self.conflicts.remove(&attempt.position);
        }
        match ending {
            Ending::Finished => {
                status.count_delivered();
                self.lanes.succeeded(&attempt.origin);
                if attempt.held {
                    self.leave(&attempt.key, attempt.position);
                } else {
                    self.window.finished(&attempt.key);
                }
            }
            Ending::Rejected(reason) => {
                status.count_failed(&reason);
                self.lanes.rejected(&attempt.origin);
                self.bury(attempt, format!("rejected: {reason}"));
            }
            Ending::Failed { reason, after } => {
                status.count_failed(&reason);
                if self.lanes.failed(&attempt.origin, &attempt.key, Instant::now()) {
                    let (service, subscription) = self.parts.labels();
                    tracing::warn!(
                        service,
                        subscription,
                        source = &*attempt.origin,
                        reason,
                        "deliveries of one source's events fail in a row: they are paused"
                    );
                }
                self.failed(attempt, reason, after);
            }
            Ending::Conflicted(reason) => {
                let times = self.conflicts(&attempt) + 1;
                if times < MAX_CONFLICTS {
                    self.conflicts.insert(attempt.position, times);
                    self.again(&attempt, &reason);
                } else {
                    self.conflicts.remove(&attempt.position);
                    // Whatever it conflicts with is there each time: it may be of its own doing.
                    let reason = format!("{reason} ({times} deliveries in a row)");
                    status.count_failed(&reason);
                    self.lanes.undecided(&attempt.origin);
                    self.failed(attempt, reason, None);
                }
            }
            Ending::Undelivered { reason, pause } => {
                if !pause.is_zero() {
                    self.rest(pause);
                }
                self.again(&attempt, &reason);
            }
        }
    }

    /// It was no attempt: it is delivered again, before others of its key.
    fn again(&mut self, attempt: &Attempt, reason: &str) {
        let (service, subscription) = self.parts.labels();
        tracing::debug!(service, subscription, reason, "not delivered");
        self.parts.status.count_undelivered(reason);
        self.lanes.undecided(&attempt.origin);
        if attempt.held {
            self.held.again(&attempt.key, 0);
        } else {
            self.window.again(&attempt.key);
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Held { key, position, waiting } => {
                if let Some(count) = self.settling.get_mut(&key) {
                    *count -= 1;
                    if *count == 0 {
                        self.settling.remove(&key);
                    }
                }
                if let Some(event) = &waiting.event {
                    self.on_their_way.remove(event);
                }
                self.held.insert(&key, position, waiting);
            }
            Change::Deferred { key, position, waiting } => {
                self.held.insert(&key, position, waiting);
            }
            Change::Left { key, position } => self.leave(&key, position),
            Change::Finished { key } => self.window.finished(&key),
            Change::GivenUp { kept, unread } => {
                if let Some(event) = unread {
                    self.on_their_way.remove(&event);
                }
                self.parts.status.count_given_up(kept.load(Ordering::Relaxed));
            }
            Change::Answer(reply) => drop(reply.send(Ok(()))),
        }
    }

    /// A held event is no longer there.
    pub(super) fn leave(&mut self, key: &Arc<str>, position: u64) {
        if let Some(left) = self.held.remove(key, position) {
            self.lanes.release(&left.origin, left.bytes);
        }
    }
}
