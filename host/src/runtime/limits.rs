//! What one instance may hold, whatever it does: the limits, who keeps them,
//! and what is said when one is reached.

use std::fmt;

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTableError;

use super::account::TooMuchHeld;
use super::imports::Abort;
use super::memories::Share;
use crate::manifest::Limits;

/// Core modules in one component; a Python component has about twenty.
pub(super) const MAX_CORE_MODULES: u32 = 64;

/// Linear memories in one component.
pub(super) const MAX_MEMORIES: u32 = 8;

/// Tables in one component.
pub(super) const MAX_TABLES: u32 = 64;

/// Component instances in one component that awaits by the component model's own means.
pub(super) const MAX_COMPONENT_INSTANCES: u32 = 64;

/// Bytes that one call for random numbers returns.
pub(super) const MAX_RANDOM_BYTES: u64 = 1 << 20;

/// Bytes of one header section that a guest builds, names and values.
pub(super) const MAX_FIELD_BYTES: usize = 128 << 10;

/// Bytes that a guest may pass to the host in one call.
pub(super) const MAX_HOSTCALL_BYTES: usize = 32 << 20;

/// A limit of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `[limits] memory`: bytes of all memories together.
    Memory(u64),
    /// `[limits] table-elements`: elements of all tables together.
    TableElements(u64),
    /// `[limits] handles`: resources that the guest holds at once.
    Handles(u64),
    /// `[limits] host-memory`: bytes that the host holds for the guest.
    HostMemory(u64),
    /// Bytes that the guest passes to the host in one call.
    HostCall(u64),
    /// Bytes of one header section.
    Headers(u64),
    /// Bytes of one call for random numbers.
    Random(u64),
}

/// A guest was ended, or could not be instantiated, and had reached this limit:
/// the context of the error that ended it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitReached(pub(crate) Limit);

/// Keeps memory and tables within their limits, all of a store's together.
/// (Wasmtime's own `StoreLimits` counts each alone.)
#[derive(Debug)]
pub(super) struct ResourceLimits {
    memory: Amount,
    /// Its part of all instances' memory.
    share: Share,
    table_elements: Amount,
    handles: u64,
    host_memory: u64,
    /// The limit that growth was refused for last; the likely reason of a trap
    /// that follows.
    refused: Option<Limit>,
}

#[derive(Debug)]
struct Amount {
    used: u64,
    limit: u64,
}

impl ResourceLimits {
    pub(super) fn new(limits: &Limits, share: Share) -> Self {
        Self {
            memory: Amount { used: 0, limit: limits.memory },
            share,
            table_elements: Amount { used: 0, limit: limits.table_elements },
            handles: limits.handles,
            host_memory: limits.host_memory,
            refused: None,
        }
    }

    /// Bytes of its memories, as far as they count among all guests'.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.share.bytes()
    }

    /// Forgets what an earlier invocation was refused.
    pub(super) fn enter(&mut self) {
        self.refused = None;
    }

    /// Adds to what ended a guest which limit it had reached, if it had one.
    pub(super) fn explain(&self, error: wasmtime::Error) -> wasmtime::Error {
        if error.is::<Abort>() {
            return error;
        }
        match self.reached_by(&error).or(self.refused) {
            Some(limit) => error.context(LimitReached(limit)),
            None => error,
        }
    }

    /// The limit that an error of Wasmtime's is about. Some have no type of
    /// their own; the tests know when their words change.
    fn reached_by(&self, error: &wasmtime::Error) -> Option<Limit> {
        if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
            return Some(Limit::Handles(self.handles));
        }
        if matches!(error.downcast_ref(), Some(TooMuchHeld::ForIt(_))) {
            return Some(Limit::HostMemory(self.host_memory));
        }
        let text = error.root_cause().to_string();
        let is = |words| text.contains(words);
        if is("store handle limit exceeded") || is("resource table has no free keys") {
            Some(Limit::Handles(self.handles))
        } else if is("fuel allocated for hostcalls") {
            Some(Limit::HostCall(MAX_HOSTCALL_BYTES as u64))
        } else if is("total size of fields exceeds limit") {
            Some(Limit::Headers(MAX_FIELD_BYTES as u64))
        } else if is("requested len") {
            Some(Limit::Random(MAX_RANDOM_BYTES))
        } else {
            None
        }
    }
}

