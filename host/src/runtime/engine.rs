//! The engines that run components, and the thread that ticks their epochs.
//!
//! There are two, which differ in what a store keeps account of: one for components
//! that await and stream by the component model's own means, and one for all others,
//! where a call costs less.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::account::Total;
use super::calls::{Callees, CalleesCell};
use super::compile::{Abi, compile_config, facts_of};
use super::component::LoadedComponent;
use super::imports;
use super::in_use::{InUse, Services};
use super::instance::InstanceState;
use super::lane::SlowLane;
use super::limits::{MAX_CORE_MODULES, MAX_MEMORIES, MAX_TABLES};
use super::memories::Memories;
use super::neighbours::{Neighbours, NeighboursCell};
use super::pool::WeakPool;
use super::pools::Pools;
use super::slots::{NoSlot, OverShare, Slot, Slots};
use crate::manifest::MAX_TABLE_ELEMENTS;
use crate::outbound::Outbound;

/// How often a guest that computes gives the thread back: an epoch.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Memories for each slot; an instance with more takes several.
const MEMORIES_PER_SLOT: u32 = 2;

/// Stacks for each slot, of the engine where an instance has several: one for each
/// component instance in it, the calls of which may wait. Each takes two of the
/// mappings that a process may have.
const STACKS_PER_SLOT: u32 = 4;

/// Stacks of an instance besides: the one it was called on, and one for the next call.
const SPARE_STACKS: u32 = 2;

/// What a slot keeps resident of a memory between two instances at the most, see
/// [`RuntimeOptions::small_memory`], so that the next one doesn't fault its pages in again. A guest
/// touches few pages of its memories, but giving them back and faulting them in means telling every
/// other processor to forget them, which costs more than writing over the first two MiB: stack,
/// data, and some heap.
const MEMORY_KEEP_RESIDENT: u64 = 2 << 20;
const TABLE_KEEP_RESIDENT: usize = 512 << 10;
const STACK_KEEP_RESIDENT: usize = 128 << 10;

/// How many memories that nobody uses keep their module's content, for each engine. A module that
/// finds none of its own takes one that was never used until there are so many: the host grows by
/// a memory with each deployment until then, and to take another's costs a mapping.
const UNUSED_MEMORIES: u32 = 32;

/// The engines, what is linked to components, and the host's instance slots.
/// Cheap to clone; all clones are one runtime.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    /// For components without async in their types.
    plain: Serving,
    asynchronous: Serving,
    outbound: Outbound,
    neighbours: NeighboursCell,
    callees: CalleesCell,
    slots: Slots,
    services: Services,
    slow_lane: SlowLane,
    held_for_guests: Arc<Total>,
    memories: Arc<Memories>,
    /// Whose idle instances can be freed when there is no slot left.
    pools: Arc<Pools>,
}

/// What a runtime takes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// Instances that exist at once in the whole host, idle ones included. Addresses
    /// are reserved for all of them.
    pub instances: u32,
    /// Whether guests that compute for long give their thread back. Where time stands
    /// still for them they need not, and then no tick falls into what is counted.
    pub ticks: bool,
    /// Bytes that the host holds for all instances together beside their memories.
    pub host_memory: u64,
    /// Bytes of all instances' linear memories together.
    pub guest_memory: u64,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self { instances: 1_000, ticks: true, host_memory: 1 << 30, guest_memory: u64::MAX }
    }
}

impl RuntimeOptions {
    /// What an instance may have of memory whatever the others have, and what its slot keeps of it
    /// for the next one: so little that all slots together have half of what all guests may.
    fn small_memory(&self) -> u64 {
        MEMORY_KEEP_RESIDENT.min(self.guest_memory / 2 / u64::from(self.instances.max(1)))
    }
}

/// An engine and what it links to components.
struct Serving {
    engine: Engine,
    linker: Linker<InstanceState>,
}

/// Why the runtime could not be set up or could not load a component.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine does not work on this machine.
    #[error("the WebAssembly engine could not be set up: {0:#}")]
    Engine(wasmtime::Error),
    /// The threads for guests that compute for long could not be started.
    #[error("the threads for long computations could not be started: {0}")]
    SlowLane(std::io::Error),
    /// A compiled component could not be mapped.
    #[error("the compiled component could not be loaded: {0:#}")]
    Load(wasmtime::Error),
}

impl RuntimeError {
    /// What the system said, where it is that.
    #[must_use]
    pub fn of_system(&self) -> Option<&std::io::Error> {
        match self {
            Self::Engine(error) | Self::Load(error) => error.downcast_ref(),
            Self::SlowLane(error) => Some(error),
        }
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("free_slots", &self.inner.slots.free()).finish()
    }
}

