//! Holds commits back.

use std::sync::{Arc, Condvar, Mutex};

use hotdock::state::StoreOptions;

use super::PATIENCE;

/// Holds commits back while it is closed. Clones are the same.
#[derive(Clone, Default)]
pub struct Valve {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    closed: Mutex<bool>,
    changed: Condvar,
    held: Mutex<u32>,
}

impl Valve {
    /// Stores whose commits it holds back.
    pub fn options(&self) -> StoreOptions {
        let valve = self.clone();
        StoreOptions {
            before_commit: Some(Arc::new(move || valve.pass())),
            ..StoreOptions::default()
        }
    }

    pub fn set(&self, closed: bool) {
        *self.shared.closed.lock().expect("a lock") = closed;
        self.shared.changed.notify_all();
    }

    /// How many commits it has held back.
    pub fn held(&self) -> u32 {
        *self.shared.held.lock().expect("a lock")
    }

    fn pass(&self) {
        let mut closed = self.shared.closed.lock().expect("a lock");
        if *closed {
            *self.shared.held.lock().expect("a lock") += 1;
        }
        while *closed {
            closed = self.shared.changed.wait_timeout(closed, PATIENCE).expect("a lock").0;
        }
    }
}
