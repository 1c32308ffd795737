//! The memory limit: all memories of one instance together.

use wasmtime::ResourceLimiter;

/// Refuses growth beyond a number of bytes for all of a store's memories.
/// (Wasmtime's own `StoreLimits` counts each memory alone.)
#[derive(Debug)]
pub(super) struct MemoryLimit {
    limit: u64,
    used: u64,
    refused: bool,
}

impl MemoryLimit {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: 0, refused: false }
    }

    /// Whether growth was refused; the likely reason of a trap that follows.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current) as u64;
        let wanted = self.used.saturating_add(grown);
        let allowed = wanted <= self.limit;
        if allowed {
            self.used = wanted;
        } else {
            self.refused = true;
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_count_together() {
        let mut limit = MemoryLimit::new(100);
        assert!(limit.memory_growing(0, 60, None).expect("an answer"));
        assert!(!limit.memory_growing(0, 60, None).expect("an answer"));
        assert!(limit.was_refused());
        assert!(limit.memory_growing(60, 100, None).expect("an answer"));
        assert!(!limit.memory_growing(100, 101, None).expect("an answer"));
    }
}
