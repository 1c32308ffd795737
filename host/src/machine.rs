//! What the machine has.

/// The memory that this process may have, in bytes: the machine's, or what its control group
/// leaves it, whichever is less. `None` where the system does not say.
#[must_use]
pub fn memory() -> Option<u64> {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse().ok());
    total.into_iter().chain(group).min()
}

/// `MemTotal:       24524160 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read() {
        assert_eq!(total("MemTotal:       24524160 kB\nMemFree: 1 kB\n"), Some(24_524_160 << 10));
        assert_eq!(total(""), None);
        assert!(memory().is_none_or(|bytes| bytes > 64 << 20));
    }
}
