//! The bus's limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::room::Room;

/// What is called at a step of each commit.
pub type BeforeCommit = Arc<dyn Fn() + Send + Sync>;

/// The bus's limits, and what it tells of itself.
#[derive(Clone)]
pub struct BusOptions {
    /// How long an event stays at the least: for replay, and for recognising
    /// repeats. Beyond it an event stays until every active subscription is past it.
    pub retain: Duration,
    /// How long the subscription of a service that is gone holds events.
    pub retain_gone: Duration,
    /// How long an event stays at the most, whoever still needs it. `None`: for
    /// as long as it is needed.
    pub retain_at_most: Option<Duration>,
    /// Bytes of all events' texts together; beyond it nothing is appended.
    pub max_bytes: u64,
    /// How many of them may be one publisher's: a service's, or those from outside that came
    /// by one listener.
    pub max_bytes_per_source: u64,
    /// Pages (of 4 KiB) that the file may have; beyond it the disk counts as full.
    pub max_pages: u32,
    /// The newest events that are kept in memory, by count and by bytes of text.
    pub tail_events: usize,
    /// See `tail_events`.
    pub tail_bytes: usize,
    /// Bytes of text that one commit takes, unless one caller brings more.
    pub group_bytes: u64,
    /// Callers that wait for the writer at once; others wait to be among them.
    pub queue: usize,
    /// Ids of outside events that are kept in memory before they become a run in
    /// the file; see the module `ids`.
    pub run_ids: usize,
    /// How long whoever wants something of the bus waits for it.
    pub patience: Duration,
    /// What tells when an event came and how old it is.
    pub clock: Clock,
    /// Called on the writer's thread right before each COMMIT; tests stall and
    /// crash with it.
    pub before_commit: Option<BeforeCommit>,
    /// The same between a COMMIT and its sync, on the thread that syncs.
    pub before_sync: Option<BeforeCommit>,
    /// Rings when the file fails; once it has, for whatever reason, nothing more is
    /// acknowledged.
    pub alarm: Alarm,
    /// The room on its disk.
    pub room: Room,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self {
            retain: Duration::from_secs(24 * 60 * 60),
            retain_gone: Duration::from_secs(7 * 24 * 60 * 60),
            retain_at_most: None,
            max_bytes: 8 << 30,
            max_bytes_per_source: 4 << 30,
            max_pages: u32::MAX - 1,
            tail_events: 32 << 10,
            tail_bytes: 32 << 20,
            group_bytes: 16 << 20,
            queue: 1 << 10,
            run_ids: 1 << 18,
            patience: Duration::from_secs(10),
            clock: Clock::default(),
            before_commit: None,
            before_sync: None,
            alarm: Alarm::default(),
            room: Room::default(),
        }
    }
}

impl fmt::Debug for BusOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusOptions")
            .field("retain", &self.retain)
            .field("retain_gone", &self.retain_gone)
            .field("retain_at_most", &self.retain_at_most)
            .field("max_bytes", &self.max_bytes)
            .field("max_bytes_per_source", &self.max_bytes_per_source)
            .finish_non_exhaustive()
    }
}
