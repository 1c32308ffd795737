//! An instance: a store with one instantiation of a version's component.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::ResourceTable;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::account::Account;
use super::component::Program;
use super::engine::Runtime;
use super::entry::Guest;
use super::exchange::Exchange;
use super::imports::OutboundHooks;
use super::in_use::InUse;
use super::lane::note_yield;
use super::limits::{MAX_FIELD_BYTES, MAX_HOSTCALL_BYTES, MAX_RANDOM_BYTES, ResourceLimits};
use super::output::{GuestOutput, LogBudget};
use super::secrets::Secrets;
use super::slots::Slot;
use crate::manifest::Manifest;
use crate::name::VersionId;
use crate::outbound::Grant;
use crate::tally::Tally;

/// What the host knows about an instance while its guest runs.
pub(super) struct InstanceState {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: OutboundHooks,
    stdout: GuestOutput,
    stderr: GuestOutput,
    pub(super) limits: ResourceLimits,
    /// What the host holds for it.
    pub(super) account: Arc<Account>,
    pub(super) log_budget: Arc<LogBudget>,
    pub(super) version: VersionId,
    pub(super) manifest: Arc<Manifest>,
    pub(super) secrets: Arc<Secrets>,
    /// Whether the version may send any requests.
    pub(super) may_send: bool,
    /// The current invocation; `None` between invocations.
    pub(super) exchange: Option<Exchange>,
    /// Whether it is by a request for a head alone.
    pub(super) is_head: bool,
    /// The trace that it is part of, if it is part of one.
    pub(super) trace: Option<String>,
}

/// One instantiation of a version, idle or at work.
pub(super) struct Instance {
    pub(super) store: Store<InstanceState>,
    pub(super) guest: Guest,
    /// Whether its store has streams, futures and tasks, which may hold something, too.
    is_concurrent: bool,
    /// Invocations it has served.
    pub(super) uses: u32,
    pub(super) idle_since: Instant,
    _slot: Slot,
}

impl InstanceState {
    pub(super) fn new(
        version: &VersionId,
        manifest: &Arc<Manifest>,
        secrets: &Arc<Secrets>,
        outbound: &Arc<Grant>,
        limits_reached: &Arc<Tally>,
        runtime: &Runtime,
        in_use: &Arc<InUse>,
    ) -> Self {
        let total = runtime.held_for_guests();
        let account = Arc::new(Account::new(manifest.limits.host_memory, total, in_use));
        let log_budget = Arc::new(LogBudget::new(manifest.limits.log, Arc::clone(limits_reached)));
        let output = |stream| GuestOutput::new(version.clone(), stream, Arc::clone(&log_budget));
        let (stdout, stderr) = (output("stdout"), output("stderr"));
        let mut wasi = WasiCtx::builder();
        for (name, value) in &manifest.capabilities.environment {
            wasi.env(name, value);
        }
        // Nothing else is granted: no preopened folder, no arguments, a closed standard
        // input, no network.
        wasi.stdout(stdout.clone())
            .stderr(stderr.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM_BYTES);
        let neighbours = Arc::clone(runtime.neighbours());
        let hooks = OutboundHooks::new(Arc::clone(outbound), neighbours, Arc::clone(&account));
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELD_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(handles(manifest));
        Self {
            table,
            wasi: wasi.build(),
            http,
            hooks,
            stdout,
            stderr,
            limits: ResourceLimits::new(&manifest.limits, runtime.memories().share(in_use)),
            account,
            log_budget,
            version: version.clone(),
            manifest: Arc::clone(manifest),
            secrets: Arc::clone(secrets),
            may_send: outbound.grants_any(),
            exchange: None,
            is_head: false,
            trace: None,
        }
    }

    /// Makes ready for an invocation.
    pub(super) fn enter(&mut self, exchange: Exchange, trace: Option<String>) {
        self.log_budget.reset();
        self.limits.enter();
        self.account.begin();
        self.hooks.enter(exchange.clone(), trace.clone());
        self.exchange = Some(exchange);
        self.trace = trace;
    }

    /// Leaves the invocation behind.
    pub(super) fn leave(&mut self) {
        self.stdout.flush_line();
        self.stderr.flush_line();
        self.hooks.leave();
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
        program: &Program,
        state: InstanceState,
        slot: Slot,
    ) -> wasmtime::Result<Self> {
        let mut store = Store::new(program.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            note_yield();
            store.data().account.check()?;
            Ok(UpdateDeadline::Yield(1))
        });
        store.set_hostcall_fuel(MAX_HOSTCALL_BYTES);
        store.set_max_component_handles(handles(&store.data().manifest));
        let account = Arc::clone(&store.data().account);
        let instance = {
            let made = pin!(program.pre.instantiate_async(&mut store));
            account.run(made).await
        };
        let instance = instance.map_err(|error| store.data().limits.explain(error))?;
        let guest = program.entries.load(&mut store, &instance)?;
        let is_concurrent = program.is_concurrent();
        let idle_since = Instant::now();
        Ok(Self { store, guest, is_concurrent, uses: 0, idle_since, _slot: slot })
    }

    /// Whether the host holds so little for it that it can serve another invocation.
    pub(super) fn is_light(&mut self) -> bool {
        let state = self.store.data();
        if !self.is_concurrent && state.table.is_empty() {
            // What is left of the account left with the answer: its head, for one.
            state.account.clear();
        }
        state.account.is_light()
    }
}

/// `[limits] handles`.
fn handles(manifest: &Manifest) -> usize {
    usize::try_from(manifest.limits.handles).expect("the manifest's bounds fit")
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
