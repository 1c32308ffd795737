//! How an invocation ends whose transaction is validated. It goes through these states:
//!
//! ```text
//!             ┌─ its call has returned ──────────────────────────┐
//! validated ──┤                                                  ├── an end
//!             └─ it goes on, in a task of its own ─┬─ returned ──┤
//!                                                  └─ failed, ───┘
//!                       used its CPU time up, is over, or left by its client
//! ```
//!
//! and whatever way it came, [`Afterwards::end`] gives all back that it holds. What has no
//! validated transaction holds its guest, its lease and its permit in the future that runs
//! it, and gives them back with that.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::bounds::Bounds;
use super::failure::Failure;
use super::response::{Link, Made};
use crate::listen::clock;
use crate::runtime::{Ended, Fault, OverBudget, Panicked, ReplayBody, Running, words};
use crate::service::{Kind, Lease, Outcome, Permit, ServiceMetrics, Taking, Version};

const ENDED: &str = "the invocation was ended after its answer had begun";

const BROKEN: &str = "the service gave its answer's body up before its end; it was cut off";

/// What an invocation holds until its guest is done.
pub(super) struct Hold {
    pub(super) lease: Lease,
    /// `None` for a stream.
    pub(super) permit: Option<Permit>,
    pub(super) metrics: Arc<ServiceMetrics>,
    pub(super) kind: Kind,
}

/// An invocation whose transaction is validated, until its end.
pub(super) struct Afterwards {
    body: Sending,
    hold: Hold,
    /// Whether its answer itself says that it failed.
    failed: bool,
}

/// Where the answer's body is.
pub(super) enum Sending {
    /// All of it is with the host, or there is none.
    Whole,
    /// Its client is sent none of it: it was closed before the guest had made all.
    Unwanted(Arc<Taking>),
    /// It comes from the guest.
    Coming(Link),
}

/// How an invocation ends that was validated.
pub(super) enum End {
    /// Its call returned, with all of its body made, or failed.
    Returned(Ended),
    /// It returned and left its body open, which ends it.
    LeftOpen,
    /// It gave its body up before the end.
    Broken,
    /// Its body had reached its limit.
    CutOff,
    /// It used its CPU time up.
    OutOfCpu,
    /// Its deadline passed, or its version's drain is over.
    Over(Failure),
    /// Its deadline passed, and it had no place among the streams.
    NoPlace,
    /// Nothing of its body was made for so long.
    Idle(Duration),
    /// Its body took as long as it may.
    BodyLate(Duration),
    /// The client left before the body's end, or takes nothing of it.
    ClientLeft,
}

impl End {
    /// Of a guest whose body is no more than this.
    fn of_body(made: Made) -> Self {
        match made {
            Made::All => Self::ClientLeft,
            Made::UpToItsLimit => Self::CutOff,
            Made::Left => Self::LeftOpen,
            Made::Part => Self::Broken,
        }
    }
}

impl Sending {
    /// The guest makes no more of it.
    async fn close(&self) -> Made {
        match self {
            Self::Whole => Made::All,
            Self::Unwanted(_) => Made::Left,
            Self::Coming(link) => link.close().await,
        }
    }

    /// Its guest failed: what it made of it is cut off, unless that is all.
    async fn fail(&self) {
        if let Self::Coming(link) = self {
            link.fail().await;
        }
    }

    /// Resolves where nobody reads on, before the body's end.
    async fn gone(&self) -> End {
        match self {
            Self::Coming(link) => {
                link.gone().await;
                link.made().map_or(End::ClientLeft, End::of_body)
            }
            Self::Unwanted(taking) => {
                taking.left().await;
                End::ClientLeft
            }
            // It need not stay for what the guest does after the answer.
            Self::Whole => std::future::pending().await,
        }
    }

    /// Resolves once, when it becomes a stream.
    async fn becoming_stream(&self) {
        match self {
            Self::Coming(link) => link.taking().becoming_stream().await,
            Self::Whole | Self::Unwanted(_) => std::future::pending().await,
        }
    }

    /// Resolves when the time is over.
    async fn over(&self, bounds: Bounds<'_>) -> End {
        let Self::Coming(link) = self else { return End::Over(bounds.over().await) };
        let (limits, taking) = (bounds.limits(), link.taking());
        let head = Instant::now();
        loop {
            // What it does after its body has as long as others have.
            let has_ended = link.made().is_some();
            let idle = if has_ended { limits.deadline } else { limits.body_idle };
            let idle = clock::instant(taking.idle_since() + clock::ms(idle)).max(bounds.deadline());
            let (at, end) = if taking.is_stream() {
                let idle = (idle, None);
                let late = limits.body_deadline.map(|limit| (head + limit, Some(limit)));
                late.into_iter().chain([idle]).min_by_key(|(at, _)| *at).expect("there is one")
            } else {
                (bounds.deadline(), None)
            };
            tokio::select! {
                biased;
                () = bounds.drained() => return End::Over(Failure::Drained),
                () = sleep_until(at) => {}
            }
            match end {
                Some(limit) => return End::BodyLate(limit),
                None if !has_ended && taking.has_no_place() => return End::NoPlace,
                None if has_ended || !taking.is_stream() => {
                    return End::Over(Failure::Deadline(limits.deadline));
                }
                None => {}
            }
            let idle = clock::instant(taking.idle_since() + clock::ms(limits.body_idle));
            if idle <= Instant::now() {
                let for_client = taking.waits_for_client();
                return if for_client { End::ClientLeft } else { End::Idle(limits.body_idle) };
            }
        }
    }
}

