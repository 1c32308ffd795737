//! What became of the calls that an invocation made, for its next run: that does not call again
//! but gets the same results.
//!
//! A run's call is an earlier run's where it is of the same function with the same arguments;
//! the first of such calls is the first, the second the second.

use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Wanted;
use crate::digest::Digest;

/// Bytes of arguments and results that are remembered for one invocation.
const MAX_BYTES: usize = 4 << 20;

/// How many of its calls are.
const MAX_CALLS: usize = 10_000;

/// Calls of all runs of an invocation.
#[derive(Default)]
pub(crate) struct Remembered {
    calls: Mutex<Calls>,
    /// Told when none is under way that may have an effect.
    settled: Notify,
}

#[derive(Default)]
struct Calls {
    all: Vec<Call>,
    bytes: usize,
    /// Whether one that may have had an effect would be made again by another run.
    is_incomplete: bool,
    /// Whether one may have had an effect that stands, however the invocation ends.
    has_effects: bool,
    /// How many are under way that may have one.
    under_way: usize,
}

struct Call {
    wanted: Arc<Wanted>,
    arguments: Bytes,
    /// `None` while it runs.
    outcome: Option<Outcome>,
    /// Is cancelled when it has one.
    ended: CancellationToken,
}

/// What a call came to, as far as another run is concerned.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// Its result.
    Result(Bytes),
    /// It left nothing: it is to be made again.
    Nothing,
}

/// Which of the remembered calls a run has made.
#[derive(Default)]
pub(in crate::runtime) struct Past {
    made: Vec<bool>,
    count: usize,
    /// The numbers of equal calls.
    equal: HashMap<Digest, Numbers>,
}

/// Numbers of calls that are done or under way. One that failed gives its number back: what it
/// would have done, the next does.
#[derive(Default)]
struct Numbers {
    next: u32,
    given_back: BTreeSet<u32>,
}

/// A place for a call's outcome.
pub(crate) struct Left {
    remembered: Arc<Remembered>,
    /// `None` where it is not remembered.
    index: Option<usize>,
    /// Whether its result is kept by its callee, or it may not write.
    is_harmless: bool,
    has_ended: bool,
}

/// What is known of a call that a run is about to make.
pub(in crate::runtime) enum Known {
    /// It was made, and has this result.
    Result(Bytes),
    /// An earlier run's goes on, until this is cancelled.
    GoesOn(CancellationToken),
    /// Nothing: it is to be made.
    New(Left),
}

impl Remembered {
    /// Whether a call that may have had an effect would be made again by another run.
    pub(in crate::runtime) fn is_incomplete(&self) -> bool {
        self.lock().is_incomplete
    }

    /// Whether one of them may have an effect that stands, however the invocation ends.
    pub(in crate::runtime) fn has_effects(&self) -> bool {
        let calls = self.lock();
        calls.has_effects || calls.under_way > 0
    }

    /// Waits until none is under way that may have an effect: whether it has is known then. One
    /// that was given up ends at once, but for one that is being committed.
    pub(in crate::runtime) async fn settled(&self) {
        loop {
            let mut settled = pin!(self.settled.notified());
            settled.as_mut().enable();
            if self.lock().under_way == 0 {
                return;
            }
            settled.await;
        }
    }

