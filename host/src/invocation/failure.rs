//! Why an invocation has no answer.

use std::time::Duration;

use crate::manifest::Limits;
use crate::runtime::{Fault, Limit, ReplayBody};
use crate::service::{Outcome, QueueFull};
use crate::state::{Error, Store};

/// Why an invocation has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The guest trapped or exited.
    #[error("the service failed: {0}")]
    Trapped(String),
    /// The host panicked while it ran the guest.
    #[error("the host failed while it ran the service: {0}")]
    Panicked(String),
    /// The guest reached a limit of its instance and trapped.
    #[error("the service failed: {reason}")]
    OverLimit {
        /// Which.
        limit: Limit,
        /// The limit and the trap.
        reason: String,
    },
    /// The host has as many instances as it can hold.
    #[error("the host has no room for another instance: {0}")]
    NoRoom(String),
    /// The guest computed for longer than it may.
    #[error("the service used its CPU time of {0:?} up")]
    OutOfCpu(Duration),
    /// The answer did not come in time.
    #[error("the service did not answer within {0:?}")]
    Deadline(Duration),
    /// The handler returned without an answer.
    #[error("the service returned without an answer")]
    NoAnswer,
    /// The handler answered with an error of `wasi:http`.
    #[error("the service answered with the error {0}")]
    ErrorCode(String),
    /// The request's body is larger than the service takes.
    #[error("the request's body is larger than {0} bytes")]
    BodyTooLarge(u64),
    /// The request has an idempotency key and a body that is not kept whole.
    #[error("the request's body is larger than the {0} bytes that are kept beside its key")]
    KeyedBodyTooLarge(u64),
    /// The request's body broke off, and nothing came of the request.
    #[error("the request's body broke off")]
    BodyBroken,
    /// Nothing came of the request's body for too long.
    #[error("the request's body did not come: nothing of it for as long as [http] body-idle")]
    BodyIdle,
    /// The request's body did not come to its end within the deadline.
    #[error("the request's body did not come: not all of it within {0:?} ([limits] deadline)")]
    BodyLate(Duration),
    /// The first request with this key still runs.
    #[error("the first request with this idempotency key still runs")]
    KeyInUse,
    /// The key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// As many keys have an answer as may, or these have as many bytes as they may.
    #[error("the service's store keeps as many answers under idempotency keys as it may")]
    TooManyKeys,
    /// The answer to a request with an idempotency key is too large to be kept.
    #[error("the answer is larger than the {0} bytes that are kept under an idempotency key")]
    AnswerTooLarge(u64),
    /// A call's result is too large to be kept for who may make it once more.
    #[error("its result cannot be kept for another run of its caller: {0}")]
    ResultTooLarge(String),
    /// A call's result is kept, but its function has another type since.
    #[error(
        "its result is kept from when the function had another type, and cannot be given again"
    )]
    ResultOfOtherType,
    /// The answer to a request with an idempotency key broke off.
    #[error("the service stopped before the end of its answer")]
    AnswerBroken,
    /// Its version was replaced, or the host ends, and the time to finish is over.
    #[error("the service's version was replaced, or the host ends, and its drain is over")]
    Drained,
    /// As many calls of the service run and wait as may.
    #[error("its queue is full: {0}")]
    QueueFull(QueueFull),
    /// The invocation that called it is over.
    #[error("its caller is over")]
    CallerLeft,
    /// Others changed what it had read, and it cannot run again.
    #[error("the request conflicts with others and cannot be run again")]
    Conflict,
    /// It held the store's writer for too long.
    #[error("the service held its store's writer for longer than it may")]
    LeaseExpired,
    /// Its transaction violates a foreign key that is judged at its end.
    #[error("the service's transaction ends with a deferred foreign key that is violated")]
    ForeignKey,
    /// A statement of its failed so that SQLite undid the whole transaction.
    #[error("the service's transaction was undone at a statement: {0}")]
    GivenUp(String),
    /// The store cannot take more.
    #[error("the service's store is full")]
    StoreFull,
    /// The store's write-ahead log cannot take more: some transaction reads for long.
    #[error("the service's store takes no writes: {0}")]
    LogFull(Error),
    /// The disk of the data folder cannot take more.
    #[error("the host's disk is full")]
    DiskFull,
    /// The bus does not take its events as fast as they come.
    #[error("as many of the service's events wait for the bus as may")]
    OutboxFull,
    /// The store failed.
    #[error("the service's store failed: {0}")]
    Store(String),
    /// It is validated, but whether it is on disk could not be found out.
    #[error("whether what the service wrote is on disk is not known: {0}")]
    Uncertain(String),
    /// It failed after it had committed or told others something, which stands.
    #[error("{0}, after the service had committed something or told others")]
    Partly(Box<Self>),
}

