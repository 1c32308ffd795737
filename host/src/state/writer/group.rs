//! A group: members that are in SQLite's open transaction and wait for its commit.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::event::Outgoing;
use crate::state::error::{Error, Rerun};
use crate::state::history::Sequence;
use crate::state::idempotency::KeyClaim;
use crate::state::snapshot::Writes;

/// What is in SQLite's open transaction.
pub(super) struct Group {
    pub(super) sequence: Sequence,
    pub(super) members: Vec<Member>,
    pub(super) first_done: Option<Instant>,
    /// Keys whose answers are in it.
    pub(super) claims: Vec<KeyClaim>,
    /// Events that are published with it.
    pub(super) published: Vec<Outgoing>,
    /// Subscriptions that come further with it; some more than once.
    pub(super) consumed: Vec<Arc<str>>,
}

/// One that is done and waits until that is durable.
pub(super) struct Member {
    pub(super) waiting: oneshot::Sender<Result<(), Error>>,
    pub(super) work: Work,
}

/// What a member did: enough to do it again where its group is undone without its fault.
pub(super) enum Work {
    /// It was applied by the writer, which can do so again.
    Buffered(Box<Writes>),
    /// It was done under the lease: the invocation has to run again.
    Leased,
    /// The host's own, which tries again by itself.
    Host,
}

impl Group {
    pub(super) fn new(sequence: Sequence) -> Self {
        Self {
            sequence,
            members: Vec::new(),
            first_done: None,
            claims: Vec::new(),
            published: Vec::new(),
            consumed: Vec::new(),
        }
    }

    pub(super) fn has_host_members(&self) -> bool {
        self.members.iter().any(|member| matches!(member.work, Work::Host))
    }
}

impl Member {
    /// Tells whoever waits. Its claim is given up first: a client that has its answer may
    /// repeat at once.
    pub(super) fn tell(self, outcome: Result<(), Error>) {
        let Self { waiting, work } = self;
        drop(work);
        // One whose client left no longer waits.
        let _ = waiting.send(outcome);
    }

    /// Tells one of a group that came to nothing without its fault, or without anyone's, and
    /// that nobody does again for it.
    pub(super) fn undone(self, reason: &Error) {
        let outcome = match self.work {
            Work::Leased => Error::Rerun(Rerun::Alone),
            Work::Buffered(_) | Work::Host => reason.clone(),
        };
        self.tell(Err(outcome));
    }
}
