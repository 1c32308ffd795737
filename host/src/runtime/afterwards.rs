//! What a guest does after its answer: the rest of the answer's body, and tasks
//! that it left behind.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::run::{Ended, Running};
use crate::service::{Lease, Permit};

/// What an invocation holds until its guest is done.
pub(super) struct Hold {
    pub(super) lease: Lease,
    pub(super) permit: Permit,
}

/// Runs a guest on that has answered: its body, then what it does after it.
pub(super) async fn drive(
    hold: Hold,
    mut running: Running,
    aborted: Arc<AtomicBool>,
    gone: CancellationToken,
    deadline: Instant,
) {
    let version = hold.lease.version();
    let body_sent = running.body_sent();
    let end = async {
        let ended = poll_fn(|context| running.poll(context)).await;
        if let Ok(Ended { result: Ok(()), .. }) = &ended {
            // One that left its body open must not serve another meanwhile.
            body_sent.cancelled().await;
        }
        ended
    };
    let fate = tokio::select! {
        ended = end => match ended {
            Ok(ended) => {
                if ended.result.is_err() {
                    // Before the store is dropped, which ends the body.
                    aborted.store(true, Ordering::Release);
                }
                settle(ended, &hold);
                return;
            }
            Err(_) => "it used its CPU time up",
        },
        () = tokio::time::sleep_until(deadline) => "its deadline passed",
        () = version.ended() => "its version's drain is over",
        () = gone.cancelled() => {
            tracing::debug!(version = %version.id, "the client left before the end of the answer");
            return;
        }
    };
    aborted.store(true, Ordering::Release);
    tracing::warn!(
        service = %version.id.service,
        version = version.id.number,
        "the invocation was ended after its answer had begun: {fate}"
    );
}

/// Gives the instance back, or logs what ended it. Returns whether it trapped.
pub(super) fn settle(ended: Ended, hold: &Hold) -> bool {
    let version = hold.lease.version();
    let Err(error) = ended.settle(&version.pool) else { return false };
    tracing::warn!(
        service = %version.id.service,
        version = version.id.number,
        "the service failed after its answer: {error:#}"
    );
    true
}
