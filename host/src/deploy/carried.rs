//! Changes that are carried through, whoever waits for them: what `host.db` has and what serves
//! are to be the same again, also where an operator has hung up or was told that it takes long.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::parts::Parts;
use crate::deadline::{self, Late};

/// A change that is under way.
#[must_use = "someone is to hear how it ended"]
pub(super) struct Carried<T>(JoinHandle<T>);

/// It is still under way.
#[derive(Debug, thiserror::Error)]
#[error(
    "the host's own record, host.db, is busy: it was given the change and has not answered within \
     {0:?}. The change may have taken effect, or may yet: look at the service before you ask \
     again, and check the disk that the data folder is on"
)]
pub(super) struct Unsettled(Duration);

impl Parts {
    /// Begins a change that nobody who stops waiting breaks off.
    pub(super) fn carry<T: Send + 'static>(
        &self,
        change: impl Future<Output = T> + Send + 'static,
    ) -> Carried<T> {
        Carried(self.tasks.spawn(change))
    }
}

impl<T> Carried<T> {
    /// What it came to, however long that takes.
    pub(super) async fn end(self) -> T {
        match self.0.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being dropped, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// What it came to, if it does within this time.
    pub(super) async fn within(self, patience: Duration) -> Result<T, Unsettled> {
        deadline::within(patience, self.end()).await.map_err(|Late| Unsettled(patience))
    }
}
