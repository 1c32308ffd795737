//! An instance: a store with one instantiation of a version's component.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView, p2, p3};

use super::component::{Entry, Program};
use super::engine::Runtime;
use super::exchange::Exchange;
use super::imports::OutboundHooks;
use super::limits::MemoryLimit;
use super::output::{GuestOutput, LogBudget};
use crate::manifest::Manifest;
use crate::outbound::Grant;
use crate::service::VersionId;

/// Resources (open handles, streams, fields) that a guest may hold at once.
const MAX_RESOURCES: usize = 10_000;

/// Bytes that one call for random numbers returns.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

/// Bytes of one header section that a guest builds.
const MAX_FIELD_BYTES: usize = 128 << 10;

/// Bytes that a guest may pass to the host in one call.
const MAX_HOSTCALL_BYTES: usize = 32 << 20;

/// What the host knows about an instance while its guest runs.
pub(super) struct InstanceState {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: OutboundHooks,
    stdout: GuestOutput,
    stderr: GuestOutput,
    pub(super) memory: MemoryLimit,
    pub(super) log_budget: Arc<LogBudget>,
    pub(super) version: VersionId,
    pub(super) manifest: Arc<Manifest>,
    /// Whether the version may send any requests.
    pub(super) may_send: bool,
    /// The current invocation; `None` between invocations.
    pub(super) exchange: Option<Exchange>,
}

/// One instantiation of a version, idle or at work.
pub(super) struct Instance {
    pub(super) store: Store<InstanceState>,
    pub(super) guest: Guest,
    /// Invocations it has served.
    pub(super) uses: u32,
    pub(super) idle_since: Instant,
    _slot: OwnedSemaphorePermit,
}

/// The instantiated exports.
pub(super) enum Guest {
    P2(p2::bindings::Proxy),
    P3(p3::bindings::Service),
}

impl InstanceState {
    pub(super) fn new(
        version: &VersionId,
        manifest: &Arc<Manifest>,
        outbound: &Arc<Grant>,
    ) -> Self {
        let log_budget = Arc::new(LogBudget::default());
        let output = |stream| GuestOutput::new(version.clone(), stream, Arc::clone(&log_budget));
        let (stdout, stderr) = (output("stdout"), output("stderr"));
        let mut wasi = WasiCtx::builder();
        // Nothing else is granted: no preopened folder, no environment, no
        // arguments, a closed standard input, no network.
        wasi.stdout(stdout.clone())
            .stderr(stderr.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM_BYTES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELD_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self {
            table,
            wasi: wasi.build(),
            http,
            hooks: OutboundHooks::new(Arc::clone(outbound)),
            stdout,
            stderr,
            memory: MemoryLimit::new(manifest.limits.memory),
            log_budget,
            version: version.clone(),
            manifest: Arc::clone(manifest),
            may_send: outbound.grants_any(),
            exchange: None,
        }
    }

    /// Makes ready for an invocation.
    pub(super) fn enter(&mut self, exchange: Exchange) {
        self.log_budget.reset();
        self.hooks.set_exchange(Some(exchange.clone()));
        self.exchange = Some(exchange);
    }

    /// Leaves the invocation behind.
    pub(super) fn leave(&mut self) {
        self.stdout.flush_line();
        self.stderr.flush_line();
        self.hooks.set_exchange(None);
        self.exchange = None;
    }
}

impl Drop for InstanceState {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Instance {
    /// Instantiates the program; runs its start functions.
    pub(super) async fn new(
        runtime: &Runtime,
        program: &Program,
        state: InstanceState,
        slot: OwnedSemaphorePermit,
    ) -> wasmtime::Result<Self> {
        let mut store = Store::new(runtime.engine(), state);
        store.limiter(|state| &mut state.memory);
        store.epoch_deadline_async_yield_and_update(1);
        store.set_hostcall_fuel(MAX_HOSTCALL_BYTES);
        store.set_max_component_handles(MAX_RESOURCES);
        let guest = match &program.entry {
            Entry::P2(pre) => Guest::P2(pre.instantiate_async(&mut store).await?),
            Entry::P3(pre) => Guest::P3(pre.instantiate_async(&mut store).await?),
        };
        Ok(Self { store, guest, uses: 0, idle_since: Instant::now(), _slot: slot })
    }
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for InstanceState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("uses", &self.uses).finish_non_exhaustive()
    }
}
