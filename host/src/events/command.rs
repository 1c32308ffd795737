//! What an operator, or a new version, tells a dispatcher.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::manifest::Subscription;

/// How long whoever tells a dispatcher something waits for it.
pub(super) const COMMAND_PATIENCE: Duration = Duration::from_secs(10);

/// Told to a dispatcher, in its own turn.
pub(super) enum Command {
    /// The version that has the traffic has these settings.
    Update(Box<Subscription>),
    /// A dead letter is among the held again.
    Revived {
        /// What it is ordered by.
        key: String,
        /// Its position on the bus.
        position: u64,
        /// Whose it is.
        origin: String,
    },
    /// Count an event as finished.
    Skip {
        /// Its position on the bus.
        position: u64,
        /// Whether it does.
        reply: Reply,
    },
    /// Deliver a held event now.
    Retry {
        /// Its position on the bus.
        position: u64,
        /// Whether it does.
        reply: Reply,
    },
    /// Close all breakers, and deliver whatever an endpoint said.
    Resume {
        /// Whether it was paused.
        reply: oneshot::Sender<bool>,
    },
}

/// Takes the answer to a command, once what it did is durable.
pub(super) type Reply = oneshot::Sender<Result<(), Refusal>>;

/// Why a command cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is finished, or was not read yet, or is of another type.
    #[error("no event waits at this position")]
    NotWaiting,
    /// A handler has it at the moment.
    #[error("the event is with its handler at the moment: try again")]
    Busy,
    /// Another event of its key comes first.
    #[error("it waits for the event at position {0}, of the same key: retry or skip that one")]
    Behind(u64),
}
