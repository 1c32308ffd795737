//! One worker per plugin file at a time: it looks at the file as it is now and
//! does what that asks for. What changes meanwhile gets the next worker.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};

use futures_util::FutureExt as _;

use super::drain::close_store;
use super::parts::{self, Parts};
use super::plugin_file::{Part, Stem};
use super::receive::{Candidate, Received, receive};
use super::record::Seen;
use super::refusal::{Refusal, Stop};
use super::settle::Change;
use super::status::Step;
use super::undeploy::undeploy;
use crate::failpoint;

/// Why a file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// The host starts: what was refused before stays refused.
    Start,
    /// It changed: also what is the same as before gets another try.
    Change,
}

/// Starts a worker for the file, or has the one that runs followed by another.
/// `done` is sent the file when it has been dealt with.
pub(super) fn work(
    parts: &Arc<Parts>,
    file: Stem,
    occasion: Occasion,
    done: tokio::sync::mpsc::UnboundedSender<Stem>,
) {
    let mut working = parts.working.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(changed_again) = working.get_mut(&file) {
        *changed_again = true;
        return;
    }
    working.insert(file.clone(), false);
    drop(working);
    let parts = Arc::clone(parts);
    parts.clone().tasks.spawn(async move {
        let mut occasion = occasion;
        loop {
            let looked = AssertUnwindSafe(Box::pin(look(&parts, &file, occasion)));
            if looked.catch_unwind().await.is_err() {
                parts.gathering.forget(&file);
                parts.refuse(&file, Refusal::panicked(None)).await;
            }
            occasion = Occasion::Change;
            let mut working = parts.working.lock().unwrap_or_else(PoisonError::into_inner);
            // Looked at and removed under one lock: a change comes before and
            // is seen here, or after and gets a worker of its own.
            if parts.stopping.is_cancelled() || working.get(&file) != Some(&true) {
                working.remove(&file);
                break;
            }
            working.insert(file.clone(), false);
        }
        // The coordinator is gone when the host stops.
        _ = done.send(file);
    });
}

async fn look(parts: &Arc<Parts>, file: &Stem, occasion: Occasion) {
    let received = receive(parts, file, occasion).await;
    failpoint::panic_at("in a look at a file");
    if matches!(received, Received::Absent | Received::Refused(_)) {
        // What it held before does not come any more.
        parts.gathering.forget(file);
    }
    match received {
        Received::Absent => undeploy(parts, file).await,
        Received::Unsettled => parts.note(file, Part::Component, Change::Other),
        Received::Large | Received::Stopping => {}
        Received::Refused(refusal) => {
            if occasion == Occasion::Change || !was_refused(parts, file, refusal.seen) {
                parts.refuse(file, refusal).await;
            }
        }
        Received::Candidate(candidate) => {
            if parts.board.has_acted(file, candidate.seen) {
                unchanged(parts, file).await;
            } else if occasion == Occasion::Change || !was_refused(parts, file, candidate.seen) {
                deploy(parts, file, *candidate).await;
            }
        }
    }
}

async fn deploy(parts: &Arc<Parts>, file: &Stem, candidate: Candidate) {
    let service = candidate.manifest.service.clone();
    let turn = tokio::select! {
        turn = parts.turns.take(&service) => turn,
        () = parts.stopping.cancelled() => return,
    };
    if candidate.is_superseded(parts) {
        return tracing::debug!(%file, "superseded by a newer file");
    }
    candidate.progress.step(Step::Received);
    let mut deployed = parts.registry.changed();
    deployed.borrow_and_update();
    let result = Box::pin(super::run(parts, candidate)).await;
    drop(turn);
    match result {
        Ok(()) => parts.look_at_blocked(),
        Err(Stop::Refused(refusal)) => {
            let (waits, blocked) = (refusal.waits, refusal.blocked);
            if !waits {
                parts.gathering.forget(file);
            }
            parts.refuse(file, refusal).await;
            // What it waits for may have come, and what is in its way gone, before that was known.
            if (waits || blocked) && deployed.has_changed().unwrap_or(false) {
                parts.note(file, Part::Component, Change::Other);
            }
            close_store(parts, &service).await;
            parts.sweep();
            // The file that this one was renamed from has its service back, and
            // is to give it up.
            if let Some(holder) = parts.claims.holder(&service).filter(|holder| holder != file) {
                parts.note(&holder, Part::Component, Change::Other);
            }
        }
        Err(Stop::Superseded(_)) => tracing::debug!(%file, "superseded by a newer file"),
        Err(Stop::Stopping) => {}
    }
}

async fn unchanged(parts: &Arc<Parts>, file: &Stem) {
    parts.gathering.forget(file);
    tracing::debug!(%file, "nothing changed");
    if parts.board.forget_refusal(file) {
        let file = file.clone();
        let forgotten = parts.record.change(move |record| record.forget_refusal(&file)).await;
        if let Err(error) = forgotten {
            error.log(None, "the refusal could not be forgotten");
        }
    }
}

/// Whether this host refused the same content before.
fn was_refused(parts: &Parts, file: &Stem, seen: Seen) -> bool {
    parts.board.refusal(file).is_some_and(|refusal| {
        seen.component.is_some()
            // What it waits for may be there now, or come with others that wait.
            && !refusal.waits
            && refusal.seen == seen
            && refusal.host == parts::host(parts.blobs.key())
    })
}
