//! A version's idle instances, ready for the next invocation.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use super::component::{Program, Servable};
use super::engine::Runtime;
use super::in_use::InUse;
use super::instance::{Instance, InstanceState};
use super::secrets::Secrets;
use crate::component::Steps;
use crate::manifest::Manifest;
use crate::name::VersionId;
use crate::outbound::Grant;
use crate::tally::Tally;

/// A memory, of which half is moved to the other half in some milliseconds: the default of
/// `[limits] memory`.
const MOVED_AT_ONCE: u64 = 64 << 20;

/// Gives out instances and takes them back. Clones are the same pool.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Runtime,
    program: Program,
    version: VersionId,
    manifest: Arc<Manifest>,
    secrets: Arc<Secrets>,
    outbound: Arc<Grant>,
    /// What its service has of the host's slots.
    in_use: Arc<InUse>,
    /// The one given back last is taken first: its memory is the warmest, and
    /// those at the other end grow old enough to be freed.
    idle: Mutex<Idle>,
    made: AtomicUsize,
    slowed: AtomicUsize,
    limits_reached: Arc<Tally>,
}

#[derive(Default)]
struct Idle {
    #[expect(clippy::vec_box, reason = "each is handed on several times in an invocation")]
    instances: Vec<Box<Instance>>,
    closed: bool,
}

/// A pool that may be gone.
#[derive(Debug)]
pub(super) struct WeakPool {
    inner: Weak<Inner>,
}

impl WeakPool {
    pub(super) fn exists(&self) -> bool {
        self.inner.strong_count() > 0
    }

    pub(super) fn upgrade(&self) -> Option<Pool> {
        Some(Pool { inner: self.inner.upgrade()? })
    }
}

impl Pool {
    /// An empty pool of instances of `program`.
    #[must_use]
    pub fn new(
        runtime: &Runtime,
        program: Program,
        version: VersionId,
        manifest: Arc<Manifest>,
        secrets: Secrets,
    ) -> Self {
        let outbound = runtime.outbound().grant(&version, &manifest);
        let in_use = runtime.services().of(&version.service);
        let inner = Inner {
            runtime: runtime.clone(),
            program,
            version,
            manifest,
            secrets: Arc::new(secrets),
            outbound,
            in_use,
            idle: Mutex::default(),
            made: AtomicUsize::new(0),
            slowed: AtomicUsize::new(0),
            limits_reached: Arc::default(),
        };
        let pool = Self { inner: Arc::new(inner) };
        runtime.register(WeakPool { inner: Arc::downgrade(&pool.inner) });
        pool
    }

    /// The version that its instances are of.
    pub(crate) fn version(&self) -> &VersionId {
        &self.inner.version
    }

    /// How its program is served.
    #[must_use]
    pub fn servable(&self) -> Servable {
        self.inner.program.servable()
    }

