//! How long the host waits for a store, and what it says when that was in vain.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Store;
use crate::deadline;
use crate::state::doing::Doing;
use crate::state::error::Error;

/// How often the log says that the host waits for a store in vain.
const TELL_LATE: Duration = Duration::from_secs(60);

impl Store {
    /// Waits for the store on the host's behalf, but not for ever.
    ///
    /// # Errors
    /// When it took too long. What was asked for and not begun is not done then; what was
    /// may be.
    pub(crate) async fn patiently<T>(
        &self,
        what: &str,
        wait: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let patience = self.core.options.host_patience;
        match deadline::within(patience, wait).await {
            Ok(result) => result,
            Err(deadline::Late) => Err(self.late(what, patience)),
        }
    }

    pub(super) fn late(&self, what: &str, patience: Duration) -> Error {
        self.late.fetch_add(1, Ordering::Relaxed);
        let service = self.core.service.as_str();
        let error = format!(
            "the store of {service} did not get to {what} within {patience:?}: {}; \
             undeploy the service, or check the disk that {} is on",
            self.in_the_way(),
            self.core.path.display()
        );
        // Once a minute of each store: what waits for it tries again and again.
        let mut told = self.told_late.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() > TELL_LATE) {
            *told = Some(Instant::now());
            tracing::warn!(service, error, "the host waited for a store in vain");
        }
        Error::Unavailable(error)
    }

    /// How often the host waited for the store in vain.
    #[must_use]
    pub fn late_count(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// What uses the file, in words.
    #[must_use]
    pub fn in_the_way(&self) -> String {
        let readers = self.readers_out();
        match (self.lock_queue().running, readers) {
            (true, _) => {
                format!("its writer {}", self.doing())
            }
            (false, 0) => "nothing uses it".to_owned(),
            (false, _) => format!("{readers} transactions read it"),
        }
    }

    pub(in crate::state) fn doing(&self) -> Doing {
        Doing::from(self.doing.load(Ordering::Relaxed))
    }

    /// Notes what the writer is at.
    pub(in crate::state) fn note_doing(&self, doing: Doing) {
        self.doing.store(doing as u8, Ordering::Relaxed);
    }
}