impl ResourceLimiter for ResourceLimits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if self.memory.is_beyond(current, desired) {
            self.refused = Some(Limit::Memory(self.memory.limit));
            return Ok(false);
        }
        // It is ended, and not refused: it is the host that has no room.
        self.share.grow(desired.saturating_sub(current) as u64)?;
        Ok(self.memory.grow(current, desired))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Beyond its own maximum a table cannot grow: not counted.
        let fits = maximum.is_none_or(|maximum| desired <= maximum);
        let allowed = fits && self.table_elements.grow(current, desired);
        if !allowed && self.table_elements.is_beyond(current, desired) {
            self.refused = Some(Limit::TableElements(self.table_elements.limit));
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        MAX_CORE_MODULES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }
}

impl Amount {
    /// Counts growth from `current` to `desired`, unless it goes beyond the limit.
    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let allowed = !self.is_beyond(current, desired);
        if allowed {
            self.used = self.with(current, desired);
        }
        allowed
    }

    fn is_beyond(&self, current: usize, desired: usize) -> bool {
        self.with(current, desired) > self.limit
    }

    fn with(&self, current: usize, desired: usize) -> u64 {
        self.used.saturating_add(desired.saturating_sub(current) as u64)
    }
}

impl Limit {
    /// What there is too much of.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::TableElements(_) => "table elements",
            Self::Handles(_) => "handles",
            Self::HostMemory(_) => "memory of the host",
            Self::HostCall(_) => "data in one call to the host",
            Self::Headers(_) => "header data",
            Self::Random(_) => "random data in one call",
        }
    }
}

impl Limit {
    /// What it is counted as.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::TableElements(_) => "table-elements",
            Self::Handles(_) => "handles",
            Self::HostMemory(_) => "host-memory",
            Self::HostCall(_) => "host-call",
            Self::Headers(_) => "headers",
            Self::Random(_) => "random",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what();
        match self {
            Self::Memory(limit) => write!(f, "{limit} bytes of {what} ([limits] memory)"),
            Self::TableElements(limit) => write!(f, "{limit} {what} ([limits] table-elements)"),
            Self::Handles(limit) => write!(f, "{limit} {what} ([limits] handles)"),
            Self::HostMemory(limit) => {
                write!(f, "{limit} bytes of {what} ([limits] host-memory)")
            }
            Self::HostCall(limit) | Self::Headers(limit) | Self::Random(limit) => {
                write!(f, "{limit} bytes of {what}")
            }
        }
    }
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it reached its limit of {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::memories::Memories;
    use super::*;

    fn limits(memory: u64, table_elements: u64) -> ResourceLimits {
        let share = Memories::new(u64::MAX, 0, &Arc::default()).share(&Arc::default());
        ResourceLimits::new(&Limits { memory, table_elements, ..Limits::default() }, share)
    }

    #[test]
    fn all_memories_count_together() {
        let mut limits = limits(100, 0);
        assert!(limits.memory_growing(0, 60, None).expect("an answer"));
        assert!(!limits.memory_growing(0, 60, None).expect("an answer"));
        assert_eq!(limits.refused, Some(Limit::Memory(100)));
        assert!(limits.memory_growing(60, 100, None).expect("an answer"));
        assert!(!limits.memory_growing(100, 101, None).expect("an answer"));
    }

    #[test]
    fn all_tables_count_together_and_what_a_table_refuses_itself_does_not_count() {
        let mut limits = limits(0, 100);
        assert!(limits.table_growing(0, 60, None).expect("an answer"));
        assert!(!limits.table_growing(60, 90, Some(80)).expect("an answer"));
        assert_eq!(limits.refused, None);
        assert!(limits.table_growing(0, 40, None).expect("an answer"));
        assert!(!limits.table_growing(0, 1, None).expect("an answer"));
        assert_eq!(limits.refused, Some(Limit::TableElements(100)));
    }

    #[test]
    fn an_error_keeps_its_own_words_below_the_limit_that_it_reached() {
        let mut limits = limits(100, 0);
        assert!(!limits.memory_growing(0, 101, None).expect("an answer"));
        let error = limits.explain(wasmtime::Error::msg("unreachable"));
        assert!(error.is::<LimitReached>());
        assert_eq!(
            format!("{error:#}"),
            "it reached its limit of 100 bytes of memory ([limits] memory): unreachable"
        );
        limits.enter();
        assert!(!limits.explain(wasmtime::Error::msg("unreachable")).is::<LimitReached>());
    }
}
