//! Who decides about a transaction: the invocation that may still give it up, or the
//! writer that has taken it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

/// What an invocation and the writer agree on, once for each of its runs: whether its
/// transaction is given up, of which nothing is there then, or taken. What is taken is
/// committed, or refused by the store; whoever waits hears of it soon.
///
/// It is made with the first of the two: most transactions write nothing.
#[derive(Debug, Default)]
pub struct Fate {
    shared: OnceLock<Claim>,
}

/// The writer's share in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim {
    state: Arc<AtomicU8>,
}

const OPEN: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Fate {
    /// Gives the transaction up. False where the writer has it already: then it is to
    /// be waited for.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.claim().change(OPEN, WITHDRAWN) || self.claim().state() == WITHDRAWN
    }

    /// Another run begins: what the writer had taken of the last came to nothing.
    pub fn reopen(&self) {
        if let Some(claim) = self.shared.get() {
            claim.release();
        }
    }

    pub(super) fn claim(&self) -> &Claim {
        self.shared.get_or_init(Claim::default)
    }
}

impl Claim {
    /// Takes the transaction. False where it was given up.
    pub(super) fn take(&self) -> bool {
        self.change(OPEN, TAKEN)
    }

    /// Nothing came of it. To be called before anyone is told so: it may be run again,
    /// and given up then.
    pub(super) fn release(&self) {
        self.change(TAKEN, OPEN);
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_taken_or_given_up_but_not_both() {
        let fate = Fate::default();
        assert!(fate.claim().take());
        assert!(!fate.withdraw());
        fate.claim().release();
        assert!(fate.withdraw() && fate.withdraw());
        assert!(!fate.claim().take());
    }
}
