//! The newest events, in memory: who keeps up never reads the file.

use std::collections::VecDeque;

use super::options::BusOptions;
use super::{Batch, Position, ReadLimit, Recorded};

/// A run of events without holes that ends with the last durable one.
#[derive(Debug)]
pub(super) struct Tail {
    events: VecDeque<Recorded>,
    bytes: usize,
    /// The last event's position, also when no event is here.
    last: Position,
    max_events: usize,
    max_bytes: usize,
}

impl Tail {
    /// The tail of a log that has just been opened: empty.
    pub(super) fn after(last: Position, options: &BusOptions) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            last,
            max_events: options.tail_events,
            max_bytes: options.tail_bytes,
        }
    }

    /// Takes events that have become durable; the oldest make room.
    pub(super) fn extend(&mut self, events: Vec<Recorded>) {
        for recorded in events {
            self.skip_to(recorded.position - 1);
            self.last = recorded.position;
            self.bytes += recorded.bytes;
            self.events.push_back(recorded);
        }
        while self.events.len() > self.max_events || self.bytes > self.max_bytes {
            self.pop();
        }
    }

    /// Nothing up to this position comes any more.
    pub(super) fn skip_to(&mut self, position: Position) {
        if position > self.last {
            self.events.clear();
            self.bytes = 0;
            self.last = position;
        }
    }

    /// Lets go of what is before `first`, which is no longer in the log.
    pub(super) fn trim(&mut self, first: Position) {
        while self.events.front().is_some_and(|oldest| oldest.position < first) {
            self.pop();
        }
    }

    /// What comes after `after`, unless some of it is no longer here.
    pub(super) fn read(&self, after: Position, limit: ReadLimit) -> Option<Batch> {
        let before_first = self.last - self.events.len() as Position;
        let skipped = after.checked_sub(before_first)?;
        let mut batch = Batch::nothing_after(after);
        let mut bytes = 0;
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.events.len());
        for recorded in self.events.range(skipped..) {
            if !limit.admits(batch.events.len(), bytes, recorded.bytes) {
                break;
            }
            bytes += recorded.bytes;
            batch.push(recorded.clone());
        }
        Some(batch)
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.bytes -= oldest.bytes;
        }
    }
}
