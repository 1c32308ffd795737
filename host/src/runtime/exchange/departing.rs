//! What a guest sends out of its invocation: requests, and calls of other services. Neither can be
//! taken back when its transaction is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Exchange, State};
use crate::runtime::calls::{
    CallDeparture, CallWithheld, Known, Lineage, MAX_DEPTH, Terms, Wanted,
};
use crate::runtime::outside::{self, Departure, Numbered, Withheld};

/// As good as no deadline: longer than any that a manifest can have.
const LONG: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What comes of a call that a guest is about to make.
pub(crate) enum Departing {
    /// An earlier run made it, and it came to this.
    Known(Bytes),
    /// An earlier run's goes on until this is cancelled; it is to be looked at again then.
    GoesOn(CancellationToken),
    /// It is to be made; where it may be repeated, it is known by this.
    Call(CallDeparture, Option<Numbered>),
}

impl Exchange {
    /// Lets an outgoing request go, as far as the transaction is concerned.
    pub(crate) fn depart(&self, method: &Method, target: &str) -> Result<Departure, Withheld> {
        let mut state = self.lock();
        let State { transaction, outside, answered, answered_writes, is_read_only, .. } =
            &mut *state;
        let Some(outside) = outside else { return Err(Withheld::Probe) };
        if outside.is_over() {
            return Err(Withheld::NoInvocation);
        }
        match transaction {
            Some(transaction) => outside::check(transaction)?,
            None if *answered && !*answered_writes => {}
            None => return Err(Withheld::Writes),
        }
        if *is_read_only {
            return Err(Withheld::ReadOnly);
        }
        Ok(outside.depart(method, target))
    }

    /// What a request to another service has of this invocation; `None` where there is none that
    /// it could belong to. Whether it may leave, [`depart`](Self::depart) says.
    ///
    /// # Errors
    /// When it would be too deep.
    pub(crate) fn lineage_by_name(
        &self,
        trace: Option<&str>,
    ) -> Result<Option<Lineage>, CallWithheld> {
        let state = self.lock();
        let Some(lineage) = &state.lineage else { return Ok(None) };
        if lineage.depth >= MAX_DEPTH {
            return Err(CallWithheld::TooDeep);
        }
        // Where it has answered its answer may still stream, for longer than that.
        let deadline = match state.answered {
            true => Instant::now() + LONG,
            false => lineage.deadline,
        };
        let trace = trace.map(Box::from);
        let depth = lineage.depth + 1;
        Ok(Some(Lineage { deadline, depth, trace, ..Lineage::clone(lineage) }))
    }

    /// Lets a call of another service go, as far as the transaction is concerned; `trace` is what
    /// it is part of.
    pub(crate) fn depart_to_call(
        &self,
        wanted: &Arc<Wanted>,
        arguments: &Bytes,
        trace: Option<&str>,
    ) -> Result<Departing, CallWithheld> {
        let mut state = self.lock();
        let State { transaction, outside, lineage, is_read_only, .. } = &mut *state;
        let Some(outside) = outside else { return Err(CallWithheld::Probe) };
        let Some(lineage) = lineage.as_ref().filter(|_| !outside.is_over()) else {
            return Err(CallWithheld::NoInvocation);
        };
        let Some(transaction) = transaction else { return Err(CallWithheld::Answered) };
        if transaction.is_leased() {
            return Err(CallWithheld::Leased);
        }
        if lineage.depth >= MAX_DEPTH {
            return Err(CallWithheld::TooDeep);
        }
        let is_read_only = *is_read_only || transaction.has_writes();
        let (known, numbered, over) = outside.depart_to_call(wanted, arguments, is_read_only);
        Ok(match known {
            Known::Result(result) => Departing::Known(result),
            Known::GoesOn(ended) => Departing::GoesOn(ended),
            Known::New(left) => {
                let trace = trace.map(Box::from);
                let depth = lineage.depth + 1;
                let lineage = Lineage { depth, trace, ..Lineage::clone(lineage) };
                let id = numbered.map(|numbered| numbered.id);
                let terms = Terms { lineage, id, is_read_only };
                Departing::Call(CallDeparture { terms, over, left }, numbered)
            }
        })
    }

    /// Notes that a call failed.
    pub(crate) fn note_failed(&self, call: Numbered) {
        if let Some(outside) = &mut self.lock().outside {
            outside.note_failed(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Exchange, Occasion, ReplayBody};
    use super::*;
    use crate::runtime::RequestKeys;
    use crate::state::{Store, StoreOptions};

    /// Who answers it by name is an invocation of its own, and may write.
    #[tokio::test]
    async fn a_call_that_only_reads_sends_no_request_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stock.db");
        let store = Store::new(path, "stock", StoreOptions::default());
        let store = Arc::new(store);
        for (is_read_only, method) in
            [(true, Method::GET), (true, Method::POST), (false, Method::GET)]
        {
            let keys = RequestKeys::default();
            let occasion = Occasion::Function { keys, lineage: None, is_read_only };
            let exchange = Exchange::new(store.begin(), ReplayBody::empty(), occasion);
            let departed = exchange.depart(&method, "http://stock.internal/");
            assert_eq!(departed.err(), is_read_only.then_some(Withheld::ReadOnly), "{method}");
        }
    }
}
