//! The engine that runs components, the settings that compile them, and the
//! thread that ticks its epochs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::component::LoadedComponent;
use super::imports;
use super::instance::InstanceState;
use super::lane::SlowLane;
use super::limits::{MAX_CORE_MODULES, MAX_MEMORIES, MAX_TABLES};
use super::pool::{Pool, WeakPool};
use crate::manifest::MAX_TABLE_ELEMENTS;
use crate::outbound::Outbound;

/// How often a guest that computes gives the thread back: an epoch.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Instances that exist at once in the whole host, idle ones included.
const MAX_INSTANCES: u32 = 1_000;

/// Memories for each of them; an instance with more takes the place of several.
const MEMORIES_PER_SLOT: u32 = 2;

/// What a memory slot keeps resident between two instances, so that the next one
/// doesn't fault its pages in again. With every slot used once, 4 GiB in all.
const MEMORY_KEEP_RESIDENT: usize = 2 << 20;
const TABLE_KEEP_RESIDENT: usize = 512 << 10;
const STACK_KEEP_RESIDENT: usize = 128 << 10;

/// The engine, what is linked to components, and the host's instance slots.
/// Cheap to clone; all clones are one runtime.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    linker: Linker<InstanceState>,
    outbound: Outbound,
    slots: Arc<Semaphore>,
    slow_lane: SlowLane,
    /// Whose idle instances can be freed when there is no slot left.
    pools: Mutex<Vec<WeakPool>>,
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

/// Why a component could not be compiled.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct CompileError(wasmtime::Error);

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("free_slots", &self.inner.slots.available_permits())
            .finish()
    }
}

impl Runtime {
    /// Sets the engine up and starts its epochs. Components send their requests
    /// by `outbound`.
    ///
    /// # Errors
    /// When the engine's settings don't work on this machine.
    pub fn new(outbound: Outbound) -> Result<Self, RuntimeError> {
        let engine = Engine::new(&serving_config()).map_err(RuntimeError::Engine)?;
        let mut linker = Linker::new(&engine);
        imports::add_to_linker(&mut linker).map_err(RuntimeError::Engine)?;
        tick_epochs(&engine);
        let slots = Arc::new(Semaphore::new(MAX_INSTANCES as usize));
        let slow_lane = SlowLane::start().map_err(RuntimeError::SlowLane)?;
        let inner = Inner { engine, linker, outbound, slots, slow_lane, pools: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Maps a component that [`compile`] made with this build's settings.
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
        let component = unsafe { Component::deserialize_file(&self.inner.engine, compiled) };
        Ok(LoadedComponent::new(component.map_err(RuntimeError::Load)?))
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(super) fn outbound(&self) -> &Outbound {
        &self.inner.outbound
    }

    pub(super) fn linker(&self) -> &Linker<InstanceState> {
        &self.inner.linker
    }

    /// Where guests go on that compute for long.
    pub(super) fn slow_lane(&self) -> &SlowLane {
        &self.inner.slow_lane
    }

    /// Room for one more instance with so many memories. Where there is none,
    /// idle ones are freed, and then it waits for one that is at work.
    pub(super) async fn instance_slot(&self, memories: u32) -> OwnedSemaphorePermit {
        let slots = &self.inner.slots;
        let count = memories.div_ceil(MEMORIES_PER_SLOT).max(1);
        if let Ok(slot) = Arc::clone(slots).try_acquire_many_owned(count) {
            return slot;
        }
        for pool in self.pools() {
            pool.free_all_idle();
        }
        Arc::clone(slots).acquire_many_owned(count).await.expect("the semaphore is never closed")
    }

    pub(super) fn register(&self, pool: WeakPool) {
        self.inner.pools.lock().unwrap_or_else(PoisonError::into_inner).push(pool);
    }

    /// The pools that still exist; forgets those that don't.
    fn pools(&self) -> Vec<Pool> {
        let mut pools = self.inner.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(WeakPool::exists);
        pools.iter().filter_map(WeakPool::upgrade).collect()
    }

    /// How many more instances may be made now.
    #[must_use]
    pub fn free_instance_slots(&self) -> usize {
        self.inner.slots.available_permits()
    }
}

/// What compiled code must match to be run by this build on this machine:
/// engine version, settings and processor features, as one hexadecimal number.
#[must_use]
pub fn compatibility_key() -> String {
    let engine = Engine::new(&compile_config()).expect("the compiler's settings are constant");
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Compiles a component to code for this machine.
///
/// Called in a child process only: a hostile component may take any amount of
/// time or memory here.
///
/// # Errors
/// When the bytes are not a valid component.
pub fn compile(component: &[u8]) -> Result<Vec<u8>, CompileError> {
    let engine = Engine::new(&compile_config()).map_err(CompileError)?;
    engine.precompile_component(component).map_err(CompileError)
}

/// Every setting that changes what code the compiler makes. Shared by the child
/// that compiles and the host that serves, or nothing would load.
fn compile_config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.wasm_component_model_async(true);
    config.epoch_interruption(true);
    config
}

fn serving_config() -> Config {
    // As many of each as all slots together may need, so that no service takes
    // what another's instance needs. Only addresses are reserved.
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(MAX_INSTANCES)
        .total_core_instances(MAX_INSTANCES * MAX_CORE_MODULES)
        .total_memories(MAX_INSTANCES * MEMORIES_PER_SLOT)
        .total_tables(MAX_INSTANCES * MAX_TABLES)
        .total_stacks(2 * MAX_INSTANCES)
        .max_core_instances_per_component(MAX_CORE_MODULES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(MAX_MEMORIES)
        .max_tables_per_module(MAX_TABLES)
        .table_elements(MAX_TABLE_ELEMENTS as usize)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT);
    let mut config = compile_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// Ticks from a thread of its own: a guest that spins can hold up the timers of
/// the asynchronous runtime, but not a thread.
fn tick_epochs(engine: &Engine) {
    let engine = engine.weak();
    let ticker = std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
        // Ends with the engine.
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    });
    ticker.expect("a thread can be started at start-up");
}
