//! What an operator, or a new version, tells a dispatcher.

use tokio::sync::oneshot;

use crate::manifest::Subscription;

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
    },
    /// Count an event as finished.
    Skip {
        /// Its position on the bus.
        position: u64,
        /// Whether it does.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Deliver a held event now.
    Retry {
        /// Its position on the bus.
        position: u64,
        /// Whether it does.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Close the breaker.
    Resume,
    /// Say how it stands, in full.
    Inspect {
        /// How.
        reply: oneshot::Sender<Inspection>,
    },
}

/// How a subscription stands, besides what its status shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inspection {
    /// Everything up to here is finished, held or dead.
    pub(super) cursor: u64,
    /// The position of the oldest event that is not finished.
    pub(super) oldest: Option<u64>,
    /// Keys that wait for an operator.
    pub(super) parked: usize,
}

/// Why a command cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is finished, or was not read yet, or is of another type.
    #[error("no event waits at this position")]
    NotWaiting,
    /// A handler has it at the moment.
    #[error("the event is with its handler at the moment: try again")]
    Busy,
}