    /// Its program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.inner.program
    }

    /// What its instances run on.
    pub(super) fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    /// An idle instance, or a new one. Runs guest code where it makes one.
    pub(super) async fn take(&self) -> wasmtime::Result<Box<Instance>> {
        if let Some(instance) = self.lock().instances.pop() {
            return Ok(instance);
        }
        // Boxed, so that those who find one don't carry it.
        Box::pin(self.make()).await
    }

    async fn make(&self) -> wasmtime::Result<Box<Instance>> {
        let inner = &self.inner;
        let slot = inner.runtime.instance_slot(&inner.in_use, inner.program.slots).await?;
        let state = InstanceState::new(
            &inner.version,
            &inner.manifest,
            &inner.secrets,
            &inner.outbound,
            &inner.limits_reached,
            &inner.runtime,
            &inner.in_use,
        );
        inner.made.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Instance::new(&inner.program, state, slot).await?))
    }

    /// Takes an instance back for the next invocation, if the manifest lets it
    /// serve another. Only whole ones: an aborted invocation's instance is dropped.
    pub(super) fn give_back(&self, mut instance: Box<Instance>) {
        instance.uses += 1;
        if instance.uses < self.inner.manifest.instances.reuse && instance.is_light() {
            self.keep(instance);
        }
    }

    /// Keeps an instance for the next invocation, where nobody waits for its slots.
    pub(super) fn keep(&self, mut instance: Box<Instance>) {
        instance.idle_since = Instant::now();
        let mut idle = self.lock();
        if idle.closed {
            return;
        }
        idle.instances.push(instance);
        drop(idle);
        // Asked after it is there: whoever begins to wait later finds it.
        if self.inner.runtime.are_slots_wanted() {
            self.free_all_idle();
        }
    }

    /// Frees the instances that were idle for longer than the manifest says.
    pub fn free_idle(&self, now: Instant) {
        let keep = self.inner.manifest.instances.idle;
        let freed: Vec<Box<Instance>> = {
            let mut idle = self.lock();
            let old = idle
                .instances
                .iter()
                .take_while(|instance| now.saturating_duration_since(instance.idle_since) >= keep)
                .count();
            idle.instances.drain(..old).collect()
        };
        // Dropped after the lock: freeing memory takes its time.
        drop(freed);
    }

    /// Frees all idle instances; others need their room.
    pub(super) fn free_all_idle(&self) {
        let freed = std::mem::take(&mut self.lock().instances);
        drop(freed);
    }

    /// Frees the instance that was idle for longest.
    pub(super) fn free_oldest_idle(&self) {
        let oldest = {
            let mut idle = self.lock();
            (!idle.instances.is_empty()).then(|| idle.instances.remove(0))
        };
        drop(oldest);
    }

    /// Bytes of its idle instances' memories.
    pub(super) fn idle_memory(&self) -> u64 {
        let idle = self.lock();
        idle.instances.iter().map(|instance| instance.store.data().limits.memory_bytes()).sum()
    }

    /// What its service has of what all share.
    pub(super) fn in_use(&self) -> &Arc<InUse> {
        &self.inner.in_use
    }

    /// Frees all idle instances and keeps none from here on.
    pub fn close(&self) {
        let freed = {
            let mut idle = self.lock();
            idle.closed = true;
            std::mem::take(&mut idle.instances)
        };
        drop(freed);
    }

    /// How many instances are idle.
    #[must_use]
    pub fn idle_count(&self) -> usize {
        self.lock().instances.len()
    }

    /// How many instances were made since the start.
    #[must_use]
    pub fn made_count(&self) -> usize {
        self.inner.made.load(Ordering::Relaxed)
    }

    /// How often which limit was reached.
    #[must_use]
    pub fn limits_reached(&self) -> &Arc<Tally> {
        &self.inner.limits_reached
    }

    /// How often an outgoing request was sent, and not, and why.
    #[must_use]
    pub fn outgoing_requests(&self) -> &Tally {
        self.inner.outbound.requests()
    }

    /// Whether a call may have the host do something for its guest in one step that takes
    /// long: where others wait, it must not even begin.
    pub(super) fn goes_apart(&self) -> bool {
        let Steps { transcodes, moves, fills } = self.inner.program.steps;
        let has_large_memories = self.inner.manifest.limits.memory > MOVED_AT_ONCE;
        transcodes || (moves && has_large_memories) || (fills && self.idle_count() == 0)
    }

    /// Notes that a run goes on in the slow lane.
    pub(super) fn note_slowed(&self) {
        self.inner.slowed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many runs went on in the slow lane since the start.
    #[must_use]
    pub fn slowed_count(&self) -> usize {
        self.inner.slowed.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("version", &self.inner.version)
            .field("idle", &self.idle_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::super::{RuntimeOptions, fixture};
    use super::*;
    use crate::config::OutboundConfig;
    use crate::outbound::Outbound;

    #[tokio::test]
    async fn an_instance_whose_slot_another_waits_for_is_not_kept() {
        let options = RuntimeOptions { instances: 1, ..RuntimeOptions::default() };
        let outbound = Outbound::new(OutboundConfig::default());
        let runtime = Runtime::with(outbound, options).expect("an engine");
        let manifest = fixture::manifest("[instances]\nreuse = 10\n");
        let of = |service: &str| {
            let id = VersionId { service: service.parse().expect("a name"), number: 1 };
            fixture::pool(&runtime, id, Arc::clone(&manifest))
        };
        let (cart, order) = (of("cart"), of("order"));
        let instance = cart.take().await.expect("an instance");
        {
            let mut waiting = std::pin::pin!(order.take());
            assert!(waiting.as_mut().now_or_never().is_none(), "cart's instance is at work");
            cart.give_back(instance);
            let instance = waiting.await.expect("an instance");
            assert_eq!((cart.idle_count(), runtime.free_instance_slots()), (0, 0));
            order.give_back(instance);
        }
        assert_eq!((order.idle_count(), order.made_count()), (1, 1), "nobody waits");
    }
}
