//! Places where a test has the process die, to see that nothing is lost there.
//!
//! `HOTDOCK_FAILPOINT=<name>=<n>` ends a debug build at the n-th time that it
//! comes by the place of this name, without any word. A release build has neither
//! the places nor the variable.

/// Ends the process here, if that is what the test wants.
#[cfg(debug_assertions)]
pub(crate) fn pass(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();

    let armed = ARMED.get_or_init(|| {
        let variable = std::env::var("HOTDOCK_FAILPOINT").ok()?;
        let (name, times) = variable.rsplit_once('=')?;
        Some((name.to_owned(), AtomicU64::new(times.parse().ok()?)))
    });
    if let Some((armed, left)) = armed
        && armed == name
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn pass(_name: &str) {}
