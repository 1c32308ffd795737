//! What the host holds for a guest: the bytes that it takes of the allocator while the
//! guest runs and has not given back, for whatever import it takes them.
//!
//! A guest runs where its future is polled, on one thread at a time, and so does all that
//! its imports do for it: the allocator's balance of that thread is the guest's
//! account while it is polled. Nothing has to be charged by whoever holds it: resources, fields,
//! buffers of bodies, streams and futures, values, rows, events, lists on their way into
//! the guest. What has to be said is only what crosses over:
//!
//! - what the host takes for itself meanwhile, and what it took elsewhere and frees here,
//!   is [`outside`] the account, and what comes in from there is copied ([`hand_over`]);
//! - what goes out, to be freed elsewhere, is taken off the account: [`Leaving`]. While it
//!   waits for its reader, it still counts among what is held for all guests.
//!
//! It is looked at whenever the guest was polled, whenever a tick finds it computing, and
//! by the imports that take much in one call.

mod bodies;

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::Poll;

pub(super) use bodies::{Leaving, hand_over};

use super::in_use::{InUse, is_kept};
use crate::allocator;

/// A guest that the host holds no more for is not ended for what it holds for others.
const SMALL: i64 = 1 << 20;

/// An account tells the total when it differs by so much from what it told last.
const TOLD_IN_STEPS_OF: i64 = 64 << 10;

thread_local! {
    /// Whether a guest is polled on this thread.
    static RUNS_GUEST: Cell<bool> = const { Cell::new(false) };
}

/// What the host holds for one instance, in bytes.
pub(super) struct Account {
    /// As of the last poll, less what left since.
    held: AtomicI64,
    limit: i64,
    /// What is in the total.
    told: AtomicI64,
    /// Whether its guest was ended to make room for others: it counts no longer.
    ended: AtomicBool,
    total: Arc<Total>,
    service: Arc<InUse>,
}

/// What it holds for all of them and for who reads their bodies, within [`TOLD_IN_STEPS_OF`] bytes each.
#[derive(Debug)]
pub(super) struct Total {
    bytes: AtomicI64,
    limit: i64,
}

/// The host would hold more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooMuchHeld {
    /// For this guest.
    #[error("the host holds {0} bytes for it")]
    ForIt(i64),
    /// For all guests, of whom this one is not among the small.
    #[error(
        "the host holds {all} bytes for guests, {services} of them for its service and {its} for \
         this one; it holds no more than {limit} for all together, and the last quarter of that \
         for services that have little"
    )]
    ForAll { all: i64, services: i64, its: i64, limit: i64 },
}

/// For as long as it lives, what this thread takes is the account's.
struct Scope<'a> {
    account: &'a Account,
    before: i64,
    outer: i64,
}

impl Total {
    /// Nothing, and never more than so many bytes.
    pub(super) fn new(limit: u64) -> Self {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Self { bytes: AtomicI64::new(0), limit }
    }

    /// How many bytes.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.bytes.load(Ordering::Relaxed)).unwrap_or_default()
    }
}

impl Account {
    /// One that holds nothing yet.
    pub(super) fn new(limit: u64, total: &Arc<Total>, service: &Arc<InUse>) -> Self {
        Self {
            held: AtomicI64::new(0),
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            told: AtomicI64::new(0),
            ended: AtomicBool::new(false),
            total: Arc::clone(total),
            service: Arc::clone(service),
        }
    }

    /// Runs the guest on this account, until it holds too much. It is pinned by who calls
    /// this: moved in here, it would be copied whole at each request.
    pub(super) async fn run<T>(
        &self,
        mut guest: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
    ) -> wasmtime::Result<T> {
        poll_fn(|context| {
            let scope = Scope::enter(self);
            let polled = guest.as_mut().poll(context);
            let held = self.check();
            drop(scope);
            match held {
                Err(too_much) if polled.is_pending() => Poll::Ready(Err(too_much.into())),
                _ => polled,
            }
        })
        .await
    }

