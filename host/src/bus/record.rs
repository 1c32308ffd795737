//! What goes in and comes out.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

use compact_str::CompactString;

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

/// Whose share of the log an event takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publisher {
    /// A service of this host, by what it publishes and by its schedules.
    Service(CompactString),
    /// All who may ask the admin listener.
    Operator,
    /// Anybody from outside, all together: one alone can have many addresses.
    Anybody,
}

/// How much of the log a publisher has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShareHealth {
    /// A service's name, `_operator` or `_anybody`.
    pub publisher: CompactString,
    /// Bytes of its events' texts.
    pub bytes: u64,
    /// How often it was refused more, since the start.
    pub refused: u64,
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

impl Publisher {
    /// Its name in the file and in metrics. No service's begins so.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Service(name) => name,
            Self::Operator => "_operator",
            Self::Anybody => "_anybody",
        }
    }
}

impl From<Sender> for Publisher {
    fn from(sender: Sender) -> Self {
        match sender {
            Sender::Operator => Self::Operator,
            Sender::Anybody(_) => Self::Anybody,
        }
    }
}

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service {name}"),
            Self::Operator => f.write_str("what came in at the admin listener"),
            Self::Anybody => f.write_str("what came in at the public listener"),
        }
    }
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