impl Afterwards {
    pub(super) fn new(hold: Hold, body: Sending, failed: bool) -> Self {
        Self { body, hold, failed }
    }

    /// Runs the guest to its end in a task of its own, where it has not ended yet.
    pub(super) fn go_on(self, running: Running, ended: Option<Ended>, deadline: Instant) {
        match ended {
            Some(ended) => self.end(End::Returned(ended), running.exchange().body()),
            None => {
                tokio::spawn(self.drive(running, deadline));
            }
        }
    }

    async fn drive(self, running: Running, deadline: Instant) {
        // In this order: whatever comes, the guest goes after what is said of its body.
        let (mut running, mut this) = (running, self);
        let end = this.until_end(&mut running, deadline).await;
        this.end(end, running.exchange().body());
    }

    async fn until_end(&mut self, running: &mut Running, deadline: Instant) -> End {
        let Self { body, hold, .. } = self;
        let version = Arc::clone(hold.lease.version());
        let bounds = Bounds::new(&version, deadline);
        let mut over = pin!(body.over(bounds));
        let ended = loop {
            tokio::select! {
                ended = poll_fn(|context| running.poll(context)) => break ended,
                end = &mut over => return end,
                end = body.gone() => return end,
                // Others may run; a stream is counted as one.
                () = body.becoming_stream(), if hold.permit.is_some() => hold.permit = None,
            }
        };
        match ended {
            Err(OverBudget) => End::OutOfCpu,
            Ok(ended) if ended.result.is_err() => {
                body.fail().await;
                End::Returned(ended)
            }
            Ok(ended) => match body.close().await {
                Made::All => End::Returned(ended),
                // Its instance must not serve another: it has a handle on the body.
                made => End::of_body(made),
            },
        }
    }

    /// Gives everything back, whole or thrown away, and tells who has to know. `asked` is the
    /// request's body.
    pub(super) fn end(self, end: End, asked: &ReplayBody) {
        let Self { body, hold, failed } = self;
        let is_unwanted = matches!(body, Sending::Unwanted(_));
        // Before the guest: with that the body would seem to end.
        drop(body);
        let Hold { lease, permit, metrics, kind } = hold;
        let version = lease.version();
        let (outcome, words) = outcome(end, version);
        let (outcome, words) = match of_client(outcome, is_unwanted, asked) {
            Some(clients) => {
                tracing::debug!(version = %version.id, ?words, "that is its client's doing");
                (clients, None)
            }
            None => (outcome, words),
        };
        if let Some(words) = words {
            tracing::warn!(service = %version.id.service, version = version.id.number, "{words}");
        }
        if outcome != Outcome::Answered {
            metrics.count_after_answer(outcome);
            // Once, where the answer says so already.
            version.metrics.count_after_answer(kind, outcome, failed);
        }
        drop((permit, lease));
    }
}

/// What this end is counted as, and what is said of it.
fn outcome(end: End, version: &Version) -> (Outcome, Option<String>) {
    let ended = |fate: &str| Some(format!("{ENDED}: {fate}"));
    match end {
        End::Returned(ended) => match ended.settle(&version.pool) {
            Ok(()) => (Outcome::Answered, None),
            Err(error) => {
                let words = format!("the service failed after its answer: {}", words(&error));
                let panicked = error.is::<Panicked>();
                (if panicked { Outcome::HostFailed } else { Outcome::Trapped }, Some(words))
            }
        },
        End::CutOff => (Outcome::AnswerCut, None),
        // Its instance, which has a handle on the body, goes with it.
        End::LeftOpen => (Outcome::Answered, None),
        End::Broken => (Outcome::AnswerCut, Some(BROKEN.to_owned())),
        End::OutOfCpu => (Outcome::Cpu, ended("it used its CPU time up")),
        End::Over(Failure::Drained) => (Outcome::Drained, ended("its version's drain is over")),
        End::Over(_) => (Outcome::Deadline, ended("its deadline passed")),
        // The load's doing; that it has none was said when it began.
        End::NoPlace => (Outcome::Overloaded, None),
        End::Idle(limit) => {
            let fate = format!("nothing came of its body for {limit:?} ([limits] body-idle)");
            (Outcome::Deadline, ended(&fate))
        }
        End::BodyLate(limit) => {
            let fate = format!("its body took over {limit:?} ([limits] body-deadline)");
            (Outcome::Deadline, ended(&fate))
        }
        End::ClientLeft => {
            tracing::debug!(version = %version.id, "the client left before the answer's end");
            (Outcome::ClientLeft, None)
        }
    }
}

/// What it is counted as instead, where the client did not send the request's body as it should
/// have, or wanted none of the answer's: whatever the guest made of that.
fn of_client(outcome: Outcome, is_unwanted: bool, asked: &ReplayBody) -> Option<Outcome> {
    if !outcome.is_of_the_version() {
        return None;
    }
    if is_unwanted {
        return Some(Outcome::ClientLeft);
    }
    match asked.fault() {
        Some(Fault::TooLarge) => Some(Outcome::BodyTooLarge),
        Some(Fault::Late | Fault::BrokeOff) => Some(Outcome::ClientLeft),
        None => {
            (outcome == Outcome::Deadline && asked.is_waited_for()).then_some(Outcome::ClientLeft)
        }
    }
}
