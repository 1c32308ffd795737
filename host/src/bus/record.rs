//! What goes in and comes out.

use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::event::Event;

/// An event's place in the log, counted from 1.
pub type Position = u64;

/// An event in the log.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Where.
    pub position: Position,
    /// Since when, in ms since 1970, by the host's clock.
    pub recorded_at: u64,
    /// How long its text is.
    pub bytes: usize,
    /// What.
    pub event: Arc<Event>,
}

/// Who sends events from outside. What one sends is no repeat of what another sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// Whoever may ask the admin listener.
    Operator,
    /// Anybody, known by the network that they ask from.
    Anybody(Ipv6Addr),
}

/// What became of events from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// How many are new, and in the log.
    pub accepted: usize,
    /// Which of those that were given were known, and dropped; counted from 0.
    pub repeats: Vec<usize>,
}

/// How much is read at once; one event at the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// Events.
    pub max_events: usize,
    /// Bytes of their texts.
    pub max_bytes: usize,
}

/// Events in their order.
#[derive(Clone, Debug)]
pub struct Batch {
    /// They.
    pub events: Vec<Recorded>,
    /// Where to read on after: the last one's position, or a later one where nothing
    /// is in between.
    pub upto: Position,
}

/// A late copy of a subscription's cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// `<service>/<name>`.
    pub subscription: String,
    /// All up to here is done with.
    pub position: Position,
    /// Whether its service is deployed.
    pub active: bool,
}

/// A copy as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorRow {
    /// See [`Mirror`].
    pub subscription: String,
    /// See [`Mirror`].
    pub position: Position,
    /// See [`Mirror`].
    pub active: bool,
    /// Since when it is active, or is not; in ms since 1970.
    pub changed_at: u64,
}

/// What was taken out of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Events.
    pub events: u64,
    /// Bytes of their texts.
    pub bytes: u64,
}

/// How the bus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusHealth {
    /// Events in the log.
    pub events: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// How many it may have.
    pub max_bytes: u64,
    /// See [`super::Bus::first`].
    pub first: Position,
    /// See [`super::Bus::last`].
    pub last: Position,
    /// Whether something was refused for want of room, and nothing was appended
    /// or trimmed since.
    pub full: bool,
    /// How often somebody waited for it in vain, since the start.
    pub late: u64,
    /// Why nothing more is acknowledged, if so.
    pub failed: Option<String>,
}

impl ReadLimit {
    /// Whether a text of `next` bytes may follow `events` with `bytes`.
    pub(super) fn admits(self, events: usize, bytes: usize, next: usize) -> bool {
        events == 0 || (events < self.max_events && bytes + next <= self.max_bytes)
    }
}

impl Batch {
    pub(super) fn nothing_after(after: Position) -> Self {
        Self { events: Vec::new(), upto: after }
    }

    pub(super) fn push(&mut self, recorded: Recorded) {
        self.upto = recorded.position;
        self.events.push(recorded);
    }
}
