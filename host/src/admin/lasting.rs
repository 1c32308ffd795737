//! Answers that last: who waits for an event, or follows what comes. Half of the listener's
//! connections are left to requests that are answered at once, whoever asks: an address may have
//! three quarters of them.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// After how many seconds a client may come again that found no place.
const AGAIN_AFTER: u64 = 5;

/// Places for answers that last.
#[derive(Clone)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    /// Of a listener with so many connections at the most.
    pub(super) fn among(max_connections: usize) -> Self {
        Self(Arc::new(Semaphore::new(max_connections / 2)))
    }

    /// One of them, until it is dropped.
    ///
    /// # Errors
    /// 503 where there is none, which says when to come again.
    pub(super) fn take(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| {
            let detail = format!(
                "as many as half of the listener's connections ([http] admin-max-connections) \
                 wait for events or follow already: ask again in {AGAIN_AFTER} s, or for what is \
                 there"
            );
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).until(AGAIN_AFTER)
        })
    }
}
