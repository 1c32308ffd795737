//! What an invocation told the outside, and what it may still tell: outgoing
//! requests cannot be taken back when its transaction is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use http::Method;
use tokio_util::sync::CancellationToken;
use uuid::{Builder, Uuid};

use super::calls::{Known, Past, Remembered, Wanted};
use crate::digest::Digest;
use crate::state::Transaction;

/// Names an invocation to those it sends requests to: the same for all its runs,
/// so that a request that is sent again is known again. Knows, too, what of all its
/// runs stands, however it ends.
#[derive(Clone, Default)]
pub(crate) struct RequestKeys {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    // Random for a request, and made only when it sends an unsafe one.
    id: OnceLock<Uuid>,
    /// [`TOLD`] and the like.
    stands: AtomicU8,
    /// Whether it may be repeated, also by another process, under the same id.
    is_repeatable: bool,
    /// The calls that it made of other services; made with the first.
    calls: OnceLock<Arc<Remembered>>,
}

/// An unsafe request was sent.
const TOLD: u8 = 1;
/// The guest has committed something.
const COMMITTED: u8 = 1 << 1;
/// A commit of the guest's has begun and was not seen to end.
const COMMITTING: u8 = 1 << 2;

/// One run's requests.
pub(crate) struct Outside {
    keys: RequestKeys,
    sent: bool,
    /// How many unsafe requests were sent, by method and target.
    unsafe_requests: HashMap<Digest, u32>,
    /// Its calls of other services, if it made any.
    past: Option<Box<Past>>,
    is_over: bool,
    /// Made with the first request: most invocations send none.
    over: Option<CancellationToken>,
}

/// A request's share in its invocation.
#[derive(Debug)]
pub(crate) struct Departure {
    /// For the header `Idempotency-Key`, where the method is unsafe.
    pub(crate) idempotency_key: Option<String>,
    /// Is cancelled when the invocation is over.
    pub(crate) over: CancellationToken,
}

/// A call as it is known wherever its invocation is repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbered {
    /// What equal calls have in common.
    call: Digest,
    /// Which of them it is.
    number: u32,
    /// Under what its callee keeps the result.
    pub(crate) id: Digest,
}

/// Why a request may not leave now.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Withheld {
    /// What was written could still be undone.
    #[error(
        "a request is not sent while writes are pending: commit first (hotdock:transaction), or send \
         it before anything is written"
    )]
    Writes,
    /// Others would wait for the peer.
    #[error(
        "a request is not sent while the invocation holds its store's writer: send it before the \
         first SQL write"
    )]
    Leased,
    /// It would tell others what may be undone: who answers a GET may write, too.
    #[error(
        "a request is not sent in a call whose caller has uncommitted writes: such a call only \
         reads; call before writing, or commit first, or publish an event"
    )]
    ReadOnly,
    /// A candidate must not be noticed.
    #[error("a request is not sent while a candidate is asked for its health")]
    Probe,
    /// There is nothing that it belongs to.
    #[error("a request is not sent outside an invocation")]
    NoInvocation,
}

impl RequestKeys {
    /// The keys of an invocation that is known by these names: the same whenever
    /// it is run.
    pub(crate) fn of(names: &[&str]) -> Self {
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let digest = Digest::of_parts(&names);
        let (bytes, _) = digest.as_bytes().split_at(16);
        let bytes = bytes.try_into().expect("16 of a digest's bytes");
        let id = Builder::from_custom_bytes(bytes).into_uuid().into();
        Self { shared: Arc::new(Shared { id, is_repeatable: true, ..Shared::default() }) }
    }

    /// A commit of the guest's begins. Noted before it does: the run may be dropped
    /// before its outcome is known.
    pub(crate) fn note_committing(&self) {
        self.shared.stands.fetch_or(COMMITTING, Ordering::AcqRel);
    }

    /// How it ended.
    pub(crate) fn note_commit(&self, committed: bool) {
        if committed {
            self.shared.stands.fetch_or(COMMITTED, Ordering::AcqRel);
        }
        self.shared.stands.fetch_and(!COMMITTING, Ordering::AcqRel);
    }

    /// Waits until it is known what its calls of other services came to.
    pub(crate) async fn settled(&self) {
        if let Some(calls) = self.shared.calls.get() {
            calls.settled().await;
        }
    }

    /// Whether something of it may stand, however it ends.
    pub(crate) fn has_effects(&self) -> bool {
        self.shared.stands.load(Ordering::Acquire) != 0
            || self.shared.calls.get().is_some_and(|calls| calls.has_effects())
    }

    /// The key of the invocation's unsafe request with this method and target, of which it has
    /// sent so many: the same in whatever order another run sends others.
    fn key(&self, same: Digest, number: u32) -> String {
        let id = self.shared.id.get_or_init(Uuid::new_v4);
        format!("{id}-{}-{number}", &same.to_string()[..16])
    }
}

impl Outside {
    pub(crate) fn new(keys: RequestKeys) -> Self {
        Self {
            keys,
            sent: false,
            unsafe_requests: HashMap::new(),
            past: None,
            is_over: false,
            over: None,
        }
    }

    /// What of the invocation stands.
    pub(crate) fn keys(&self) -> &RequestKeys {
        &self.keys
    }