    /// What is known of the next such call of the run with this `past`.
    pub(in crate::runtime) fn look_up(
        self: &Arc<Self>,
        past: &mut Past,
        wanted: &Arc<Wanted>,
        arguments: &Bytes,
        is_harmless: bool,
    ) -> Known {
        let mut calls = self.lock();
        past.made.resize(calls.all.len(), false);
        // In the first run there is none that it has not made itself.
        let mut again = None;
        if past.count < calls.all.len() {
            let is_such = |(index, call): &(usize, &mut Call)| {
                !past.made[*index]
                    && Arc::ptr_eq(&call.wanted, wanted)
                    && call.arguments == arguments
            };
            let left_nothing =
                |call: &Call| u8::from(matches!(call.outcome, Some(Outcome::Nothing)));
            let such = calls.all.iter_mut().enumerate().filter(is_such);
            // The earlier run may have made one that failed once more: what that did is not to be
            // done a second time. Of those that are as good the first is found.
            if let Some((index, call)) = such.min_by_key(|(_, call)| left_nothing(call)) {
                match &call.outcome {
                    None => return Known::GoesOn(call.ended.clone()),
                    Some(Outcome::Result(result)) => {
                        let result = result.clone();
                        past.note(index);
                        return Known::Result(result);
                    }
                    Some(Outcome::Nothing) => {
                        (call.outcome, call.ended) = (None, CancellationToken::new());
                        again = Some(index);
                    }
                }
            }
        }
        calls.under_way += usize::from(!is_harmless);
        let index = again.or_else(|| calls.begin(wanted, arguments));
        if let Some(index) = index {
            past.made.resize(calls.all.len(), false);
            past.note(index);
        }
        Known::New(Left { remembered: Arc::clone(self), index, is_harmless, has_ended: false })
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    fn begin(&mut self, wanted: &Arc<Wanted>, arguments: &Bytes) -> Option<usize> {
        let bytes = self.bytes.saturating_add(arguments.len());
        if bytes > MAX_BYTES || self.all.len() == MAX_CALLS {
            return None;
        }
        self.bytes = bytes;
        self.all.push(Call {
            wanted: Arc::clone(wanted),
            arguments: arguments.clone(),
            outcome: None,
            ended: CancellationToken::new(),
        });
        Some(self.all.len() - 1)
    }
}

impl Past {
    fn note(&mut self, index: usize) {
        self.made[index] = true;
        self.count += 1;
    }

    /// The least number that no call with this digest has in this run.
    pub(in crate::runtime) fn take_number(&mut self, digest: Digest) -> u32 {
        let numbers = self.equal.entry(digest).or_default();
        numbers.given_back.pop_first().unwrap_or_else(|| {
            numbers.next += 1;
            numbers.next - 1
        })
    }

    /// The call failed.
    pub(in crate::runtime) fn give_number_back(&mut self, digest: Digest, number: u32) {
        if let Some(numbers) = self.equal.get_mut(&digest) {
            numbers.given_back.insert(number);
        }
    }
}

impl Left {
    /// What it came to, and whether it may have had an effect that stands.
    pub(crate) fn ended(mut self, outcome: Outcome, stands: bool) {
        self.note(outcome, stands);
    }

