//! What a dispatcher settles, one after the other.
//!
//! The order counts: an event never is among the held while one of its key before
//! it is not yet, neither in memory nor, should the host die now, in the store. It
//! would be delivered before that one.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::subscription::{Change, News, Parts};
use crate::failpoint;
use crate::state::{Error, Settlement, Store};

/// Settlements of one commit, but for those that belong together.
const MAX_SETTLEMENTS: usize = 512;

/// How long a store that could not take them is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// What is settled in one commit, and what that changes.
pub(super) struct Settling {
    pub(super) settlements: Vec<Settlement>,
    pub(super) changes: Vec<Change>,
}

/// Settles what comes until nobody sends any more. Where the store takes nothing while
/// the dispatcher stops, it is given up, with all that comes after it: whoever comes
/// next goes on from the rows, and meets the same events again.
pub(super) async fn in_order(
    parts: Arc<Parts>,
    mut queue: mpsc::UnboundedReceiver<Settling>,
    tell: mpsc::UnboundedSender<News>,
) {
    while let Some(Settling { mut settlements, changes }) = queue.recv().await {
        let mut all = vec![changes];
        while settlements.len() < MAX_SETTLEMENTS
            && let Ok(next) = queue.try_recv()
        {
            settlements.extend(next.settlements);
            all.push(next.changes);
        }
        if !until_settled(&parts, settlements).await {
            give_up(all.len(), queue, &tell).await;
            return;
        }
        for changes in all {
            // The dispatcher waits for it, so it is there.
            let _ = tell.send(News::Settled(changes));
        }
    }
}

/// Tries until the store takes them. False where it does not and the dispatcher stops.
async fn until_settled(parts: &Parts, settlements: Vec<Settlement>) -> bool {
    let (service, subscription) = parts.labels();
    let mut failed = false;
    while let Err(error) = settled(&parts.store, settlements.clone()).await {
        let reason = format!("its store takes no note of what failed: {error}");
        parts.status.set_unsettled(&reason);
        if !std::mem::replace(&mut failed, true) {
            tracing::error!(service, subscription, reason, "paused");
        }
        if parts.stop.is_cancelled() {
            return false;
        }
        tokio::select! {
            () = parts.stop.cancelled() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
    if failed {
        parts.status.set_settled();
        tracing::info!(service, subscription, "its store takes note of what failed again");
    }
    true
}

/// Tells that this many, and all that come, are not settled.
async fn give_up(
    count: usize,
    mut queue: mpsc::UnboundedReceiver<Settling>,
    tell: &mpsc::UnboundedSender<News>,
) {
    (0..count).for_each(|_| _ = tell.send(News::Unsettled));
    while queue.recv().await.is_some() {
        let _ = tell.send(News::Unsettled);
    }
}

/// Where the host panics in it, it is tried again as any that failed.
async fn settled(store: &Arc<Store>, settlements: Vec<Settlement>) -> Result<(), Error> {
    let settled = AssertUnwindSafe(settle(store, settlements)).catch_unwind().await;
    settled.unwrap_or_else(|_| Err(Error::Unavailable("the host panicked".to_owned())))
}

async fn settle(store: &Arc<Store>, settlements: Vec<Settlement>) -> Result<(), Error> {
    failpoint::panic_at("in a settlement");
    let holds = settlements.iter().any(|each| matches!(each, Settlement::Hold { .. }));
    let buries = settlements.iter().any(|each| matches!(each, Settlement::Bury { .. }));
    if holds {
        failpoint::pass("before hold");
    }
    if buries {
        failpoint::pass("before dead letter");
    }
    store.settle_durably(settlements).await?;
    if holds {
        failpoint::pass("after hold");
    }
    if buries {
        failpoint::pass("after dead letter");
    }
    Ok(())
}