    /// Whether it may go on. To be called where the guest runs.
    pub(super) fn check(&self) -> Result<(), TooMuchHeld> {
        let held = allocator::balance();
        if held <= SMALL.min(self.limit) {
            return Ok(());
        }
        if held > self.limit {
            return Err(TooMuchHeld::ForIt(held));
        }
        // All the others', and this one's as it is now.
        let told = self.told.load(Ordering::Relaxed);
        let Err(too_much) = self.fits(held, held - told) else { return Ok(()) };
        // At once, so that the others that look now do not end as well.
        self.ended.store(true, Ordering::Relaxed);
        self.tell(-self.told.swap(0, Ordering::Relaxed));
        Err(too_much)
    }

    /// Adds what came from elsewhere, and will be freed by the guest.
    pub(super) fn add(&self, bytes: i64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether an answer of so many bytes may wait for its client, as far as those are
    /// concerned that wait already.
    pub(super) fn check_leaving(&self, bytes: usize) -> Result<(), TooMuchHeld> {
        let its = i64::try_from(bytes).unwrap_or(i64::MAX);
        if its > SMALL { self.fits(its, its) } else { Ok(()) }
    }

    /// Whether its service may have so much more, and all guests.
    fn fits(&self, its: i64, more: i64) -> Result<(), TooMuchHeld> {
        let with = |bytes: &AtomicI64| bytes.load(Ordering::Relaxed).saturating_add(more);
        let (all, services) = (with(&self.total.bytes), with(&self.service.held));
        let limit = self.total.limit;
        let is_kept = is_kept(services.max(0) as u64, all.max(0) as u64, limit as u64);
        if all > limit || is_kept {
            return Err(TooMuchHeld::ForAll { all, services, its, limit });
        }
        Ok(())
    }

    /// Tells the totals.
    fn tell(&self, more: i64) {
        self.total.bytes.fetch_add(more, Ordering::Relaxed);
        self.service.held.fetch_add(more, Ordering::Relaxed);
    }

    /// Takes off what left, and will be freed elsewhere.
    pub(super) fn subtract(&self, bytes: usize) {
        self.add(-i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Between two invocations. What is freed for the next guest that others took (the
    /// request's head) must not add up to room for more.
    pub(super) fn begin(&self) {
        self.held.fetch_max(0, Ordering::Relaxed);
    }

    /// Forgets what is held: it is known to be nothing.
    pub(super) fn clear(&self) {
        self.held.store(0, Ordering::Relaxed);
    }

    /// Whether an instance that holds so much may serve another invocation: there is
    /// room for what that takes.
    pub(super) fn is_light(&self) -> bool {
        self.held.load(Ordering::Relaxed) <= self.limit / 4
    }

    fn change(&self, bytes: i64) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let told = self.told.load(Ordering::Relaxed);
        let counts = !self.ended.load(Ordering::Relaxed);
        if counts && (held - told).abs() >= TOLD_IN_STEPS_OF {
            self.tell(held - told);
            self.told.store(held, Ordering::Relaxed);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.tell(-self.told.load(Ordering::Relaxed));
    }
}

impl<'a> Scope<'a> {
    fn enter(account: &'a Account) -> Self {
        let before = account.held.load(Ordering::Relaxed);
        RUNS_GUEST.set(true);
        Self { account, before, outer: allocator::set_balance(before) }
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        RUNS_GUEST.set(false);
        let after = allocator::set_balance(self.outer);
        if after != self.before {
            self.account.change(after - self.before);
        }
    }
}

/// Whether a guest is polled on this thread.
#[inline(never)]
fn runs_guest() -> bool {
    RUNS_GUEST.get()
}

/// Changes that, and returns what it was.
#[inline(never)]
fn set_runs_guest(runs: bool) -> bool {
    RUNS_GUEST.replace(runs)
}

/// Does what is the host's own: what it takes and what it frees is on no account. No guest runs
/// meanwhile: a body that one guest reads may be another's, which has it from somewhere else.
pub(super) fn outside<T>(work: impl FnOnce() -> T) -> T {
    let ran = set_runs_guest(false);
    let done = measured(work).0;
    set_runs_guest(ran);
    done
}

/// The same, and how much more it holds after it.
fn measured<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let before = allocator::balance();
    let done = work();
    (done, allocator::set_balance(before) - before)
}

/// The same of what takes its time.
pub(super) async fn outside_async<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| outside(|| work.as_mut().poll(context))).await
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("held", &self.held)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes or frees so many bytes.
    fn take(bytes: i64) {
        allocator::set_balance(allocator::balance() + bytes);
    }

    async fn run(account: &Account, work: impl FnOnce()) -> wasmtime::Result<()> {
        let guest = async {
            work();
            Ok(())
        };
        account.run(pin!(guest)).await
    }

    /// What ends a guest that takes so many bytes and then waits.
    async fn end_of(account: &Account, bytes: i64) -> wasmtime::Error {
        let guest = async {
            take(bytes);
            tokio::task::yield_now().await;
            panic!("it is not polled again");
        };
        account.run::<()>(pin!(guest)).await.expect_err("an end")
    }

    fn held(account: &Account) -> i64 {
        account.held.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn what_a_guest_takes_is_on_its_account_and_nobody_elses() {
        let total = Arc::new(Total::new(1 << 30));
        let (one, other) = (
            Account::new(1 << 20, &total, &Arc::default()),
            Account::new(1 << 20, &total, &Arc::default()),
        );
        take(7);
        run(&one, || take(100_000)).await.expect("a guest within its limit");
        run(&other, || take(500)).await.expect("a guest within its limit");
        run(&one, || take(-30_000)).await.expect("a guest within its limit");
        assert_eq!((held(&one), held(&other)), (70_000, 500));
        // Within the step.
        assert_eq!(total.bytes(), 100_000);
        drop(one);
        assert_eq!(total.bytes(), 0);
    }

    #[tokio::test]
    async fn what_is_done_outside_is_on_no_account() {
        let account = Account::new(1 << 20, &Arc::new(Total::new(1 << 30)), &Arc::default());
        let guest = async {
            take(10);
            outside(|| take(1_000));
            outside_async(async {
                take(1_000);
                tokio::task::yield_now().await;
                take(1_000);
            })
            .await;
            Ok(())
        };
        account.run(pin!(guest)).await.expect("a guest within its limit");
        assert_eq!(held(&account), 10);
        account.subtract(4);
        account.add(1);
        assert_eq!(held(&account), 7);
    }

    #[tokio::test]
    async fn a_guest_that_holds_too_much_ends_at_its_next_wait() {
        let account = Account::new(1_000, &Arc::new(Total::new(1 << 30)), &Arc::default());
        let guest = async {
            take(1_000);
            tokio::task::yield_now().await;
            take(1);
            tokio::task::yield_now().await;
            panic!("it is not polled again");
        };
        let error = account.run::<()>(pin!(guest)).await.expect_err("an end");
        assert_eq!(error.downcast_ref(), Some(&TooMuchHeld::ForIt(1_001)));
    }

    #[tokio::test]
    async fn where_all_together_hold_too_much_those_end_that_hold_more_than_a_little() {
        let total = Arc::new(Total::new(10 << 20));
        let account = || Account::new(8 << 20, &total, &Arc::default());
        let (one, other, little) = (account(), account(), account());
        run(&one, || take(6 << 20)).await.expect("a guest within its limit");
        let error = end_of(&other, 6 << 20).await;
        assert!(matches!(error.downcast_ref(), Some(TooMuchHeld::ForAll { .. })), "{error:#}");
        let guest = async {
            take(1 << 20);
            tokio::task::yield_now().await;
            Ok(())
        };
        little.run(pin!(guest)).await.expect("a guest that holds little");
    }

    #[tokio::test]
    async fn no_service_has_the_last_quarter_however_many_guests_it_has() {
        let total = Arc::new(Total::new(64 << 20));
        let (greedy, modest): (Arc<InUse>, Arc<InUse>) = Default::default();
        let account = |service| Account::new(8 << 20, &total, service);
        let mut held = Vec::new();
        for _ in 0..6 {
            let one = account(&greedy);
            run(&one, || take(8 << 20)).await.expect("a guest within its limit");
            held.push(one);
        }
        let one_more = account(&greedy);
        let error = end_of(&one_more, 2 << 20).await;
        assert!(matches!(error.downcast_ref(), Some(TooMuchHeld::ForAll { .. })), "{error:#}");
        let guest = async {
            take(4 << 20);
            tokio::task::yield_now().await;
            Ok(())
        };
        account(&modest).run(pin!(guest)).await.expect("it is kept for it");
        drop(held);
        assert_eq!(greedy.held.load(Ordering::Relaxed), 0);
    }
}