    fn note(&mut self, outcome: Outcome, stands: bool) {
        self.has_ended = true;
        let stands = stands && !self.is_harmless;
        let mut calls = self.remembered.lock();
        calls.under_way -= usize::from(!self.is_harmless);
        if calls.under_way == 0 {
            self.remembered.settled.notify_waiters();
        }
        let more = if let Outcome::Result(result) = &outcome { result.len() } else { 0 };
        let fits = calls.bytes.saturating_add(more) <= MAX_BYTES;
        let is_known = fits && self.index.is_some() && matches!(outcome, Outcome::Result(_));
        calls.has_effects |= stands;
        calls.is_incomplete |= stands && !is_known;
        let Some(index) = self.index else { return };
        calls.bytes += if fits { more } else { 0 };
        let call = &mut calls.all[index];
        call.outcome = Some(if fits { outcome } else { Outcome::Nothing });
        let ended = call.ended.clone();
        drop(calls);
        ended.cancel();
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        // Whoever waits for it must not wait for ever; what it did is not known.
        if !self.has_ended {
            self.note(Outcome::Nothing, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::super::functions::{Interface, Signature};
    use super::*;

    fn wanted() -> Arc<Wanted> {
        let signature = Signature { params: Vec::new(), result: None, is_async: false };
        let interface = Interface {
            name: "a:b/c@1.0.0".to_owned(),
            functions: BTreeMap::new(),
            uncallable: BTreeMap::new(),
        };
        Arc::new(Wanted::new(&interface, "f", &signature))
    }

    fn new(known: Known) -> Left {
        match known {
            Known::New(left) => left,
            Known::Result(_) | Known::GoesOn(_) => panic!("it is known"),
        }
    }

    #[test]
    fn another_run_gets_the_results_of_the_first_in_whatever_order_it_calls() {
        let (remembered, wanted) = (Arc::new(Remembered::default()), wanted());
        let look = |past: &mut Past, argument: &'static str| {
            remembered.look_up(past, &wanted, &Bytes::from_static(argument.as_bytes()), false)
        };
        let mut past = Past::default();
        for (argument, result) in [("a", "1"), ("b", "2"), ("a", "3")] {
            let result = Bytes::from_static(result.as_bytes());
            new(look(&mut past, argument)).ended(Outcome::Result(result), true);
        }
        let mut past = Past::default();
        for (argument, result) in [("b", "2"), ("a", "1"), ("a", "3")] {
            assert!(matches!(look(&mut past, argument), Known::Result(found) if found == result));
        }
        drop(new(look(&mut past, "a")));
        assert!(remembered.has_effects() && remembered.is_incomplete(), "it was given up");
    }

    #[test]
    fn a_call_that_left_nothing_is_made_again_and_one_under_way_is_waited_for() {
        let (remembered, wanted) = (Arc::new(Remembered::default()), wanted());
        let look = |past: &mut Past| remembered.look_up(past, &wanted, &Bytes::new(), false);
        let under_way = new(look(&mut Past::default()));
        let Known::GoesOn(ended) = look(&mut Past::default()) else { panic!("it goes on") };
        assert!(!ended.is_cancelled());
        under_way.ended(Outcome::Nothing, false);
        assert!(ended.is_cancelled() && !remembered.is_incomplete());
        new(look(&mut Past::default())).ended(Outcome::Result(Bytes::new()), true);
        assert!(matches!(look(&mut Past::default()), Known::Result(_)));
    }

    #[test]
    fn a_call_that_failed_and_was_made_once_more_is_not_made_a_third_time() {
        let (remembered, wanted) = (Arc::new(Remembered::default()), wanted());
        let look = |past: &mut Past| remembered.look_up(past, &wanted, &Bytes::new(), false);
        let mut past = Past::default();
        new(look(&mut past)).ended(Outcome::Nothing, false);
        new(look(&mut past)).ended(Outcome::Result(Bytes::from_static(b"1")), true);
        let mut past = Past::default();
        assert!(matches!(look(&mut past), Known::Result(result) if result == "1"));
        drop(new(look(&mut past)));
    }

    #[test]
    fn a_failed_calls_number_is_the_next_ones() {
        let (mut past, call, other) = (Past::default(), Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!([0, 1, 2].map(|_| past.take_number(call)), [0, 1, 2]);
        assert_eq!(past.take_number(other), 0);
        past.give_number_back(call, 1);
        assert_eq!([0, 1].map(|_| past.take_number(call)), [1, 3]);
    }

    #[tokio::test]
    async fn what_a_call_that_is_given_up_came_to_is_waited_for() {
        let (remembered, wanted) = (Arc::new(Remembered::default()), wanted());
        let look = |harmless| {
            let argument = Bytes::copy_from_slice(&[u8::from(harmless)]);
            new(remembered.look_up(&mut Past::default(), &wanted, &argument, harmless))
        };
        let _reads = look(true);
        remembered.settled().await;
        let writes = look(false);
        assert!(remembered.has_effects(), "it may have one yet");
        let mut settled = pin!(remembered.settled());
        assert!(futures_util::poll!(&mut settled).is_pending());
        writes.ended(Outcome::Nothing, false);
        settled.await;
        assert!(!remembered.has_effects());
    }

    #[test]
    fn what_is_too_much_to_be_remembered_allows_no_other_run_where_it_had_an_effect() {
        let (remembered, wanted) = (Arc::new(Remembered::default()), wanted());
        let large = Bytes::from(vec![0; MAX_BYTES + 1]);
        let look =
            |harmless| new(remembered.look_up(&mut Past::default(), &wanted, &large, harmless));
        look(true).ended(Outcome::Result(Bytes::new()), true);
        look(false).ended(Outcome::Result(Bytes::new()), false);
        assert!(!remembered.is_incomplete() && !remembered.has_effects());
        look(false).ended(Outcome::Result(Bytes::new()), true);
        assert!(remembered.is_incomplete() && remembered.has_effects());
    }
}
