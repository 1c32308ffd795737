//! Places where a test has the process die, to see that nothing is lost there, or the
//! host panic, to see that nothing else is, or where it has a store stand still, to see
//! whom that delays.
//!
//! `HOTDOCK_FAILPOINT=<name>=<n>` ends a debug build at the n-th time that it
//! comes by the place of this name, without any word. `HOTDOCK_STALL=<file>` keeps a
//! store of a debug build from reading and committing for as long as that file is there
//! and has a line with its service's name, and `host.db` from committing where one has
//! that. A release build has neither the places nor the variables.

/// Ends the process here, if that is what the test wants.
#[cfg(debug_assertions)]
pub(crate) fn pass(name: &str) {
    if is_due(name) {
        std::process::abort();
    }
}

/// Panics here, if that is what the test wants.
#[cfg(debug_assertions)]
pub(crate) fn panic_at(name: &str) {
    assert!(!is_due(name), "a test wants it");
}

#[cfg(debug_assertions)]
fn is_due(name: &str) -> bool {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();

    let armed = ARMED.get_or_init(|| {
        let variable = std::env::var("HOTDOCK_FAILPOINT").ok()?;
        let (name, times) = variable.rsplit_once('=')?;
        Some((name.to_owned(), AtomicU64::new(times.parse().ok()?)))
    });
    armed
        .as_ref()
        .is_some_and(|(armed, left)| armed == name && left.fetch_sub(1, Ordering::Relaxed) == 1)
}

/// Does nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn pass(_name: &str) {}

/// Stays here, on a thread where it may block, for as long as the test wants the store of
/// this service to stand still, or the file of this name.
#[cfg(debug_assertions)]
pub(crate) fn stall(service: &str) {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::time::Duration;

    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();

    let file = FILE.get_or_init(|| std::env::var_os("HOTDOCK_STALL").map(PathBuf::from));
    let stalls = || {
        let text = std::fs::read_to_string(file.as_ref()?).ok()?;
        text.lines().any(|line| line.trim() == service).then_some(())
    };
    while stalls().is_some() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn stall(_service: &str) {}

/// Does nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn panic_at(_name: &str) {}