    /// Notes a request that is about to leave.
    pub(crate) fn depart(&mut self, method: &Method, target: &str) -> Departure {
        self.sent = true;
        let mut idempotency_key = None;
        // `is_safe`: GET, HEAD, OPTIONS and TRACE (RFC 9110 §9.2.1).
        if !method.is_safe() {
            let same = Digest::of_parts(&[method.as_str().as_bytes(), target.as_bytes()]);
            let number = self.unsafe_requests.entry(same).or_default();
            *number += 1;
            self.keys.shared.stands.fetch_or(TOLD, Ordering::AcqRel);
            idempotency_key = Some(self.keys.key(same, *number));
        }
        let over = self.over.get_or_insert_default().clone();
        Departure { idempotency_key, over }
    }

    /// Looks a call of another service up that is about to leave, and notes that it does: what
    /// an earlier run's came to, if there was one; and under what the callee is to keep the
    /// result, where this invocation can be repeated.
    pub(crate) fn depart_to_call(
        &mut self,
        wanted: &Arc<Wanted>,
        arguments: &Bytes,
        is_read_only: bool,
    ) -> (Known, Option<Numbered>, CancellationToken) {
        self.sent = true;
        let shared = &self.keys.shared;
        let is_kept = shared.is_repeatable && !is_read_only;
        let past = self.past.get_or_insert_default();
        let remembered = shared.calls.get_or_init(Arc::default);
        let known = remembered.look_up(past, wanted, arguments, is_kept || is_read_only);
        let over = self.over.get_or_insert_default().child_token();
        // It is looked up once more.
        let is_waited_for = matches!(known, Known::GoesOn(_));
        let numbered = (is_kept && !is_waited_for).then(|| {
            let names = [wanted.key().as_bytes(), wanted.function.as_bytes(), arguments];
            let call = Digest::of_parts(&names);
            let number = past.take_number(call);
            let id = shared.id.get_or_init(Uuid::new_v4);
            let id = Digest::of_parts(&[id.as_bytes(), &number.to_be_bytes(), call.as_bytes()]);
            Numbered { call, number, id }
        });
        (known, numbered, over)
    }

    /// A call failed: the next that is equal is made in its place.
    pub(crate) fn note_failed(&mut self, Numbered { call, number, .. }: Numbered) {
        if let Some(past) = &mut self.past {
            past.give_number_back(call, number);
        }
    }

    /// The invocation is over. Returns what is to be cancelled: it ends what is still
    /// under way.
    pub(crate) fn end(&mut self) -> Option<CancellationToken> {
        self.is_over = true;
        self.over.take()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether any request left.
    pub(crate) fn was_asked(&self) -> bool {
        self.sent
    }

    /// Whether a request left that may have changed something, or a call that another run would
    /// make again.
    pub(crate) fn was_told(&self) -> bool {
        let calls = self.keys.shared.calls.get();
        !self.unsafe_requests.is_empty() || calls.is_some_and(|calls| calls.is_incomplete())
    }
}

/// Whether a transaction in this state lets requests out.
pub(crate) fn check(transaction: &Transaction) -> Result<(), Withheld> {
    if transaction.is_leased() {
        Err(Withheld::Leased)
    } else if transaction.has_writes() {
        Err(Withheld::Writes)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_sends_its_requests_under_the_keys_of_the_run_before() {
        let keys = RequestKeys::default();
        let run = || {
            let mut outside = Outside::new(keys.clone());
            let methods = [Method::GET, Method::POST, Method::PUT];
            methods.map(|method| outside.depart(&method, "http://a/b").idempotency_key)
        };
        let [get, post, put] = run();
        assert_eq!(get, None);
        assert!(post.is_some() && post != put);
        assert_eq!(run(), [get, post.clone(), put]);
        let other = Outside::new(RequestKeys::default()).depart(&Method::POST, "http://a/b");
        assert_ne!(other.idempotency_key, post);
    }

    #[test]
    fn requests_to_others_do_not_change_a_requests_key() {
        let keys = RequestKeys::default();
        let run = |targets: [&'static str; 3]| {
            let mut outside = Outside::new(keys.clone());
            targets.map(|target| outside.depart(&Method::POST, target).idempotency_key)
        };
        let [one, two, again] = run(["http://a/1", "http://a/2", "http://a/1"]);
        assert!(one != two && two != again && one != again);
        assert_eq!(run(["http://a/2", "http://a/1", "http://a/1"]), [two, one, again]);
    }

    #[test]
    fn an_invocation_with_a_name_sends_under_the_same_keys_whenever_it_runs() {
        let key = |names: &[&str]| RequestKeys::of(names).key(Digest::of(b"a"), 1);
        assert_eq!(
            key(&["/services/cart", "1", "shop.>"]),
            key(&["/services/cart", "1", "shop.>"])
        );
        assert_ne!(
            key(&["/services/cart", "1", "shop.>"]),
            key(&["/services/cart", "2", "shop.>"])
        );
        assert_ne!(key(&["a", "bc"]), key(&["ab", "c"]));
    }

    #[test]
    fn a_commit_that_was_not_seen_to_end_may_stand() {
        let keys = RequestKeys::default();
        keys.note_committing();
        assert!(keys.has_effects());
        keys.note_commit(false);
        assert!(!keys.has_effects());
        keys.note_committing();
        keys.note_commit(true);
        assert!(keys.clone().has_effects());
    }

    #[test]
    fn only_unsafe_requests_tell_the_outside_something() {
        let mut outside = Outside::new(RequestKeys::default());
        assert!(!outside.was_asked());
        let departure = outside.depart(&Method::GET, "http://a/b");
        assert!(outside.was_asked() && !outside.was_told() && !outside.keys().has_effects());
        outside.depart(&Method::DELETE, "http://a/b");
        assert!(outside.was_told() && outside.keys().has_effects());
        outside.end().expect("something is under way").cancel();
        assert!(outside.is_over() && departure.over.is_cancelled());
    }
}