impl Runtime {
    /// Sets the engines up and starts their epochs. Components send their requests
    /// by `outbound`.
    ///
    /// # Errors
    /// When the engines' settings don't work on this machine.
    pub fn new(outbound: Outbound) -> Result<Self, RuntimeError> {
        Self::with(outbound, RuntimeOptions::default())
    }

    /// The same, taking this much of the machine.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn with(outbound: Outbound, options: RuntimeOptions) -> Result<Self, RuntimeError> {
        let serving = |abi| Serving::new(abi, &options).map_err(RuntimeError::Engine);
        let (plain, asynchronous) = (serving(Abi::Sync)?, serving(Abi::Async)?);
        if options.ticks {
            tick_epochs([&plain.engine, &asynchronous.engine]);
        }
        let slots = Slots::new(options.instances);
        let slow_lane = SlowLane::start().map_err(RuntimeError::SlowLane)?;
        let pools = Arc::default();
        let held_for_guests = Arc::new(Total::new(options.host_memory));
        let memories = Memories::new(options.guest_memory, options.small_memory(), &pools);
        let inner = Inner {
            plain,
            asynchronous,
            outbound,
            neighbours: NeighboursCell::default(),
            callees: CalleesCell::default(),
            slots,
            services: Services::default(),
            slow_lane,
            held_for_guests,
            memories,
            pools,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Maps a component that `compile` made with this build's settings.
    ///
    /// The file must be one that nobody changes while it is mapped: the caller
    /// names compiled files by content and replaces them only by rename.
    ///
    /// # Errors
    /// When the file cannot be read or was made by another build.
    pub fn load(&self, compiled: &Path) -> Result<LoadedComponent, RuntimeError> {
        // SAFETY: the file was written by this program's own `compile`, under a
        // name made of the component's digest and this build's compatibility
        // key, synced, and renamed into a folder that only the host writes to;
        // it is never written again. That is what `deserialize_file` asks for.
        #[expect(unsafe_code, reason = "mapping compiled code is how start-up takes milliseconds")]
        let map = |engine| unsafe { Component::deserialize_file(engine, compiled) };
        // The file says what engine it was made for, and the other refuses it.
        let component = map(&self.inner.plain.engine).or_else(|plain| {
            map(&self.inner.asynchronous.engine)
                .map_err(|other| if is_for_the_other(&plain) { other } else { plain })
        });
        let component = component.map_err(RuntimeError::Load)?;
        let facts = facts_of(compiled).map_err(|error| RuntimeError::Load(error.into()))?;
        Ok(LoadedComponent::new(component, facts))
    }

    /// Has requests to services by name answered so. Until then there are no such services;
    /// only the first to be named answers.
    pub(crate) fn answers_by_name(&self, neighbours: Arc<dyn Neighbours>) {
        _ = self.inner.neighbours.set(neighbours);
    }

    pub(super) fn neighbours(&self) -> &NeighboursCell {
        &self.inner.neighbours
    }

    /// Has `callees` run the calls of services by services from here on.
    pub(crate) fn connect(&self, callees: Arc<dyn Callees>) {
        let is_first = self.inner.callees.set(callees).is_ok();
        debug_assert!(is_first, "calls are connected once");
    }

    pub(super) fn callees(&self) -> &CalleesCell {
        &self.inner.callees
    }

    pub(super) fn outbound(&self) -> &Outbound {
        &self.inner.outbound
    }

    /// What is linked to components of this engine.
    pub(super) fn linker(&self, engine: &Engine) -> &Linker<InstanceState> {
        let Inner { plain, asynchronous, .. } = &*self.inner;
        if Engine::same(engine, &plain.engine) { &plain.linker } else { &asynchronous.linker }
    }

    /// Whether it is the engine of components that are asynchronous.
    pub(super) fn is_concurrent(&self, engine: &Engine) -> bool {
        Engine::same(engine, &self.inner.asynchronous.engine)
    }

    /// All instances' linear memory.
    pub(super) fn memories(&self) -> &Arc<Memories> {
        &self.inner.memories
    }

    /// What the host holds for all guests.
    pub(super) fn held_for_guests(&self) -> &Arc<Total> {
        &self.inner.held_for_guests
    }

    /// Where guests go on that compute for long.
    pub(super) fn slow_lane(&self) -> &SlowLane {
        &self.inner.slow_lane
    }

    /// Room for one more instance that takes so many slots. Where there is none, idle ones
    /// are freed, and then it waits for one that is at work, which is freed as well.
    ///
    /// # Errors
    /// When the slots that are left are kept for other services.
    pub(super) async fn instance_slot(
        &self,
        service: &Arc<InUse>,
        count: u32,
    ) -> Result<Slot, OverShare> {
        match self.inner.slots.try_take(service, count) {
            Ok(slot) => return Ok(slot),
            Err(NoSlot::Full | NoSlot::OverShare(_)) => {}
        }
        // Before it looks: an instance that comes back to its pool later is not kept there.
        let _wanting = self.inner.slots.want();
        for pool in self.inner.pools.all() {
            pool.free_all_idle();
        }
        self.inner.slots.take(service, count).await
    }

    /// Whether somebody waits for the slots of instances that are idle.
    pub(super) fn are_slots_wanted(&self) -> bool {
        self.inner.slots.are_wanted()
    }

    /// What each service has of what all share.
    pub(super) fn services(&self) -> &Services {
        &self.inner.services
    }

    pub(super) fn register(&self, pool: WeakPool) {
        self.inner.pools.register(pool);
    }

    /// How many more instances may be made now.
    #[must_use]
    pub fn free_instance_slots(&self) -> usize {
        self.inner.slots.free()
    }
}

impl Serving {
    fn new(abi: Abi, options: &RuntimeOptions) -> wasmtime::Result<Self> {
        let engine = Engine::new(&serving_config(abi, options))?;
        let mut linker = Linker::new(&engine);
        imports::add_to_linker(&mut linker, abi)?;
        Ok(Self { engine, linker })
    }
}

fn serving_config(abi: Abi, options: &RuntimeOptions) -> Config {
    let instances = options.instances;
    let kept = usize::try_from(options.small_memory()).unwrap_or(usize::MAX);
    // As many of each as all slots together may need, so that no service takes
    // what another's instance needs. Only addresses are reserved.
    let stacks_per_slot = if abi == Abi::Async { STACKS_PER_SLOT } else { 2 };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * MAX_CORE_MODULES)
        .total_memories(instances * MEMORIES_PER_SLOT)
        .total_tables(instances * MAX_TABLES)
        .total_stacks(stacks_per_slot * instances)
        .max_core_instances_per_component(MAX_CORE_MODULES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(MAX_MEMORIES)
        .max_tables_per_module(MAX_TABLES)
        .table_elements(MAX_TABLE_ELEMENTS as usize)
        .linear_memory_keep_resident(kept)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT)
        .max_unused_warm_slots(UNUSED_MEMORIES);
    let mut config = compile_config(abi);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// How many slots an instance takes with so many memories and component instances.
pub(super) fn slots_of(abi: Abi, memories: u32, component_instances: u32) -> u32 {
    let stacks = match abi {
        Abi::Sync => 1,
        Abi::Async => component_instances + SPARE_STACKS,
    };
    memories.div_ceil(MEMORIES_PER_SLOT).max(stacks.div_ceil(STACKS_PER_SLOT)).max(1)
}

/// Whether code was refused because it was made for the other of the two engines.
/// Only the message says so.
fn is_for_the_other(error: &wasmtime::Error) -> bool {
    format!("{error:#}").contains("concurrency support")
}

/// Ticks from a thread of its own: a guest that spins can hold up the timers of
/// the asynchronous runtime, but not a thread.
fn tick_epochs(engines: [&Engine; 2]) {
    let engines = engines.map(Engine::weak);
    let ticker = std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
        // Ends with the engines, which end together.
        while let [Some(plain), Some(asynchronous)] = engines.each_ref().map(EngineWeak::upgrade) {
            plain.increment_epoch();
            asynchronous.increment_epoch();
            drop((plain, asynchronous));
            std::thread::sleep(TICK);
        }
    });
    ticker.expect("a thread can be started at start-up");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_slots_keep_of_memory_is_at_most_half_of_what_guests_may_have() {
        let kept = |guest_memory| {
            let options = RuntimeOptions { guest_memory, ..RuntimeOptions::default() };
            (options.small_memory(), options.small_memory() * u64::from(options.instances))
        };
        assert_eq!(kept(u64::MAX).0, MEMORY_KEEP_RESIDENT);
        assert_eq!(kept(16 << 30).0, MEMORY_KEEP_RESIDENT);
        for guest_memory in [1 << 30, 128 << 20, 1 << 20, 0] {
            assert!(kept(guest_memory).1 <= guest_memory / 2, "{guest_memory}");
        }
    }
}
