//! What ends an invocation from outside: its deadline, or its version's drain.

use std::future::Future;

use tokio::time::{Instant, sleep_until};

use super::failure::Failure;
use crate::deadline::unless;
use crate::manifest::Limits;
use crate::service::Version;

/// Until when an invocation may run.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    version: &'a Version,
    deadline: Instant,
}

impl<'a> Bounds<'a> {
    /// Those of an invocation of `version` that begins now.
    pub(super) fn from_now(version: &'a Version) -> Self {
        Self::new(version, Instant::now() + version.manifest.limits.deadline)
    }

    pub(super) fn new(version: &'a Version, deadline: Instant) -> Self {
        Self { version, deadline }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn limits(&self) -> &'a Limits {
        &self.version.manifest.limits
    }

    /// Resolves when it is over, and says why.
    pub(super) async fn over(self) -> Failure {
        tokio::select! {
            biased;
            () = self.version.ended() => Failure::Drained,
            () = sleep_until(self.deadline) => Failure::Deadline(self.limits().deadline),
        }
    }

    /// Resolves when the version's drain is over.
    pub(super) async fn drained(&self) {
        self.version.ended().await;
    }

    /// What `future` comes to, if it does before.
    pub(super) fn within<F: Future>(
        &self,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Failure>> {
        unless(future, move || self.over())
    }
}
