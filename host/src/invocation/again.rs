//! An invocation that was validated and is run once more: another's statement undid the store's
//! transaction that it was in, before that was committed.

use std::sync::Arc;

use super::afterwards::Hold;
use crate::runtime::{Exchange, Running};
use crate::service::{Kind, Lease, Line, ServiceMetrics};
use crate::state::Committed;

/// What it takes to run it once more, kept while its own guest may go on with its answer.
pub(super) struct Again {
    /// Of a guest that was run.
    exchange: Option<Exchange>,
    lease: Lease,
    line: Line,
    metrics: Arc<ServiceMetrics>,
    kind: Kind,
}

impl Again {
    /// `None` where it is not needed: the store does again by itself what was buffered.
    pub(super) fn of(hold: &Hold, committed: &Committed, ran: Option<&Running>) -> Option<Self> {
        let permit = hold.permit.as_ref().filter(|_| committed.is_leased())?;
        Some(Self {
            exchange: ran.map(|running| running.exchange().clone()),
            lease: hold.lease.another(),
            line: permit.line(),
            metrics: Arc::clone(&hold.metrics),
            kind: hold.kind,
        })
    }

    /// Whether it may be run again.
    pub(super) fn may_be(&self) -> bool {
        self.exchange.as_ref().is_none_or(Exchange::may_run_again)
    }

    /// Waits until it may be.
    pub(super) async fn hold(self) -> Hold {
        let Self { lease, line, metrics, kind, .. } = self;
        Hold { lease, permit: Some(line.admit_again().await), metrics, kind }
    }
}
