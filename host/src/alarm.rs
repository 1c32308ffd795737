//! The alarm: a file can no longer be trusted to keep what is written to it, so
//! the host has to end.
//!
//! All files of a host have the same one: once one of them has failed, nothing is
//! acknowledged any more, wherever it was written.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Rings at most once. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Alarm {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    reason: OnceLock<String>,
    rung: CancellationToken,
}

impl Alarm {
    /// Rings it. The first reason is the one that is told; others are logged.
    pub fn ring(&self, reason: String) {
        match self.shared.reason.set(reason) {
            Ok(()) => self.shared.rung.cancel(),
            Err(later) => tracing::error!("{later}"),
        }
    }

    /// Why it rang, if it did.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.shared.reason.get().map(String::as_str)
    }

    /// Resolves, with the reason, when it rings.
    pub async fn rung(&self) -> &str {
        self.shared.rung.cancelled().await;
        self.reason().expect("it is set before it is told")
    }
}