impl Failure {
    /// What it is counted as.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Trapped(_) => Outcome::Trapped,
            Self::OverLimit { limit: Limit::Memory(_), .. } => Outcome::Memory,
            Self::OverLimit { .. } => Outcome::OverLimit,
            Self::Panicked(_) => Outcome::HostFailed,
            Self::NoRoom(_) | Self::QueueFull(_) => Outcome::Overloaded,
            Self::OutOfCpu(_) => Outcome::Cpu,
            Self::Deadline(_) => Outcome::Deadline,
            Self::NoAnswer | Self::ErrorCode(_) => Outcome::NoAnswer,
            Self::BodyTooLarge(_) | Self::KeyedBodyTooLarge(_) => Outcome::BodyTooLarge,
            Self::BodyBroken | Self::BodyIdle | Self::BodyLate(_) | Self::CallerLeft => {
                Outcome::ClientLeft
            }
            Self::KeyInUse | Self::KeyReused | Self::ResultOfOtherType => Outcome::KeyRefused,
            Self::AnswerTooLarge(_) | Self::ResultTooLarge(_) | Self::AnswerBroken => {
                Outcome::AnswerCut
            }
            Self::Drained => Outcome::Drained,
            Self::Conflict => Outcome::Conflict,
            Self::LeaseExpired => Outcome::LeaseExpired,
            Self::ForeignKey | Self::GivenUp(_) => Outcome::Refused,
            Self::DiskFull => Outcome::DiskFull,
            Self::StoreFull | Self::OutboxFull | Self::TooManyKeys => Outcome::StoreFull,
            Self::LogFull(_) | Self::Store(_) | Self::Uncertain(_) => Outcome::StoreFailed,
            Self::Partly(failure) => failure.outcome(),
        }
    }
}

impl Failure {
    /// What the client did to this body, for which the service is not to blame.
    pub(super) fn of_client(body: &ReplayBody, limits: &Limits) -> Option<Self> {
        Some(match body.fault()? {
            Fault::TooLarge => Self::BodyTooLarge(limits.request_body),
            Fault::Late => Self::BodyIdle,
            Fault::BrokeOff => Self::BodyBroken,
        })
    }

    /// The same, or what the client did before that. What a guest makes of the end of half a
    /// body is its language's matter: some trap, some return, some spin. A client could have any
    /// version taken for a bad one by that.
    pub(super) fn unless_of_client(self, body: &ReplayBody, limits: &Limits) -> Self {
        let outcome = self.outcome();
        if !outcome.is_of_the_version() && outcome != Outcome::Conflict {
            return self;
        }
        match Self::of_client(body, limits) {
            Some(clients) => {
                tracing::debug!("{clients}, and then: {self}");
                clients
            }
            None => self,
        }
    }

    /// The same, where it is the disk that is full and not the store alone.
    #[must_use]
    pub fn named(self, store: &Store) -> Self {
        match self {
            Self::StoreFull if store.room().is_full() => Self::DiskFull,
            Self::Partly(failure) => Self::Partly(Box::new(failure.named(store))),
            other => other,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Rerun(_) => Self::Conflict,
            Error::LeaseExpired => Self::LeaseExpired,
            Error::Full => Self::StoreFull,
            Error::LogFull(_) => Self::LogFull(error),
            Error::ForeignKey => Self::ForeignKey,
            Error::GivenUp(reason) => Self::GivenUp(reason),
            Error::OutboxFull => Self::OutboxFull,
            Error::TooManyKeys => Self::TooManyKeys,
            Error::Uncertain(reason) => Self::Uncertain(reason),
            error => Self::Store(error.to_string()),
        }
    }
}
