//! What ends an invocation from outside: its deadline, its version's drain, or the end of who
//! called it.

use std::future::{Future, pending};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use crate::deadline::unless;
use crate::manifest::Limits;
use crate::service::Version;

/// Until when an invocation may run.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    version: &'a Version,
    deadline: Instant,
    /// How long that was from its beginning.
    time: Duration,
    /// Is cancelled when the invocation is over that called this one.
    caller: Option<&'a CancellationToken>,
}

impl<'a> Bounds<'a> {
    /// Those of an invocation of `version` that begins now.
    pub(super) fn from_now(version: &'a Version) -> Self {
        Self::new(version, Instant::now() + version.manifest.limits.deadline)
    }

    pub(super) fn new(version: &'a Version, deadline: Instant) -> Self {
        Self { version, deadline, time: version.manifest.limits.deadline, caller: None }
    }

    /// Those of a call: its caller waits no longer than until `deadline`, and until it is over.
    pub(super) fn of_call(
        version: &'a Version,
        deadline: Instant,
        caller: &'a CancellationToken,
    ) -> Self {
        let left = deadline.saturating_duration_since(Instant::now());
        let time = left.min(version.manifest.limits.deadline);
        Self { version, deadline: Instant::now() + time, time, caller: Some(caller) }
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
            () = self.caller_left() => Failure::CallerLeft,
            () = sleep_until(self.deadline) => Failure::Deadline(self.time),
        }
    }

    async fn caller_left(&self) {
        match self.caller {
            Some(caller) => caller.cancelled().await,
            None => pending().await,
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
