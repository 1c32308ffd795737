//! A store's limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::room::Room;

/// What is called right before each COMMIT, on the writer's thread.
pub type BeforeCommit = Arc<dyn Fn() + Send + Sync>;

/// A store's limits, and what it tells of itself.
#[derive(Clone)]
pub struct StoreOptions {
    /// How long a lease holder that runs first in its group may hold the writer.
    pub lease_timeout: Duration,
    /// How long the writer may take to apply what an invocation buffered: others wait.
    pub apply_timeout: Duration,
    /// How long members that are done wait for a lease holder before they are
    /// committed without it.
    pub group_patience: Duration,
    /// How long one SQL statement of a guest may run.
    pub statement_timeout: Duration,
    /// How long all migrations of one deployment may take together.
    pub migration_timeout: Duration,
    /// Pages (of 4 KiB) that the file may have.
    pub max_pages: u32,
    /// Rows that one query returns.
    pub max_rows: usize,
    /// Bytes that one query returns.
    pub max_result_bytes: usize,
    /// Bytes of memory that all of a service's SQL may have at once.
    pub max_sql_memory: usize,
    /// Bytes of memory that its migrations may have.
    pub max_migration_memory: usize,
    /// Statements that read at once; more wait.
    pub max_reading: usize,
    /// Bytes of a key.
    pub max_key_bytes: usize,
    /// Bytes of a value. (Those in tables have a limit by what a statement does with them.)
    pub max_value_bytes: usize,
    /// Bytes that one transaction buffers.
    pub max_transaction_bytes: usize,
    /// Keys and events that it buffers.
    pub max_transaction_writes: usize,
    /// Reader connections that are kept open.
    pub max_idle_readers: usize,
    /// How long an answer is kept under its idempotency key.
    pub idempotency_ttl: Duration,
    /// Answers that are kept under idempotency keys.
    pub max_idempotency_keys: usize,
    /// Bytes that these have together. What runs at the same time may come to more.
    pub max_idempotency_bytes: u64,
    /// Bytes of the write-ahead log, at which writes are refused until it is begun anew.
    pub max_log_bytes: u64,
    /// Events that wait in the outbox until the bus takes them.
    pub max_outbox: u64,
    /// Bytes of dead letters that one source may have in one subscription; beyond it they are
    /// kept without their data, and beyond twice as much not at all.
    pub max_dead_bytes: u64,
    /// After how long without use the file is closed.
    pub idle_close: Duration,
    /// Work that waits for the writer; beyond it more is refused.
    pub max_queued: usize,
    /// How long the host itself waits for the store, whatever it wants of it.
    pub host_patience: Duration,
    /// What tells how old something is.
    pub clock: Clock,
    /// Called on the writer's thread right before each COMMIT; tests stall with it.
    pub before_commit: Option<BeforeCommit>,
    /// Rings when the file fails; once it has, for whatever reason, nothing more is
    /// acknowledged.
    pub alarm: Alarm,
    /// Tells whether it is the disk that is full.
    pub room: Room,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            lease_timeout: Duration::from_millis(100),
            apply_timeout: Duration::from_secs(1),
            group_patience: Duration::from_millis(2),
            statement_timeout: Duration::from_secs(2),
            migration_timeout: Duration::from_secs(60),
            max_pages: 1 << 18,
            max_rows: 10_000,
            max_result_bytes: 16 << 20,
            max_sql_memory: 64 << 20,
            max_migration_memory: 256 << 20,
            max_reading: 4,
            max_key_bytes: 1 << 10,
            max_value_bytes: 16 << 20,
            max_transaction_bytes: 64 << 20,
            max_transaction_writes: 50_000,
            max_idle_readers: 64,
            idempotency_ttl: Duration::from_secs(24 * 60 * 60),
            max_idempotency_keys: 100_000,
            max_idempotency_bytes: 256 << 20,
            max_log_bytes: 256 << 20,
            max_outbox: 100_000,
            max_dead_bytes: 64 << 20,
            idle_close: Duration::from_secs(60),
            max_queued: 16 << 10,
            host_patience: Duration::from_secs(10),
            clock: Clock::default(),
            before_commit: None,
            alarm: Alarm::default(),
            room: Room::default(),
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("lease_timeout", &self.lease_timeout)
            .field("group_patience", &self.group_patience)
            .field("max_pages", &self.max_pages)
            .finish_non_exhaustive()
    }
}
